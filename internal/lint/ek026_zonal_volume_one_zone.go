package lint

import (
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func zonalVolumeOneZone() Rule {
	return Rule{
		ID:       "EK026",
		Title:    "zonal volumes on spot nodes of one zone",
		Severity: Warning,
		Why: `A disk lives in one zone and its pod can run nowhere else. If spot capacity of that zone is taken back, the pod waits
until it returns: minutes or hours, with all replicas down.`,
		Remedy: "Spread the StatefulSet over zones (its disks then follow), add an on-demand pool in the zone, or keep the state where it is not bound to a zone.",
		Bad: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: data}
spec:
  template:
    metadata: {labels: {example.com/pool: data}}
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: data}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
        - {key: topology.kubernetes.io/zone, operator: In, values: [us-east-1a]}
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: other}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: data}
      requirements:
        - {key: topology.kubernetes.io/zone, operator: In, values: [us-east-1b]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: vectors}
spec:
  serviceName: vectors
  selector: {matchLabels: {app: vectors}}
  template:
    metadata: {labels: {app: vectors}}
    spec:
      nodeSelector: {example.com/pool: data}
      containers:
        - {name: vectors, image: vectors, resources: {requests: {cpu: "1", memory: 8Gi}}}
  volumeClaimTemplates:
    - metadata: {name: data} # EK026
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 50Gi}}}
`,
		Good: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: data}
spec:
  template:
    metadata: {labels: {example.com/pool: data}}
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: data}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
        - {key: topology.kubernetes.io/zone, operator: In, values: [us-east-1a, us-east-1b]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: vectors}
spec:
  serviceName: vectors
  selector: {matchLabels: {app: vectors}}
  template:
    metadata: {labels: {app: vectors}}
    spec:
      nodeSelector: {example.com/pool: data}
      containers:
        - {name: vectors, image: vectors, resources: {requests: {cpu: "1", memory: 8Gi}}}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 50Gi}}}
`,
		Check: func(t *Target) (out []Finding) {
			classes := map[string]*manifest.StorageClass{}
			for _, c := range t.StorageClasses {
				classes[c.Name] = c
			}
			for _, a := range t.Apps {
				if !a.Placement.OnSpot() || len(a.Placement.Zones) != 1 {
					continue
				}
				for i := range a.VolumeClaims {
					claim := &a.VolumeClaims[i]
					class := classes[claim.StorageClass.Value]
					if class != nil && !zonal(class.Provisioner) || class == nil && sharedByName(claim.StorageClass.Value) {
						continue
					}
					out = append(out, at(&a.Meta, claim.Pos, "volume %s binds %s to zone %s, the only one of its spot nodes", claim.Name, a.Name, a.Placement.Zones[0]))
				}
			}
			return out
		},
	}
}

// zonal reports whether a provisioner makes disks that only one zone can attach.
func zonal(provisioner string) bool {
	switch provisioner {
	case "ebs.csi.aws.com", "ebs.csi.eks.amazonaws.com", "kubernetes.io/aws-ebs", "pd.csi.storage.gke.io", "kubernetes.io/gce-pd", "disk.csi.azure.com", "kubernetes.io/azure-disk":
		return true
	}
	return false
}

// sharedByName guesses from its name that a storage class, which the input does
// not hold, is of a file system that all zones reach.
func sharedByName(class string) bool {
	for _, word := range []string{"efs", "nfs", "file", "ceph", "longhorn", "rwx", "shared"} {
		if strings.Contains(strings.ToLower(class), word) {
			return true
		}
	}
	return false
}
