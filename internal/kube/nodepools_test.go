package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
)

// nodePoolAnswer is a NodePool with weight 100 and these requirements besides its own.
func nodePoolAnswer(more ...requirement) answer {
	return answer{200, map[string]any{
		"kind": "NodePool", "apiVersion": "karpenter.sh/v1", "metadata": map[string]any{"name": "workers", "uid": "u", "resourceVersion": "7"},
		"spec": map[string]any{"weight": 100, "template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"evenkeel.dev/pool": "work"}},
			"spec": map[string]any{"requirements": append([]requirement{
				{Key: capacityKey, Operator: "In", Values: []string{"spot"}},
				{Key: typeKey, Operator: "In", Values: []string{"m5.large", "c5.large", "r5.large"}, MinValues: new(int)},
				{Key: typeKey, Operator: "NotIn", Values: []string{"r5.large"}}, // a person's
			}, more...)},
		}},
	}}
}

func TestNodePools(t *testing.T) {
	one := nodePoolAnswer(requirement{Key: zoneKey, Operator: "In", Values: []string{"a", "b"}}, requirement{Key: zoneKey, Operator: "In", Values: []string{"b", "c"}})
	static := map[string]any{"metadata": map[string]any{"name": "static"}, "spec": map[string]any{"replicas": 3, "template": map[string]any{"spec": map[string]any{"requirements": []requirement{}}}}}
	_, c := newServer(t, answer{200, map[string]any{"kind": "NodePoolList", "apiVersion": "karpenter.sh/v1", "items": []any{one.body, static}}})
	groups, err := NewNodePools(c.api).Groups(t.Context())
	if err != nil || len(groups) != 2 {
		t.Fatal(groups, err)
	}
	g := groups[0]
	if g.Pool != "work" || g.Key() != "NodePool.workers" || g.UID != "u" || !g.Spot || g.OnDemand || g.Fixed != "" ||
		!slices.Equal(g.Zones, []string{"b"}) || !g.Set.Equal(capacity.Settings{Weight: 100, NoTypes: []string{"r5.large"}}) {
		t.Errorf("%+v", g)
	}
	if g := groups[1]; g.Pool != "static" || !g.Spot || !g.OnDemand || g.Fixed == "" {
		t.Errorf("%+v", g)
	}

	_, c = newServer(t, status(404, metav1.StatusReasonNotFound))
	if groups, err := NewNodePools(c.api).Groups(t.Context()); err != nil || groups != nil {
		t.Errorf("without Karpenter: %v, %v", groups, err)
	}
	_, c = newServer(t, status(403, metav1.StatusReasonForbidden))
	if _, err := NewNodePools(c.api).Groups(t.Context()); err == nil {
		t.Error("no error without rights")
	}
}

func TestNodePoolChange(t *testing.T) {
	was := capacity.Settings{Weight: 100, NoTypes: []string{"r5.large"}}
	out := capacity.Settings{Weight: 9, NoTypes: []string{"m5.large", "r5.large"}, NoZones: []string{"a"}}
	ours := []requirement{{Key: typeKey, Operator: "NotIn", Values: []string{"m5.large"}}, {Key: zoneKey, Operator: "NotIn", Values: []string{"a"}}}
	for _, tt := range []struct {
		name     string
		answers  []answer
		from, to capacity.Settings
		patch    string // of spec; empty for none
		changed  bool   // by somebody else
	}{
		{"exclude", []answer{nodePoolAnswer(), nodePoolAnswer()}, was, out,
			`{"template":{"spec":{"requirements":[{"key":"karpenter.sh/capacity-type","operator":"In","values":["spot"]},{"key":"node.kubernetes.io/instance-type","operator":"In","values":["m5.large","c5.large","r5.large"],"minValues":0},{"key":"node.kubernetes.io/instance-type","operator":"NotIn","values":["r5.large"]},{"key":"node.kubernetes.io/instance-type","operator":"NotIn","values":["m5.large"]},{"key":"topology.kubernetes.io/zone","operator":"NotIn","values":["a"]}]}},"weight":9}`, false},
		{"take in again", []answer{nodePoolAnswer(ours...), nodePoolAnswer()}, capacity.Settings{Weight: 100, NoTypes: out.NoTypes, NoZones: out.NoZones}, was,
			`{"template":{"spec":{"requirements":[{"key":"karpenter.sh/capacity-type","operator":"In","values":["spot"]},{"key":"node.kubernetes.io/instance-type","operator":"In","values":["m5.large","c5.large","r5.large"],"minValues":0},{"key":"node.kubernetes.io/instance-type","operator":"NotIn","values":["r5.large"]}]}}}`, false},
		{"no weight", []answer{nodePoolAnswer(), nodePoolAnswer()}, was, capacity.Settings{NoTypes: was.NoTypes}, `{"weight":null}`, false},
		{"it is so already", []answer{nodePoolAnswer()}, capacity.Settings{Weight: 5}, was, "", false},
		{"somebody else was first", []answer{nodePoolAnswer()}, capacity.Settings{Weight: 5}, out, "", true},
		{"somebody else comes between", []answer{nodePoolAnswer(), status(409, metav1.StatusReasonConflict)}, was, capacity.Settings{Weight: 9, NoTypes: was.NoTypes}, `{"weight":9}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := newServer(t, tt.answers...)
			err := NewNodePools(c.api).Change(t.Context(), capacity.Group{Kind: capacity.NodePool, Name: "workers"}, tt.from, tt.to)
			if errors.Is(err, capacity.ErrChanged) != tt.changed || err != nil && !tt.changed {
				t.Errorf("error = %v", err)
			}
			if len(s.answers) > 0 {
				t.Errorf("asked %q", s.asked)
			}
			if tt.patch == "" {
				return
			}
			want := fmt.Sprintf(`PATCH /apis/karpenter.sh/v1/nodepools/workers {"metadata":{"resourceVersion":"7"},"spec":%s}`, tt.patch)
			if len(s.asked) != 2 || s.asked[1] != want {
				t.Errorf("asked\n%s\nwant\n%s", strings.Join(s.asked, "\n"), want)
			}
		})
	}
}

func TestCapacityRecords(t *testing.T) {
	r := capacity.Record{Was: capacity.Settings{Weight: 100}, Want: capacity.Settings{Weight: 9}}
	configMap := func(version string, data map[string]string) answer {
		return answer{200, map[string]any{"kind": "ConfigMap", "apiVersion": "v1", "metadata": map[string]any{"name": "c", "namespace": "n", "resourceVersion": version}, "data": data}}
	}
	s, c := newServer(t,
		status(404, metav1.StatusReasonNotFound), configMap("1", map[string]string{"a": r.Encode()}),
		configMap("2", map[string]string{"a": r.Encode(), "b": r.Encode()}), configMap("3", map[string]string{"b": r.Encode()}),
		status(409, metav1.StatusReasonConflict), configMap("4", map[string]string{"a": "{}"}))
	store := NewCapacityRecords(c.api, "n", "c")
	if records, err := store.Records(t.Context()); err != nil || len(records) > 0 {
		t.Fatal(records, err)
	}
	if err := store.Put(t.Context(), "a", &r); err != nil {
		t.Fatal(err)
	}
	records, err := store.Records(t.Context())
	if err != nil || len(records) != 2 || records["b"].Want.Weight != 9 {
		t.Fatal(records, err)
	}
	if err := store.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "b", nil); err == nil {
		t.Error("no error although somebody else has written")
	}
	if _, err := store.Records(t.Context()); err == nil || !strings.Contains(err.Error(), "entry a") {
		t.Errorf("a Record that cannot be read: %v", err)
	}
	methods := make([]string, len(s.asked))
	for i, a := range s.asked {
		methods[i], _, _ = strings.Cut(a, " ")
	}
	if want := []string{"GET", "POST", "GET", "PUT", "PUT", "GET"}; !slices.Equal(methods, want) {
		t.Errorf("asked %v, want %v", methods, want)
	}
}

// TestCapacityEvents: every event that people should see has words, and a NodePool's
// Events are found by `kubectl describe`.
func TestCapacityEvents(t *testing.T) {
	for _, kind := range []capacity.EventKind{capacity.Reclaimed, capacity.Returned, capacity.Advised, capacity.Marked, capacity.Left, capacity.Hindered} {
		e := capacity.Event{Kind: kind, Group: capacity.Group{Pool: "p", Kind: capacity.NodePool, Name: "np", UID: "u"}, Reason: capacity.Bridge, Text: strings.Repeat("x", 2000)}
		o, ok := capacityObject(e, "me")
		if !ok || o.Reason == "" || o.Action == "" || len(o.Note) != 1024 || o.Regarding.Kind != "NodePool" || o.Regarding.UID != "u" || o.Namespace != "default" {
			t.Errorf("%s: %+v", kind, o)
		}
	}
	if o, ok := capacityObject(capacity.Event{Kind: capacity.Advised, Group: capacity.Group{Pool: "p"}}, "me"); !ok || o.Regarding.Name != "p" || o.Regarding.Kind != "Pool" {
		t.Errorf("%+v", o)
	}
	if _, ok := capacityObject(capacity.Event{Kind: capacity.Recorded}, "me"); ok {
		t.Error("a change that is only recorded is told")
	}
}
