package rehearse

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/evenkeel-dev/evenkeel/deploy"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
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
	const name = "../../../examples/hard-to-drain/platform.yaml"
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := NewPlatform(f, name, map[string]string{
		"evenkeel.dev/market-intel-brain/gateway": "gateway",
		"evenkeel.dev/market-intel-brain/engine":  "engine",
		"evenkeel.dev/evenkeel-controller":        "evenkeel-controller",
	}, "bin")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Apps, []string{"gateway", "engine"}) || len(p.LeftOut) > 0 {
		t.Errorf("judged %v, left out %v", p.Apps, p.LeftOut)
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
