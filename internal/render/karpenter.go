package render

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// Karpenter's own Go types bring 600 packages with them, so the fields that are
// used are written down here. A test checks the output against Karpenter's CRDs,
// with their validation rules.

type nodePool struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            nodePoolSpec      `json:"spec"`
}

type nodePoolSpec struct {
	Weight     int               `json:"weight"`
	Limits     map[string]string `json:"limits"`
	Disruption disruption        `json:"disruption"`
	Template   nodeTemplate      `json:"template"`
}

type disruption struct {
	ConsolidationPolicy string             `json:"consolidationPolicy"`
	ConsolidateAfter    string             `json:"consolidateAfter"`
	Budgets             []disruptionBudget `json:"budgets"`
}

type disruptionBudget struct {
	Nodes   string   `json:"nodes"`
	Reasons []string `json:"reasons,omitempty"`
}

type nodeTemplate struct {
	Metadata nodeTemplateMeta `json:"metadata"`
	Spec     nodeTemplateSpec `json:"spec"`
}

type nodeTemplateMeta struct {
	Labels map[string]string `json:"labels"`
}

type nodeTemplateSpec struct {
	NodeClassRef           nodeClassRef   `json:"nodeClassRef"`
	Requirements           []requirement  `json:"requirements"`
	Taints                 []corev1.Taint `json:"taints,omitempty"`
	ExpireAfter            string         `json:"expireAfter"`
	TerminationGracePeriod string         `json:"terminationGracePeriod"`
}

type nodeClassRef struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
}

type requirement struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

type ec2NodeClass struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            ec2NodeClassSpec  `json:"spec"`
}

type ec2NodeClassSpec struct {
	AMISelectorTerms           []map[string]string `json:"amiSelectorTerms"`
	Role                       string              `json:"role"`
	SubnetSelectorTerms        []tagTerm           `json:"subnetSelectorTerms"`
	SecurityGroupSelectorTerms []tagTerm           `json:"securityGroupSelectorTerms"`
	MetadataOptions            metadataOptions     `json:"metadataOptions"`
	BlockDeviceMappings        []blockDevice       `json:"blockDeviceMappings"`
	UserData                   string              `json:"userData"`
	Tags                       map[string]string   `json:"tags"`
}

type tagTerm struct {
	Tags map[string]string `json:"tags"`
}

type metadataOptions struct {
	HTTPEndpoint            string `json:"httpEndpoint"`
	HTTPTokens              string `json:"httpTokens"`
	HTTPPutResponseHopLimit int    `json:"httpPutResponseHopLimit"`
}

type blockDevice struct {
	DeviceName string    `json:"deviceName"`
	EBS        ebsVolume `json:"ebs"`
}

type ebsVolume struct {
	VolumeSize          string `json:"volumeSize"`
	VolumeType          string `json:"volumeType"`
	Encrypted           bool   `json:"encrypted"`
	DeleteOnTermination bool   `json:"deleteOnTermination"`
}

// karpenterManifests returns a NodePool per pool and the EC2NodeClasses that
// they need. They are the alternative to the node groups of the Terraform
// output: apply one of the two.
func karpenterManifests(p *spec.Platform) []manifest {
	var pools, classes []any
	seen := make(map[string]bool)
	for _, pool := range p.Pools {
		pools = append(pools, karpenterPool(p, pool))
		if name := nodeClassName(p, pool); !seen[name] {
			seen[name] = true
			classes = append(classes, karpenterClass(p, pool))
		}
	}
	return []manifest{
		{"karpenter/nodeclasses.yaml", classes},
		{"karpenter/nodepools.yaml", pools},
	}
}

// nodeClassName gives pools with the same root disk one class.
func nodeClassName(p *spec.Platform, pool spec.Pool) string {
	return fmt.Sprintf("%s-%dgi", p.Cluster.Name, gibibytes(pool))
}

func gibibytes(pool spec.Pool) int64 { return max((pool.Disk.Value()+1<<30-1)>>30, 1) }

func karpenterPool(p *spec.Platform, pool spec.Pool) nodePool {
	l := map[string]string{poolLabel: pool.Name}
	for k, v := range pool.Labels {
		l[k] = v
	}
	t := nodeTemplateSpec{
		NodeClassRef: nodeClassRef{Group: "karpenter.k8s.aws", Kind: "EC2NodeClass", Name: nodeClassName(p, pool)},
		Requirements: []requirement{
			in("karpenter.sh/capacity-type", string(pool.Capacity)),
			in("kubernetes.io/arch", pool.Architecture),
			in(zoneKey, pool.Zones...),
		},
		ExpireAfter:            "336h", // two weeks: no machine outlives its patches
		TerminationGracePeriod: terminationGrace(p, pool),
	}
	if r := pool.Requirements; r != nil {
		t.Requirements = append(t.Requirements,
			in("karpenter.k8s.aws/instance-category", r.Categories...),
			requirement{"karpenter.k8s.aws/instance-generation", "Gt", []string{strconv.Itoa(r.MinGeneration - 1)}},
			requirement{"karpenter.k8s.aws/instance-cpu", "Gt", []string{strconv.Itoa(r.MinCPU - 1)}},
			requirement{"karpenter.k8s.aws/instance-cpu", "Lt", []string{strconv.Itoa(r.MaxCPU + 1)}},
		)
	} else {
		t.Requirements = append(t.Requirements, in("node.kubernetes.io/instance-type", pool.InstanceTypes...))
	}
	if pool.Taint != nil {
		t.Taints = []corev1.Taint{{Key: pool.Taint.Key, Value: pool.Taint.Value, Effect: corev1.TaintEffect(pool.Taint.Effect)}}
	}
	weight := 100
	if pool.Capacity == spec.OnDemand {
		weight = 10 // tried last; a pod may still ask for it alone
	}
	return nodePool{
		TypeMeta: typeMeta("karpenter.sh/v1", "NodePool"),
		Metadata: metav1.ObjectMeta{Name: pool.Name, Labels: ownLabels(p, pool.Name)},
		Spec: nodePoolSpec{
			Weight: weight,
			Limits: map[string]string{"nodes": strconv.Itoa(pool.Max)},
			Disruption: disruption{
				ConsolidationPolicy: "WhenEmptyOrUnderutilized",
				ConsolidateAfter:    "5m",
				Budgets: []disruptionBudget{
					{Nodes: "1", Reasons: []string{"Drifted", "Underutilized"}},
					{Nodes: "100%", Reasons: []string{"Empty"}},
				},
			},
			Template: nodeTemplate{Metadata: nodeTemplateMeta{l}, Spec: t},
		},
	}
}

// terminationGrace bounds a drain by Karpenter. Without it, a budget that cannot
// be met holds a spot machine's pods until they die unasked.
func terminationGrace(p *spec.Platform, pool spec.Pool) string {
	if pool.Capacity == spec.Spot {
		return fmt.Sprintf("%ds", seconds(p.Cluster.Provider.Notice()-2*p.Policies.Margin))
	}
	return "1h"
}

func in(key string, values ...string) requirement { return requirement{key, "In", values} }

func karpenterClass(p *spec.Platform, pool spec.Pool) ec2NodeClass {
	discovery := []tagTerm{{map[string]string{"karpenter.sh/discovery": p.Cluster.Name}}}
	name := nodeClassName(p, pool)
	return ec2NodeClass{
		TypeMeta: typeMeta("karpenter.k8s.aws/v1", "EC2NodeClass"),
		Metadata: metav1.ObjectMeta{Name: name, Labels: ownLabels(p, name)},
		Spec: ec2NodeClassSpec{
			AMISelectorTerms:           []map[string]string{{"alias": "al2023@latest"}},
			Role:                       nodeRoleName(p),
			SubnetSelectorTerms:        discovery,
			SecurityGroupSelectorTerms: discovery,
			// One hop: only what runs on the host network reaches the machine's own
			// credentials.
			MetadataOptions: metadataOptions{"enabled", "required", 1},
			BlockDeviceMappings: []blockDevice{{
				DeviceName: "/dev/xvda",
				EBS:        ebsVolume{fmt.Sprintf("%dGi", gibibytes(pool)), "gp3", true, true},
			}},
			UserData: classUserData(p, name),
			Tags:     map[string]string{"evenkeel.dev/platform": p.Cluster.Name},
		},
	}
}

// classUserData gives kubelets the time that pods have when their machine is shut
// down: the longest among the pools of the class. Karpenter adds the rest of the
// NodeConfig itself.
func classUserData(p *spec.Platform, class string) string {
	var longest int64
	for _, pool := range p.Pools {
		if nodeClassName(p, pool) == class {
			longest = max(longest, shutdownSeconds(p, pool))
		}
	}
	return fmt.Sprintf(`MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  kubelet:
    config:
      shutdownGracePeriod: %ds
      shutdownGracePeriodCriticalPods: %ds
--//--
`, longest, criticalSeconds)
}

// nodeRoleName is the role that the Terraform output gives to nodes.
func nodeRoleName(p *spec.Platform) string { return p.Cluster.Name + "-node" }
