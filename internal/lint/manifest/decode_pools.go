package manifest

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The labels by which nodes say what they are.
const (
	LabelCapacity     = "karpenter.sh/capacity-type"
	LabelEKSCapacity  = "eks.amazonaws.com/capacityType"
	LabelZone         = "topology.kubernetes.io/zone"
	LabelZoneOld      = "failure-domain.beta.kubernetes.io/zone"
	LabelHostname     = "kubernetes.io/hostname"
	LabelInstanceType = "node.kubernetes.io/instance-type"
	LabelGKESpot      = "cloud.google.com/gke-spot"
	LabelGKEPreempt   = "cloud.google.com/gke-preemptible"
	LabelAKSPriority  = "kubernetes.azure.com/scalesetpriority"
)

func decodeNodePool(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	p := &Pool{Meta: m, LabelsKnown: true}
	if spec != nil {
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			if key != "template" {
				return
			}
			d.fields(v, "spec.template", func(key string, k, v *yaml.Node) {
				switch key {
				case "metadata":
					var tm Meta
					d.metadata(v, &tm)
					p.Labels = tm.Labels
				case "spec":
					d.nodePoolTemplate(v, p)
				}
			})
		})
	}
	p.Labels = append(p.Labels, Pair{Key: "karpenter.sh/nodepool", Value: m.Name, Pos: m.Pos})
	p.applyRequirements()
	out.Pools = append(out.Pools, p)
}

func (d *decoder) nodePoolTemplate(n *yaml.Node, p *Pool) {
	const at = "spec.template.spec"
	d.fields(n, at, func(key string, k, v *yaml.Node) {
		switch key {
		case "requirements":
			p.Requirements = d.requirements(v, at+".requirements")
		case "taints": // startupTaints go away by themselves
			p.Taints = d.taints(v)
		case "nodeClassRef":
			d.fields(v, at+".nodeClassRef", func(key string, k, v *yaml.Node) {
				if key != "group" {
					return
				}
				switch group := d.text(v, at+".nodeClassRef.group").Value; {
				case strings.HasSuffix(group, ".aws") || strings.HasPrefix(group, "eks."):
					p.Cloud = AWS
				case strings.Contains(group, "azure"):
					p.Cloud = Azure
				case strings.Contains(group, "gcp"):
					p.Cloud = GCP
				}
			})
		}
	})
}

func (d *decoder) taints(n *yaml.Node) (out []Taint) {
	d.items(n, "taints", func(item *yaml.Node) {
		var t Taint
		d.fields(item, "taints[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "key":
				t.Key = d.text(v, "taints[].key").Value
			case "value":
				t.Value = d.text(v, "taints[].value").Value
			case "effect":
				t.Effect = d.text(v, "taints[].effect").Value
			}
		})
		out = append(out, t)
	})
	return out
}

// applyRequirements reads capacity, zones and instance types out of a NodePool's
// requirements. Without a requirement on the capacity type Karpenter buys
// on-demand.
func (p *Pool) applyRequirements() {
	p.Capacity = []string{OnDemand}
	p.CapacityPos = p.Pos
	for i := range p.Requirements {
		r := &p.Requirements[i]
		switch r.Key {
		case LabelCapacity:
			p.CapacityPos = r.Pos
			p.Capacity = nil
			for _, c := range []string{Spot, OnDemand} {
				if r.Admits(c, true) {
					p.Capacity = append(p.Capacity, c)
				}
			}
		case LabelZone:
			if r.Operator == "In" {
				p.Zones, p.ZonesPos = r.strings(), r.Pos
			}
		case LabelInstanceType:
			if r.Operator == "In" {
				p.InstanceTypes, p.InstancePos = r.strings(), r.Pos
			}
		}
	}
}

func (r *Requirement) strings() []string {
	out := make([]string, len(r.Values))
	for i, v := range r.Values {
		out[i] = v.Value
	}
	return out
}

func decodeNodeClass(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	t := &LaunchTemplate{Meta: m, Declared: true}
	// Karpenter's own default.
	t.HTTPTokens = Field[string]{Value: "required", Pos: m.Pos}
	if spec != nil {
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			if key != "metadataOptions" {
				return
			}
			d.fields(v, "spec.metadataOptions", func(key string, k, v *yaml.Node) {
				if key == "httpTokens" {
					t.HTTPTokens = d.text(v, "spec.metadataOptions.httpTokens")
				}
			})
		})
	}
	out.LaunchTemplates = append(out.LaunchTemplates, t)
}

// decodeClusterConfig reads the node groups of an eksctl file.
func decodeClusterConfig(d *decoder, m Meta, n, _ *yaml.Node, out *Set) {
	d.fields(n, "ClusterConfig", func(key string, k, v *yaml.Node) {
		if key != "managedNodeGroups" && key != "nodeGroups" {
			return
		}
		d.items(v, key, func(item *yaml.Node) { out.Pools = append(out.Pools, d.nodeGroup(item, key, m)) })
	})
}

func (d *decoder) nodeGroup(n *yaml.Node, at string, m Meta) *Pool {
	p := &Pool{Meta: Meta{File: m.File, Pos: d.pos(n), APIVersion: m.APIVersion, Kind: "NodeGroup", Ignores: m.Ignores}, Cloud: AWS, LabelsKnown: true}
	p.Capacity, p.CapacityPos = []string{OnDemand}, p.Pos
	list := func(v *yaml.Node, what string) []string {
		var out []string
		for _, f := range d.texts(v, what) {
			out = append(out, f.Value)
		}
		return out
	}
	d.fields(n, at+"[]", func(key string, k, v *yaml.Node) {
		switch key {
		case "name":
			p.Name = d.text(v, at+"[].name").Value
		case "spot":
			if d.yes(v, at+"[].spot") {
				p.Capacity, p.CapacityPos = []string{Spot}, d.pos(k)
			}
		case "instancesDistribution": // self-managed groups
			p.Capacity = []string{Spot, OnDemand}
			d.fields(v, at+"[].instancesDistribution", func(key string, k, v *yaml.Node) {
				if key == "instanceTypes" {
					p.InstanceTypes, p.InstancePos = list(v, key), d.pos(k)
				}
			})
		case "instanceType":
			if t := d.text(v, at+"[].instanceType"); t.Set && t.Value != "mixed" {
				p.InstanceTypes, p.InstancePos = []string{t.Value}, d.pos(k)
			}
		case "instanceTypes":
			p.InstanceTypes, p.InstancePos = list(v, key), d.pos(k)
		case "availabilityZones":
			p.Zones, p.ZonesPos = list(v, key), d.pos(k)
		case "labels":
			p.Labels = d.pairs(v, at+"[].labels")
		case "taints":
			p.Taints = d.taints(v)
		case "maxSize":
			p.MaxNodes = d.number(v, at+"[].maxSize")
		}
	})
	p.AddNodeGroupLabels("alpha.eksctl.io/nodegroup-name", p.Name)
	return p
}

// AddNodeGroupLabels adds the labels that EKS itself puts on a group's nodes.
func (p *Pool) AddNodeGroupLabels(nameLabel, name string) {
	if name != "" {
		p.Labels = append(p.Labels, Pair{Key: nameLabel, Value: name, Pos: p.Pos})
	}
	if len(p.Capacity) == 1 {
		value := "ON_DEMAND"
		if slices.Contains(p.Capacity, Spot) {
			value = "SPOT"
		}
		p.Labels = append(p.Labels, Pair{Key: LabelEKSCapacity, Value: value, Pos: p.CapacityPos})
	}
}
