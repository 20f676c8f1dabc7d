package rehearse

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/evenkeel-dev/evenkeel/deploy"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/scenario"
)

func TestParseFault(t *testing.T) {
	for _, test := range []struct {
		in   string
		want Fault
		err  string
	}{
		{"controller-kill", Fault{Kind: ControllerKill}, ""},
		{"apiserver-stop", Fault{APIServerStop, 10 * time.Second}, ""},
		{"apiserver-stop=2.5s", Fault{APIServerStop, 2500 * time.Millisecond}, ""},
		{"duplicate-notices", Fault{Kind: DuplicateNotices}, ""},
		{"apiserver-stop=soon", Fault{}, "such as 10s"},
		{"apiserver-stop=-1s", Fault{}, "between 0 and 5m"},
		{"controller-kill=3", Fault{}, "takes no value"},
		{"lightning", Fault{}, "controller-kill"},
	} {
		got, err := ParseFault(test.in)
		switch {
		case test.err == "" && err != nil:
			t.Errorf("%s: %v", test.in, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%s: error %v, want %q in it", test.in, err, test.err)
		case got != test.want:
			t.Errorf("%s: got %+v, want %+v", test.in, got, test.want)
		}
		if test.err == "" {
			if again, err := ParseFault(got.String()); err != nil || again != got {
				t.Errorf("%s: written as %s, which reads as %+v (%v)", test.in, got, again, err)
			}
		}
	}
}

// TestEscalations reads a controller's log as a kill leaves it.
func TestEscalations(t *testing.T) {
	log := `{"msg":"starting"}
{"msg":"handoff","reason":"hand-off","outcome":"done"}
{"msg":"evict","reason":"latest-start","outcome":"blocked"}
{"msg":"delete","reason":"budget-at-latest-start","outcome":"done"}
{"msg":"evict","reason":"latest-st
{"msg":"starting"}
panic: not JSON
{"msg":"evict","reason":"latest-start","outcome":"done"}
{"msg":"evict","reas`
	n, starts, err := escalations(strings.NewReader(log))
	if n != 2 || starts != 2 || err != nil {
		t.Errorf("got %d escalations, %d starts (%v), want 2 and 2", n, starts, err)
	}
}

// TestExtend gives the shipped Deployment what the rehearsal adds, and nothing of
// what it had is lost.
func TestExtend(t *testing.T) {
	objects, err := manifest.Decode("controller.yaml", deploy.Controller)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		before := container(t, o)
		if err := extend(o, []string{"--x=1"}, []envVar{{"AWS_REGION", "here"}, {"NEW", "y"}}); err != nil {
			t.Fatal(err)
		}
		after := container(t, o)
		if got := after["args"].([]any); got[len(got)-1] != "--x=1" || len(got) != len(before["args"].([]any))+1 {
			t.Errorf("args: %v", got)
		}
		env := make(map[string]any)
		for _, v := range after["env"].([]any) {
			env[v.(map[string]any)["name"].(string)] = v.(map[string]any)["value"]
		}
		if want := map[string]any{"AWS_REGION": "here", "NEW": "y", "POD_IP": nil}; !reflect.DeepEqual(env, want) {
			t.Errorf("env: %v, want %v", env, want)
		}
		return
	}
	t.Fatal("there is no Deployment")
}

func container(t *testing.T, o *unstructured.Unstructured) map[string]any {
	t.Helper()
	list, ok, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil || !ok {
		t.Fatalf("no containers: %v", err)
	}
	return list[0].(map[string]any)
}

// TestHardToDrain keeps the example of services that only a handoff can move
// ready to be rehearsed.
func TestHardToDrain(t *testing.T) {
	p := newPlatform(t, "../../../examples/hard-to-drain/platform.yaml", map[string]string{
		"evenkeel.dev/market-intel-brain/gateway": "gateway",
		"evenkeel.dev/market-intel-brain/engine":  "engine",
		"evenkeel.dev/evenkeel-controller":        "evenkeel-controller",
	})
	if !slices.Equal(p.Apps, []string{"gateway", "engine"}) {
		t.Errorf("judged %v", p.Apps)
	}
	budgets := 0
	for _, o := range p.settings {
		if o.GetKind() != "PodDisruptionBudget" || o.GetName() == p.Controller {
			continue
		}
		budgets++
		if n, _, err := unstructured.NestedFieldNoCopy(o.Object, "spec", "maxUnavailable"); fmt.Sprint(n) != "0" || err != nil {
			t.Errorf("%s: maxUnavailable %v, %v; want 0", o.GetName(), n, err)
		}
	}
	if budgets != 2 {
		t.Errorf("%d budgets of services", budgets)
	}
}

// TestServices keeps the example of the Market Intel Brain's services ready to be
// rehearsed.
func TestServices(t *testing.T) {
	const dir = "../../../examples/market-intel-brain-services/"
	sc, err := scenario.Load(dir + "scenario.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if plan, err := sc.Script(); err != nil || plan.Interrupted() != 8 {
		t.Errorf("plan %v, %v; want one of 8 nodes", plan, err)
	}
	p := newPlatform(t, dir+"platform.yaml", sc.Images)
	if err := p.Add("analyst.yaml", read(t, dir+"manifests/analyst.yaml"), sc.Images, "bin"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"go-gateway", "engine", "analytics", "vector-store", "event-stream"}; !slices.Equal(p.Apps, want) || !slices.Equal(p.units, []string{"analyst/0"}) {
		t.Errorf("judged %v, units %v", p.Apps, p.units)
	}
	profile, err := load.ReadProfile(dir + "load/questions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if gets := profile.Gets(); len(gets) != 3 || gets[0] != "/v1/series" {
		t.Errorf("asked before the load begins: %v", gets)
	}
	if gets := (*load.Profile)(nil).Gets(); !slices.Equal(gets, []string{"/v1/quote?symbol=WTI"}) {
		t.Errorf("without a profile: %v", gets)
	}
	for _, o := range p.workloads {
		volumes, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "volumes")
		if err != nil {
			t.Fatal(err)
		}
		scratch := slices.ContainsFunc(volumes, func(v any) bool { return v.(map[string]any)["emptyDir"] != nil })
		if want := o.GetName() == "vector-store" || o.GetName() == "event-stream"; scratch != want {
			t.Errorf("%s: a folder to write to: %v, want %v", o.GetName(), scratch, want)
		}
	}
}

// TestStatefulAndJobs keeps the example of a StatefulSet and Jobs ready to be
// rehearsed: with the programs and nodes of its own scenario.
func TestStatefulAndJobs(t *testing.T) {
	const dir = "../../../examples/stateful-and-jobs/"
	sc, err := scenario.Load(dir + "scenario.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if plan, err := sc.Script(); err != nil || plan.Interrupted() != 6 {
		t.Errorf("plan %v, %v; want one of 6 nodes", plan, err)
	}
	p := newPlatform(t, dir+"platform.yaml", sc.Images)
	for _, name := range []string{"service.yaml", "settle.yaml", "backtest.yaml"} {
		if err := p.Add(name, read(t, dir+"manifests/"+name), sc.Images, "bin"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"settle/0", "settle/1", "settle/2", "backtest/0", "backtest/1", "backtest/2"}
	if !slices.Equal(p.Apps, []string{"gateway", "engine"}) || !slices.Equal(p.units, want) || len(p.jobs) != 2 {
		t.Errorf("judged %v, units %v, %d Jobs", p.Apps, p.units, len(p.jobs))
	}
	images := p.imagesByName()
	for _, o := range slices.Concat(p.workloads, p.jobs) {
		for _, image := range imagesOf(o) {
			if images[image].Command == nil {
				t.Errorf("%s %s: no program for %s", o.GetKind(), o.GetName(), image)
			}
		}
	}
	if !slices.ContainsFunc(p.workloads, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "StatefulSet" && o.GetName() == "engine"
	}) {
		t.Error("the engine is no StatefulSet")
	}
	if !slices.ContainsFunc(p.settings, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Service" && o.GetName() == "quotes" }) {
		t.Error("there is no Service before the engines")
	}
}

// TestAddMistakes says what cannot stand beside a platform.
func TestAddMistakes(t *testing.T) {
	const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: settle, namespace: hard-to-drain}
spec: {completionMode: Indexed, completions: 2, template: {spec: {containers: [{name: a, image: "a/batch:1"}]}}}
`
	images := map[string]string{
		"evenkeel.dev/market-intel-brain/gateway": "gateway", "evenkeel.dev/evenkeel-controller": "evenkeel-controller",
		"evenkeel.dev/market-intel-brain/engine": "engine", "a/batch": "batch",
	}
	for _, test := range []struct{ old, new, err string }{
		{"", "", ""},
		{"a/batch:1", "b/batch:1", "no program for b/batch:1"},
		{"hard-to-drain", "elsewhere", `namespace "elsewhere"`},
		{"Indexed", "NonIndexed", "only with Indexed"},
		{"completions: 2", "completions: many", "completions"},
		{"completions: 2, ", "", "from 1 to 1000"},
		{"kind: Job", "kind: [", "decoding settle.yaml"},
	} {
		p := newPlatform(t, "../../../examples/hard-to-drain/platform.yaml", images)
		err := p.Add("settle.yaml", []byte(strings.Replace(job, test.old, test.new, 1)), images, "bin")
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: %v, want %q", test.new, err, test.err)
		}
	}
}

func newPlatform(t *testing.T, name string, images map[string]string) *Platform {
	t.Helper()
	p, err := NewPlatform(bytes.NewReader(read(t, name)), name, images, "bin")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.LeftOut) > 0 {
		t.Errorf("%s: left out %v", name, p.LeftOut)
	}
	return p
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
