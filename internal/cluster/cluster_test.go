package cluster

import (
	"testing"

	"k8s.io/apimachinery/pkg/labels"
)

func TestLimit(t *testing.T) {
	for _, test := range []struct {
		in       string
		replicas int
		want     int // -1 for an error
	}{
		{"3", 10, 3},
		{"25%", 4, 1},
		{"25%", 5, 2}, // rounded up, as Kubernetes does
		{"0%", 5, 0},
		{"100%", 7, 7},
		{"", 0, -1}, {"-1", 0, -1}, {"a%", 0, -1}, {"99999999999", 0, -1},
	} {
		l, err := ParseLimit(test.in)
		switch {
		case (err != nil) != (test.want < 0):
			t.Errorf("%q: %v", test.in, err)
		case err == nil && (l.Of(test.replicas) != test.want || l.String() != test.in):
			t.Errorf("%q of %d: %d, %q", test.in, test.replicas, l.Of(test.replicas), l)
		}
	}
}

// TestIndexesAreEmptyAgain: what was applied and is gone leaves nothing behind.
func TestIndexesAreEmptyAgain(t *testing.T) {
	c := New()
	d := &Deployment{Key: Key{"a", "web"}, UID: "d", Replicas: 1, Template: labels.Set{"app": "web"}}
	rs := &ReplicaSet{
		Key: Key{"a", "web-h"}, UID: "r", Owner: Owner{"Deployment", "web", "d"}, Hash: "h",
		Selector: labels.SelectorFromSet(labels.Set{"app": "web", TemplateHashLabel: "h"}),
	}
	owned := &Pod{Key: Key{"a", "p"}, UID: "p", Node: "n", Labels: labels.Set{"app": "web", TemplateHashLabel: "h"}, Owner: Owner{"ReplicaSet", "web-h", "r"}, Ready: true}
	released := &Pod{Key: Key{"a", "q"}, UID: "q", Node: "n", Labels: labels.Set{"app": "web", HandoffLabel: "h"}, Ready: true}
	objects := []Object{
		d, rs, owned, released, &Node{Name: "n", Instance: "i-1", Record: "r"},
		&Controller{Key: Key{"a", "db"}, Kind: "StatefulSet", UID: "s", Selector: labels.Nothing()},
		&Service{Key: Key{"a", "s"}, Selector: labels.Set{TemplateHashLabel: "h"}},
		&Budget{Key: Key{"a", "b"}, Selector: labels.Everything(), OtherMin: &Limit{N: 1}},
	}
	for _, o := range objects {
		c.Apply(Change{Object: o})
	}
	if c.DeploymentOf(owned) != d || c.DeploymentOf(released) != d {
		t.Error("a pod's Deployment is not found")
	}
	if b := c.BudgetsOf(owned); len(b) != 1 || c.ReplicasUnder(b[0]) != 1 {
		t.Errorf("budgets %v", b)
	}
	ch := c.TakeChanged()
	if !ch.Nodes["n"] || !ch.Apps["d"] || !ch.Rules || !ch.Budgets {
		t.Errorf("changed: %+v", ch)
	}
	for i := len(objects) - 1; i >= 0; i-- {
		c.Apply(Change{Object: objects[i], Gone: true})
	}
	for name, n := range map[string]int{
		"nodes": len(c.nodes), "byInstance": len(c.byInstance), "recorded": len(c.recorded), "pods": len(c.pods), "onNode": len(c.onNode),
		"owned": len(c.owned), "released": len(c.released), "left": len(c.left), "from": len(c.from), "replicaSets": len(c.replicaSets),
		"setsOf": len(c.setsOf), "setsHashed": len(c.setsHashed), "setsWithout": len(c.setsWithout), "deployments": len(c.deployments),
		"controllers": len(c.controllers), "services": len(c.services), "budgets": len(c.budgets), "twoLimits": len(c.twoLimits),
	} {
		if n != 0 {
			t.Errorf("%s holds %d after everything is gone", name, n)
		}
	}
}
