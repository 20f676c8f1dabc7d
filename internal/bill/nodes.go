package bill

import (
	"cmp"
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// A Node is a machine of a cluster.
type Node struct {
	Name, Pool string
	price.Machine
}

// NodeOf reads what a node costs by out of its labels.
func NodeOf(name string, labels map[string]string) Node {
	pool := cmp.Or(labels["evenkeel.dev/pool"], labels["karpenter.sh/nodepool"], labels["eks.amazonaws.com/nodegroup"],
		labels["cloud.google.com/gke-nodepool"], labels["kubernetes.azure.com/agentpool"])
	return Node{Name: name, Pool: pool, Machine: price.MachineOf(labels)}
}

// A Group is nodes that cost the same: of one pool, type, zone and kind.
type Group struct {
	Pool, InstanceType, Zone string
	Capacity                 price.Capacity
	Nodes                    int
	OnDemand, Paid           price.Quote // of one node; Paid is OnDemand for on-demand nodes
	Sum                                  // of all of them, an hour
}

// A Fleet is an hour of a cluster's machines.
type Fleet struct {
	Groups   []Group
	Total    Sum
	Unpriced []Node // nodes of which the table does not know a price; in no sum
}

// OfNodes returns an hour of the machines of a cluster.
func OfNodes(nodes []Node, t *price.Table) Fleet {
	type key struct {
		pool, instanceType, region, zone string
		capacity                         price.Capacity
	}
	counts := make(map[key]int)
	var f Fleet
	for _, n := range nodes {
		k := key{n.Pool, n.InstanceType, n.Region, n.Zone, n.Capacity}
		_, ok := t.OnDemand(k.instanceType, k.region)
		if _, paid := t.Lookup(k.instanceType, k.region, k.zone, k.capacity); !ok || !paid {
			f.Unpriced = append(f.Unpriced, n)
			continue
		}
		counts[k]++
	}
	for k, n := range counts {
		g := Group{Pool: k.pool, InstanceType: k.instanceType, Zone: k.zone, Capacity: k.capacity, Nodes: n}
		g.OnDemand, _ = t.OnDemand(k.instanceType, k.region)
		g.Paid, _ = t.Lookup(k.instanceType, k.region, k.zone, k.capacity)
		g.Sum = Sum{Cost: g.Paid.PerHour * price.Micros(n), OnDemand: g.OnDemand.PerHour * price.Micros(n)}
		f.Groups = append(f.Groups, g)
		f.Total = f.Total.Plus(g.Sum)
	}
	slices.SortFunc(f.Groups, func(a, b Group) int {
		return cmp.Or(strings.Compare(a.Pool, b.Pool), strings.Compare(string(a.Capacity), string(b.Capacity)),
			strings.Compare(a.InstanceType, b.InstanceType), strings.Compare(a.Zone, b.Zone))
	})
	slices.SortFunc(f.Unpriced, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return f
}
