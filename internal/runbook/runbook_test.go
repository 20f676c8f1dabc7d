package runbook

import (
	"strings"
	"testing"
	"time"
)

const head = "---\nalert: Test\nseverity: warning\nsummary: s\n"

func TestParseNamesWhatIsWrong(t *testing.T) {
	action := func(text string) string { return head + "actions:\n" + text + "---\n# Test\n" }
	if p, err := Parse("Test", []byte(action("- {id: a, kind: query, why: w, query: up}\n"))); err != nil || p.Text != "# Test\n" || len(p.Actions) != 1 {
		t.Fatalf("%+v %v", p, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no front matter":   {"# Test\n", "does not begin with front matter"},
		"without end":       {head, "does not end"},
		"unknown field":     {action("- {id: a, kind: query, why: w, query: up, shell: rm}\n"), "shell"},
		"another name":      {strings.Replace(head+"---\n", "alert: Test", "alert: Other", 1), `"Other" is not the name`},
		"severity":          {strings.Replace(head+"---\n", "warning", "bad", 1), "severity"},
		"kind":              {action("- {id: a, kind: shell, why: w}\n"), `kind: "shell" is not known`},
		"id":                {action("- {id: A b, kind: query, why: w, query: up}\n"), "id:"},
		"why":               {action("- {id: a, kind: query, query: up}\n"), "why: missing"},
		"no query":          {action("- {id: a, kind: query, why: w}\n"), "query: missing"},
		"a node for query":  {action("- {id: a, kind: query, why: w, query: up, node: n}\n"), "node: means nothing"},
		"twice":             {action("- {id: a, kind: query, why: w, query: up}\n- {id: a, kind: query, why: w, query: up}\n"), "twice"},
		"too far at once":   {action("- {id: a, kind: scale, why: w, deployment: a/b, by: 6, min: 1, max: 9}\n"), "by: 6"},
		"to nothing":        {action("- {id: a, kind: scale, why: w, deployment: a/b, by: -1, min: -1, max: 9}\n"), "1 <= min"},
		"without bound":     {action("- {id: a, kind: scale, why: w, deployment: a/b, by: 1, min: 1}\n"), "max: missing"},
		"bound too high":    {action("- {id: a, kind: scale, why: w, deployment: a/b, by: 1, min: 1, max: 51}\n"), "max <= 50"},
		"no namespace":      {action("- {id: a, kind: restart, why: w, deployment: b}\n"), "namespace/name"},
		"odd parameter":     {action("- {id: a, kind: cordon, why: w, node: '{{No de}}'}\n"), "not a parameter"},
		"too many changes":  {action(strings.Repeat("- {id: ID, kind: cordon, why: w, node: n}\n", 6)), "more than 5"},
		"too many of those": {action(strings.Repeat("- {id: ID, kind: query, why: w, query: up}\n", 13)), "13 actions"},
	} {
		text := c.text
		for i := range 13 { // ids of their own
			text = strings.Replace(text, "ID", string(rune('a'+i)), 1)
		}
		if _, err := Parse("Test", []byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestWith(t *testing.T) {
	a := Action{ID: "a", Kind: Query, Query: `up{namespace="{{namespace}}",pod=~"{{service}}-.*"}`}
	if got := strings.Join(Parameters([]Action{a}), " "); got != "namespace service" {
		t.Errorf("parameters: %s", got)
	}
	for _, c := range []struct {
		values map[string]string
		want   string // of the query, or of the error
	}{
		{map[string]string{"namespace": "shop", "service": "cart"}, `up{namespace="shop",pod=~"cart-.*"}`},
		{map[string]string{"namespace": "shop"}, "a needs --set service=VALUE"},
		{map[string]string{"namespace": `x"} or up{a="`, "service": "cart"}, "not the name of anything"},
		{map[string]string{"namespace": "", "service": "cart"}, "not the name of anything"},
	} {
		got, err := a.With(c.values)
		if text := got.Query; err != nil && !strings.Contains(err.Error(), c.want) || err == nil && text != c.want {
			t.Errorf("%v: %q %v, want %q", c.values, text, err, c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	well := Deployment{Replicas: 3, Updated: 3, Ready: 3, Observed: true}
	with := func(change func(*Deployment)) Deployment { d := well; change(&d); return d }
	up := Action{Kind: Scale, By: 2, Min: 2, Max: 4}
	down := Action{Kind: Scale, By: -2, Min: 2, Max: 4}
	restart := Action{Kind: Restart}
	for _, c := range []struct {
		name   string
		action Action
		state  any
		do     bool
		want   string // after, or why not
	}{
		{"cordon", Action{Kind: Cordon}, Node{}, true, "cordoned"},
		{"cordoned", Action{Kind: Cordon}, Node{Unschedulable: true}, false, "already"},
		{"cancel", Action{Kind: Cancel}, Node{Record: true, ByHand: true}, true, "not being drained"},
		{"nothing to cancel", Action{Kind: Cancel}, Node{}, false, "not being drained"},
		{"the cloud's own notice", Action{Kind: Cancel}, Node{Record: true}, false, "goes all the same"},
		{"a node is not scaled", up, Node{}, false, "not an action on a node"},
		{"up, to the bound", up, well, true, "4 replicas"},
		{"down, to the bound", down, well, true, "2 replicas"},
		{"at the bound", up, with(func(d *Deployment) { d.Replicas = 4 }), false, "allows 2 to 4"},
		{"beyond the bound up means down", up, with(func(d *Deployment) { d.Replicas = 9 }), false, "a person decides"},
		{"below it down means up", down, with(func(d *Deployment) { d.Replicas = 1 }), false, "a person decides"},
		{"from below, up", up, with(func(d *Deployment) { d.Replicas = 1 }), true, "3 replicas"},
		{"off", up, with(func(d *Deployment) { d.Replicas = 0 }), false, "switched it off"},
		{"an autoscaler's", up, with(func(d *Deployment) { d.ScaledBySomebody = "HorizontalPodAutoscaler x" }), false, "HorizontalPodAutoscaler x scales it"},
		{"restart", restart, well, true, "new pods"},
		{"restart while it rolls", restart, with(func(d *Deployment) { d.Updated = 1 }), false, "1 of 3 pods are new"},
		{"restart before it is seen", restart, with(func(d *Deployment) { d.Observed = false }), false, "rollout is under way"},
		{"restart what is paused", restart, with(func(d *Deployment) { d.Paused = true }), false, "paused"},
		{"restart what is off", restart, with(func(d *Deployment) { d.Replicas = 0 }), false, "switched it off"},
		{"restart again", restart, with(func(d *Deployment) { d.Restarted = now.Add(-9 * time.Minute) }), false, "9m0s ago"},
		{"restart much later", restart, with(func(d *Deployment) { d.Restarted = now.Add(-11 * time.Minute) }), true, "new pods"},
	} {
		var v Verdict
		switch s := c.state.(type) {
		case Node:
			v = DecideNode(c.action, s)
		case Deployment:
			v = DecideDeployment(c.action, s, now)
		}
		if v.Do != c.do || !strings.Contains(v.After+v.Why, c.want) || v.Do && v.Before == "" {
			t.Errorf("%s: %+v, want %v %q", c.name, v, c.do, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("---\nalert: Test\nseverity: info\nsummary: s\nactions:\n- {id: a, kind: scale, why: w, deployment: '{{namespace}}/b', by: 1, min: 1, max: 2}\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("Test", []byte(text))
		if err != nil {
			return
		}
		for _, a := range p.Actions {
			v := DecideDeployment(a, Deployment{Replicas: 3, Updated: 3, Observed: true}, time.Unix(0, 0))
			if a.Kind == Scale && v.Do && (v.To < a.Min || v.To > a.Max || v.To-v.From > maxScaleBy || v.From-v.To > maxScaleBy) {
				t.Errorf("%+v scales from %d to %d", a, v.From, v.To)
			}
		}
	})
}
