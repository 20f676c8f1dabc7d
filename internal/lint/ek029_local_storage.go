package lint

import "strings"

func localStorage() Rule {
	return Rule{
		ID:       "EK029",
		Title:    "state on the disk of a spot node",
		Severity: Warning,
		Why: `A host path, a local volume, and the emptyDir of a StatefulSet without claims are on the machine that is taken back.
A host path also reappears empty on the next node, which some databases take for a fresh start.

With several replicas the finding for an emptyDir is an info: they may hold copies of each other's state.

An emptyDir of a Deployment is taken for a cache or scratch space and is not reported; nor are host paths that are
mounted read-only or belong to the node itself (/proc, /sys, /dev, /run, /var/run, /var/log, /etc, /lib/modules).`,
		Remedy: "Use a `volumeClaimTemplate` with a network disk, rebuild the state from its source, or run the workload on on-demand nodes.",
		Bad: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  replicas: 1
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      nodeSelector: {cloud.google.com/gke-spot: "true"}
      containers:
        - name: store
          image: store
          resources: {requests: {cpu: 200m, memory: 512Mi}}
          volumeMounts: [{name: data, mountPath: /var/lib/store}]
      volumes:
        - name: data # EK029
          emptyDir: {}
`,
		Good: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  replicas: 1
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      nodeSelector: {cloud.google.com/gke-spot: "true"}
      containers:
        - name: store
          image: store
          resources: {requests: {cpu: 200m, memory: 512Mi}}
          volumeMounts: [{name: data, mountPath: /var/lib/store}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}
`,
		Check: func(t *Target) (out []Finding) {
			local := map[string]bool{}
			for _, c := range t.StorageClasses {
				switch c.Provisioner {
				case "kubernetes.io/no-provisioner", "rancher.io/local-path", "topolvm.io", "topolvm.cybozu.com", "openebs.io/local":
					local[c.Name] = true
				}
			}
			for _, a := range t.Apps {
				if !a.Replicated() || !a.Placement.OnSpot() {
					continue
				}
				for i := range a.VolumeClaims {
					if c := &a.VolumeClaims[i]; local[c.StorageClass.Value] {
						out = append(out, at(&a.Meta, c.Pos, "volume %s of storage class %s is on the disk of a spot node", c.Name, c.StorageClass.Value))
					}
				}
				for i := range a.Pod.Volumes {
					switch v := &a.Pod.Volumes[i]; {
					case v.HostPath.Set && !nodePath(v.HostPath.Value) && writable(a, v.Name):
						out = append(out, at(&a.Meta, v.HostPath.Pos, "writes to %s of a spot node", v.HostPath.Value))
					case v.EmptyDir && !v.Memory && a.Kind == "StatefulSet" && !claims(a) && stateMount(a, v.Name):
						f := at(&a.Meta, v.Pos, "the StatefulSet keeps its state in emptyDir %s, which goes with the spot node", v.Name)
						if a.Floor() > 1 {
							f.Severity = Info
							f.Message += "; its other replicas must hold a copy"
						}
						out = append(out, f)
					}
				}
			}
			return out
		},
	}
}

// nodePath reports whether a path belongs to the node rather than to a workload.
func nodePath(path string) bool {
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/var/run", "/var/log", "/etc", "/lib/modules", "/usr", "/var/lib/kubelet", "/var/lib/docker"} {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return path == "/"
}

func writable(a *App, volume string) bool {
	for i := range a.Pod.Containers {
		for _, m := range a.Pod.Containers[i].Mounts {
			if m.Volume == volume && !m.ReadOnly {
				return true
			}
		}
	}
	return false
}

func claims(a *App) bool {
	if len(a.VolumeClaims) > 0 {
		return true
	}
	for _, v := range a.Pod.Volumes {
		if v.Claim != "" {
			return true
		}
	}
	return false
}

// stateMount reports whether a volume is mounted where programs keep state.
func stateMount(a *App, volume string) bool {
	for i := range a.Pod.Containers {
		for _, m := range a.Pod.Containers[i].Mounts {
			if m.Volume == volume && (strings.HasPrefix(m.Path, "/var/lib/") || m.Path == "/data" || strings.HasPrefix(m.Path, "/data/") || strings.HasSuffix(m.Path, "/data")) {
				return true
			}
		}
	}
	return false
}
