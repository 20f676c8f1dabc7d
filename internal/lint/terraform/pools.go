package terraform

import (
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// capacityOf reads a provider's capacity type.
func capacityOf(value manifest.Field[string]) []string {
	switch strings.ToUpper(value.Value) {
	case "SPOT":
		return []string{manifest.Spot}
	case "ON_DEMAND", "REGULAR":
		return []string{manifest.OnDemand}
	}
	return nil
}

func (m *module) eksNodeGroups(b *block) {
	m.instances(b, func() { m.eksNodeGroup(b) })
}

func (m *module) eksNodeGroup(b *block) {
	p := &manifest.Pool{Meta: b.meta(), Cloud: manifest.AWS}
	p.Capacity = []string{manifest.OnDemand}
	if b.Body.Attributes["capacity_type"] != nil {
		capacity := m.str(b.Body, "capacity_type")
		p.Capacity, p.CapacityPos = capacityOf(capacity), capacity.Pos
	}
	p.InstanceTypes, p.InstancePos = m.list(b.Body, "instance_types")
	subnets, pos := m.list(b.Body, "subnet_ids")
	if p.ZonesPos = pos; len(subnets) == 1 {
		p.OneSubnet = "subnet " + subnets[0]
	} else if attr := b.Body.Attributes["subnet_ids"]; attr != nil {
		// One element that is computed is still one.
		if tuple, ok := attr.Expr.(*hclsyntax.TupleConsExpr); ok && len(tuple.Exprs) == 1 && !splat(tuple.Exprs[0]) {
			r := tuple.Exprs[0].Range()
			p.OneSubnet = "one subnet"
			p.ZonesPos = position(r.Start)
		}
	}
	p.Labels, p.LabelsKnown = m.pairs(b.Body, "labels")
	p.TaintsUnknown = !m.expand(b.Body, "taint", func(t *hclsyntax.Body) {
		p.Taints = append(p.Taints, manifest.Taint{Key: m.str(t, "key").Value, Value: m.str(t, "value").Value, Effect: effect(m.str(t, "effect").Value)})
	})
	for _, s := range blocksOf(b.Body, "scaling_config") {
		p.MaxNodes = m.number(s.Body, "max_size")
	}
	name := m.str(b.Body, "node_group_name")
	if name.Set {
		p.Name = name.Value
	} else if prefix := m.str(b.Body, "node_group_name_prefix"); prefix.Set {
		p.Name = strings.TrimSuffix(prefix.Value, "-")
	}
	p.AddNodeGroupLabels("eks.amazonaws.com/nodegroup", name.Value)
	m.add(p, b)
}

func splat(e hclsyntax.Expression) bool {
	_, ok := e.(*hclsyntax.SplatExpr)
	return ok
}

// effect turns EKS's spelling of a taint effect into Kubernetes's.
func effect(s string) string {
	switch s {
	case "NO_SCHEDULE":
		return "NoSchedule"
	case "NO_EXECUTE":
		return "NoExecute"
	case "PREFER_NO_SCHEDULE":
		return "PreferNoSchedule"
	}
	return s
}

// add keeps a pool. One that count or an unknown for_each multiplies is in as
// many zones and has as many nodes as its expression says, which is not known.
func (m *module) add(p *manifest.Pool, b *block) {
	_, known := m.vars["each"]
	if b.Body.Attributes["for_each"] != nil && !known || b.Body.Attributes["count"] != nil {
		p.OneSubnet, p.MaxNodes = "", manifest.Field[int]{}
	}
	m.set.Pools = append(m.set.Pools, p)
}

// autoscalingGroup reads a group with a mixed instances policy. One without
// may be anything; only its launch template knows.
func (m *module) autoscalingGroup(b *block) {
	for _, mixed := range blocksOf(b.Body, "mixed_instances_policy") {
		p := &manifest.Pool{Meta: b.meta(), Cloud: manifest.AWS}
		for _, d := range blocksOf(mixed.Body, "instances_distribution") {
			share := m.number(d.Body, "on_demand_percentage_above_base_capacity")
			base := m.number(d.Body, "on_demand_base_capacity")
			switch {
			case d.Body.Attributes["on_demand_percentage_above_base_capacity"] != nil && !share.Set:
			case share.Or(100) == 100:
				p.Capacity = []string{manifest.OnDemand}
			case share.Value == 0 && base.Or(0) == 0 && (base.Set || d.Body.Attributes["on_demand_base_capacity"] == nil):
				p.Capacity, p.CapacityPos = []string{manifest.Spot}, share.Pos
			default:
				p.Capacity, p.CapacityPos = []string{manifest.Spot, manifest.OnDemand}, share.Pos
			}
		}
		for _, lt := range blocksOf(mixed.Body, "launch_template") {
			if dynamic(lt.Body, "override") {
				continue
			}
			for _, o := range blocksOf(lt.Body, "override") {
				if len(blocksOf(o.Body, "instance_requirements")) > 0 {
					p.InstanceTypes = nil // chosen by attributes: many
					break
				}
				if t := m.str(o.Body, "instance_type"); t.Set {
					p.InstanceTypes, p.InstancePos = append(p.InstanceTypes, t.Value), t.Pos
				}
			}
		}
		p.Zones, p.ZonesPos = m.list(b.Body, "availability_zones")
		if subnets, pos := m.list(b.Body, "vpc_zone_identifier"); len(subnets) == 1 {
			p.OneSubnet, p.ZonesPos = "subnet "+subnets[0], pos
		}
		p.MaxNodes = m.number(b.Body, "max_size")
		m.add(p, b)
	}
}

func (m *module) gkeNodePool(b *block) {
	p := &manifest.Pool{Meta: b.meta(), Cloud: manifest.GCP, LabelsKnown: true}
	p.Capacity = []string{manifest.OnDemand}
	for _, c := range blocksOf(b.Body, "node_config") {
		for _, name := range []string{"spot", "preemptible"} {
			attr := c.Body.Attributes[name]
			if attr == nil {
				continue
			}
			switch v := m.eval(attr.Expr); {
			case v.RawEquals(cty.True):
				p.Capacity, p.CapacityPos = []string{manifest.Spot}, position(attr.NameRange.Start)
				p.Labels = append(p.Labels, manifest.Pair{Key: "cloud.google.com/gke-" + name, Value: "true", Pos: p.CapacityPos})
			case !v.IsKnown():
				p.Capacity, p.LabelsKnown = nil, false
			}
		}
		labels, known := m.pairs(c.Body, "labels")
		p.Labels, p.LabelsKnown = append(p.Labels, labels...), p.LabelsKnown && known
		if t := m.str(c.Body, "machine_type"); t.Set {
			// A GKE node pool has one machine type; that is not a finding.
			p.Labels = append(p.Labels, manifest.Pair{Key: manifest.LabelInstanceType, Value: t.Value, Pos: t.Pos})
		}
		p.TaintsUnknown = !m.expand(c.Body, "taint", func(t *hclsyntax.Body) {
			p.Taints = append(p.Taints, manifest.Taint{Key: m.str(t, "key").Value, Value: m.str(t, "value").Value, Effect: effect(m.str(t, "effect").Value)})
		})
	}
	p.Zones, p.ZonesPos = m.list(b.Body, "node_locations")
	m.add(p, b)
}

func (m *module) aksNodePool(b *block) {
	p := &manifest.Pool{Meta: b.meta(), Cloud: manifest.Azure}
	p.Capacity = []string{manifest.OnDemand}
	if b.Body.Attributes["priority"] != nil {
		priority := m.str(b.Body, "priority")
		p.Capacity, p.CapacityPos = capacityOf(priority), priority.Pos
	}
	p.Labels, p.LabelsKnown = m.pairs(b.Body, "node_labels")
	if p.OnlySpot() {
		// AKS adds both by itself.
		p.Labels = append(p.Labels, manifest.Pair{Key: manifest.LabelAKSPriority, Value: "spot", Pos: p.CapacityPos})
		p.Taints = append(p.Taints, manifest.Taint{Key: manifest.LabelAKSPriority, Value: "spot", Effect: "NoSchedule"})
	}
	p.Zones, p.ZonesPos = m.list(b.Body, "zones")
	m.add(p, b)
}

// eksModule reads the node groups of terraform-aws-modules/eks, where most
// people declare theirs.
func (m *module) eksModule(b *block) {
	attr := b.Body.Attributes["eks_managed_node_groups"]
	if attr == nil {
		return
	}
	object, ok := attr.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return
	}
	for _, item := range object.Items {
		key, ok := asString(m.eval(item.KeyExpr))
		group, isObject := item.ValueExpr.(*hclsyntax.ObjectConsExpr)
		if !ok || !isObject {
			continue
		}
		r := item.KeyExpr.Range()
		p := &manifest.Pool{Meta: b.meta(), Cloud: manifest.AWS}
		p.Pos, p.Name = position(r.Start), key
		p.Capacity = []string{manifest.OnDemand}
		for _, field := range group.Items {
			name, _ := asString(m.eval(field.KeyExpr))
			fr := field.KeyExpr.Range()
			value, pos := m.eval(field.ValueExpr), position(fr.Start)
			switch name {
			case "capacity_type":
				s, _ := asString(value)
				p.Capacity, p.CapacityPos = capacityOf(manifest.Field[string]{Value: s}), pos
			case "instance_types":
				p.InstanceTypes, p.InstancePos = asStrings(value), pos
			case "labels":
				p.Labels, p.LabelsKnown = asPairs(value, pos)
			case "subnet_ids":
				if s := asStrings(value); len(s) == 1 {
					p.OneSubnet, p.ZonesPos = "subnet "+s[0], pos
				}
			case "taints":
				p.Taints = moduleTaints(value)
			}
		}
		p.AddNodeGroupLabels("eks.amazonaws.com/nodegroup", "")
		m.set.Pools = append(m.set.Pools, p)
	}
}

func moduleTaints(v cty.Value) (out []manifest.Taint) {
	if !v.IsKnown() || v.IsNull() || !v.CanIterateElements() {
		return nil
	}
	for it := v.ElementIterator(); it.Next(); {
		_, t := it.Element()
		get := func(name string) string {
			a := attribute(t, name)
			if a == cty.NilVal {
				return ""
			}
			s, _ := asString(a)
			return s
		}
		out = append(out, manifest.Taint{Key: get("key"), Value: get("value"), Effect: effect(get("effect"))})
	}
	return out
}

func (m *module) launchTemplate(b *block) {
	t := &manifest.LaunchTemplate{Meta: b.meta()}
	t.TokensUnknown = dynamic(b.Body, "metadata_options")
	t.Declared = t.TokensUnknown
	for _, o := range blocksOf(b.Body, "metadata_options") {
		t.Declared = true
		t.HTTPTokens = m.str(o.Body, "http_tokens")
		if attr := o.Body.Attributes["http_tokens"]; attr != nil && !t.HTTPTokens.Set {
			t.TokensUnknown = true
		}
		if t.HTTPTokens.Pos.Line == 0 {
			t.HTTPTokens.Pos = position(o.DefRange().Start)
		}
	}
	m.set.LaunchTemplates = append(m.set.LaunchTemplates, t)
}
