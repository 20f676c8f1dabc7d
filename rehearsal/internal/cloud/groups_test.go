package cloud

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	source "github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/capacity"
)

// TestGroupsAreChanged runs the controller's client for Auto Scaling groups against
// the cloud.
func TestGroupsAreChanged(t *testing.T) {
	c := startCloud(t, Config{})
	clientEnv(t, c)
	was := ScalingGroup{
		Name: "shop workers", Zones: []string{"us-east-1a", "us-east-1b"}, Desired: 6, Template: "lt-1", Base: 1, PercentAbove: 0,
		SpotStrategy: "price-capacity-optimized", Overrides: []Override{{"m5.large", ""}, {"c5.large", "1"}, {"m5a.large", ""}},
	}
	c.SetGroup(was)
	c.SetGroup(ScalingGroup{Name: "other", Desired: 1})
	groups, err := source.NewGroups(t.Context(), "us-east-1", map[string]string{"workers": "shop workers"})
	if err != nil {
		t.Fatal(err)
	}
	read := func() capacity.Group {
		t.Helper()
		g, err := groups.Groups(t.Context())
		if err != nil || len(g) != 1 {
			t.Fatal(g, err)
		}
		return g[0]
	}
	g := read()
	from := capacity.Settings{Base: 1, Offers: []string{"m5.large", "c5.large=1", "m5a.large"}}
	want := capacity.Group{
		Pool: "workers", Kind: capacity.ScalingGroup, Name: "shop workers", Types: []string{"m5.large", "c5.large", "m5a.large"}, Zones: was.Zones,
		Spot: true, OnDemand: true, Desired: 6, Set: from,
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("%+v, want %+v", g, want)
	}
	if key := g.Key(); !strings.HasPrefix(key, "AutoScalingGroup.shop_workers-") {
		t.Errorf("key %q", key)
	}

	// A bridge, without the first type; what is not ours stays as it is.
	to := capacity.Settings{Base: 4, Offers: []string{"c5.large=1", "m5a.large"}}
	for range 2 { // the answer of the first may have been lost
		if err := groups.Change(t.Context(), g, from, to); err != nil {
			t.Fatal(err)
		}
	}
	now := was
	now.Base, now.Overrides = 4, was.Overrides[1:]
	if got := c.Group("shop workers"); !reflect.DeepEqual(got, now) {
		t.Errorf("%+v, want %+v", got, now)
	}
	// And back, in the old order.
	if err := groups.Change(t.Context(), g, to, from); err != nil {
		t.Fatal(err)
	}
	if got := c.Group("shop workers"); !reflect.DeepEqual(got, was) {
		t.Errorf("%+v, want %+v", got, was)
	}

	// A person was first.
	persons := was
	persons.Base = 2
	c.SetGroup(persons)
	if err := groups.Change(t.Context(), g, from, to); !errors.Is(err, capacity.ErrChanged) {
		t.Errorf("after a person's change: %v", err)
	}
	if got := c.Group("shop workers"); !reflect.DeepEqual(got, persons) {
		t.Errorf("a person's change was overwritten: %+v", got)
	}

	// What cannot be put back as it was is not changed.
	for _, change := range []func(*ScalingGroup){
		func(g *ScalingGroup) { g.InstancesOnly = true },
		func(g *ScalingGroup) { g.Overrides = []Override{{"m5.large", "2"}} },
		func(g *ScalingGroup) { g.Tags = map[string]string{"eks:nodegroup-name": "x"} },
	} {
		fixed := was
		change(&fixed)
		c.SetGroup(fixed)
		if g := read(); g.Fixed == "" {
			t.Errorf("%+v is taken to be changeable: %+v", fixed, g)
		}
	}

	missing, err := source.NewGroups(t.Context(), "us-east-1", map[string]string{"a": "nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing.Groups(t.Context()); err == nil {
		t.Error("no error although the group does not exist")
	}
	if _, err := source.NewGroups(t.Context(), "us-east-1", map[string]string{"a": "x", "b": "x"}); err == nil {
		t.Error("no error although two pools share a group")
	}
}
