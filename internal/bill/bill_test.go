package bill_test

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/bill"
	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

func reference(t *testing.T) *spec.Platform {
	t.Helper()
	return parse(t, nil)
}

// parse reads the reference platform with some text replaced.
func parse(t *testing.T, replace map[string]string) *spec.Platform {
	t.Helper()
	const path = "../../examples/market-intel-brain/platform.yaml"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for old, with := range replace {
		if !strings.Contains(text, old) {
			t.Fatalf("%s does not contain %q", path, old)
		}
		text = strings.Replace(text, old, with, 1)
	}
	p, err := spec.Parse(strings.NewReader(text), path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPartsAddUp(t *testing.T) {
	b, err := bill.Of(reference(t), price.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	var pools bill.Sum
	services := make(map[string]bill.Sum)
	for _, s := range b.Services {
		services[s.Pool] = services[s.Pool].Plus(s.Sum)
	}
	for _, p := range b.Pools {
		pools = pools.Plus(p.Sum)
		if services[p.Name] != p.Sum {
			t.Errorf("pool %s costs %v, its services %v", p.Name, p.Sum, services[p.Name])
		}
	}
	if pools != b.Total {
		t.Errorf("pools cost %v, the total is %v", pools, b.Total)
	}
	if len(b.Notes) > 0 {
		t.Errorf("the built-in table lacks prices of the reference platform: %v", b.Notes)
	}
}

// TestPool calculates one pool by hand.
func TestPool(t *testing.T) {
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	table := new(price.Table)
	onDemand := map[string]price.Micros{"m5.large": 100_000, "m5a.large": 80_000}
	for name, perHour := range onDemand {
		table.Add(name, "us-east-1", "", price.OnDemand, price.Quote{PerHour: perHour, Date: day})
		table.Add(name, "us-east-1", "", price.Spot, price.Quote{PerHour: perHour / 2, Date: day})
	}
	// One zone is cheaper: the pool has three, so a third of it counts.
	table.Add("m5.large", "us-east-1", "us-east-1a", price.Spot, price.Quote{PerHour: 20_000, Date: day})
	p, err := spec.Parse(strings.NewReader(`
apiVersion: evenkeel.dev/v1alpha1
kind: Platform
cluster: {provider: aws, region: us-east-1, zones: [us-east-1a, us-east-1b, us-east-1c], name: x, namespace: x, kubernetes: "1.35"}
pools:
  - {name: spot, capacity: spot, instanceTypes: [m5.large, m5a.large, r7.large], size: {min: 1, desired: 2, max: 3}}
services:
  - name: a
    image: a:1
    replicas: 1
    resources: {cpu: 100m, memory: 100Mi}
    availability: {maxUnavailable: 1}
    spread: {zones: {maxSkew: 1}, nodes: {maxSkew: 2}}
    pools: [spot]
    drain: {preStop: none, grace: 30s}
`), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b, err := bill.Of(p, table)
	if err != nil {
		t.Fatal(err)
	}
	// m5.large (20+50+50)/3 = 40, m5a.large 40: 40 on average, of 90 on demand.
	want := bill.Sum{Cost: 40_000 * 2 * 730, OnDemand: 90_000 * 2 * 730}
	if b.Total != want {
		t.Errorf("total = %v, want %v", b.Total, want)
	}
	if len(b.Notes) != 1 || !strings.Contains(b.Notes[0], "r7.large") {
		t.Errorf("notes = %q, want one about r7.large", b.Notes)
	}
	if _, err := bill.Of(p, new(price.Table)); err == nil {
		t.Error("an empty table makes a bill")
	}
}

// TestClaim is the seed's claim, on the built-in prices.
func TestClaim(t *testing.T) {
	b, err := bill.Of(reference(t), price.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	c := b.Claim(55)
	if !c.SpotHolds() || c.Holds() {
		t.Errorf("spot pools save %.1f%%, all machines %.1f%%: 55%% was true of the first and false of the second", c.Spot.Saving(), c.Total.Saving())
	}
	for _, l := range c.Lines {
		if l.Holds != (l.Saving() >= 55) {
			t.Errorf("%s: saves %.1f%%, holds %v", l.Name, l.Saving(), l.Holds)
		}
	}
	if c.Spot.Plus(c.Fixed) != c.Total {
		t.Errorf("%v and %v are not %v", c.Spot, c.Fixed, c.Total)
	}
	// At the saving that is said to be needed, the claim would be just true.
	atNeeded := bill.Sum{Cost: price.Micros(float64(c.Spot.OnDemand)*(1-c.SpotNeeded()/100)) + c.Fixed.Cost, OnDemand: c.Total.OnDemand}
	if math.Abs(atNeeded.Saving()-55) > 0.001 {
		t.Errorf("with the saving needed, %.2f%%, the whole saves %.2f%%", c.SpotNeeded(), atNeeded.Saving())
	}
}

func TestRequirements(t *testing.T) {
	p := parse(t, map[string]string{
		"kubernetes: \"1.35\"": "kubernetes: \"1.35\"\n  provisioner: karpenter",
		"instanceTypes: [c5.xlarge, c5a.xlarge, c5d.xlarge, c5n.xlarge, c5ad.xlarge]": "requirements: {categories: [c], minCPU: 4, maxCPU: 4, minGeneration: 6}",
	})
	b, err := bill.Of(p, price.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range b.Pools[1].Types {
		names = append(names, e.Name)
	}
	if got := strings.Join(names, " "); got != "c6a.xlarge c6i.xlarge c7a.xlarge c7i.xlarge" {
		t.Errorf("types = %s", got)
	}
}

func TestOfNodes(t *testing.T) {
	node := func(name, instanceType, zone, label, value string) bill.Node {
		return bill.NodeOf(name, map[string]string{
			"node.kubernetes.io/instance-type": instanceType, "topology.kubernetes.io/zone": zone,
			"evenkeel.dev/pool": "p", label: value,
		})
	}
	f := bill.OfNodes([]bill.Node{
		node("a", "m5.large", "us-east-1a", "karpenter.sh/capacity-type", "spot"),
		node("b", "m5.large", "us-east-1a", "eks.amazonaws.com/capacityType", "SPOT"),
		node("c", "m5.large", "us-east-1a", "eks.amazonaws.com/capacityType", "ON_DEMAND"),
		node("d", "n2-standard-4", "us-central1-a", "cloud.google.com/gke-spot", "true"),
		node("e", "z9.huge", "us-east-1a", "karpenter.sh/capacity-type", "spot"),
	}, price.Builtin())
	if len(f.Groups) != 3 || len(f.Unpriced) != 1 || f.Unpriced[0].Name != "e" {
		t.Fatalf("fleet = %+v", f)
	}
	var sum bill.Sum
	spot := 0
	for _, g := range f.Groups {
		sum = sum.Plus(g.Sum)
		if g.Capacity == price.Spot {
			spot += g.Nodes
		} else if g.Saving() != 0 {
			t.Errorf("on demand saves %v%%", g.Saving())
		}
	}
	if sum != f.Total || spot != 3 {
		t.Errorf("groups cost %v, the total is %v; %d spot nodes", sum, f.Total, spot)
	}
}
