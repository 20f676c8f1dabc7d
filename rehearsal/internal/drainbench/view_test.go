package drainbench

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func pod(name, node string, ready, terminating bool) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{appLabel: "web"}},
		Spec:       corev1.PodSpec{NodeName: node},
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	if terminating {
		p.DeletionTimestamp = &metav1.Time{Time: start}
	}
	return p
}

func cordoned(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{cluster.RecordAnnotation: "{}"}},
		Spec:       corev1.NodeSpec{Unschedulable: true},
	}
}

// TestView plays two ways of losing a node with one of two replicas on it.
func TestView(t *testing.T) {
	type seen struct {
		cordoned, emptied, neverAsked int
		lost, lowest                  float64
		toCordon, toEmpty             string
	}
	for _, test := range []struct {
		name string
		play func(*view)
		want seen
	}{
		{"replaced first", func(v *view) {
			v.setNode(cordoned("a"), at(1))
			v.pod(pod("3", "b", false, false), at(1))
			v.pod(pod("3", "b", true, false), at(11))
			v.pod(pod("1", "a", true, true), at(12))
			v.podGone("1", at(16))
		}, seen{1, 1, 0, 0, 1, "[1]", "[16]"}},
		{"evicted first", func(v *view) {
			v.setNode(cordoned("a"), at(1))
			v.pod(pod("1", "a", true, true), at(2))
			v.podGone("1", at(6))
			v.pod(pod("3", "b", false, false), at(2))
			v.pod(pod("3", "b", true, false), at(12))
		}, seen{1, 1, 0, 10, 0.5, "[1]", "[6]"}},
		{"not noticed at all", func(*view) {}, seen{0, 0, 1, 0, 1, "[]", "[]"}},
		{"cordoned without a Record", func(v *view) {
			n := cordoned("a")
			n.Annotations = nil
			v.setNode(n, at(1))
		}, seen{0, 0, 1, 0, 1, "[]", "[]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newView()
			v.pod(pod("1", "a", true, false), start)
			v.pod(pod("2", "b", true, false), start)
			v.begin(start, map[string]int{"web": 2})
			v.notice("a", start)
			test.play(v)
			r := v.result(at(20), start)
			got := seen{r.cordoned, r.emptied, r.neverAsked, r.lost, r.lowest, fmt.Sprint(r.toCordon), fmt.Sprint(r.toEmpty)}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestJudge: a bar is the largest value that passes.
func TestJudge(t *testing.T) {
	bars := []Bar{noneMissed, cordonMax(1)}
	m := &Measured{Reclaimed: 2, Cordoned: 2}
	m.ToCordon.Max = 1
	r := &Report{Cases: []Measured{{Bars: judge(bars, m)}}}
	if !r.Pass() {
		t.Errorf("%+v does not pass", r.Cases)
	}
	m.Cordoned = 1
	r.Cases[0].Bars = judge(bars, m)
	if r.Pass() || r.Cases[0].Bars[0].Pass || !r.Cases[0].Bars[1].Pass {
		t.Errorf("%+v passes, or for another reason than the node that was missed", r.Cases)
	}
}

func TestExpand(t *testing.T) {
	got := expand("--listen=$(POD_IP):8080 $(OTHER)", map[string]string{"POD_IP": "127.0.0.1"})
	if want := "--listen=127.0.0.1:8080 $(OTHER)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
