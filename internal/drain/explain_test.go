package drain

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

func TestExplain(t *testing.T) {
	w := newWorld()
	w.addNode("n1", false)
	w.addNode("n2", false)
	w.addDeployment("web", 2)
	w.addPod("web-a", "web", "n1", cluster.Owner{}, 30*time.Second, true)
	w.addPod("web-b", "web", "n2", cluster.Owner{}, 30*time.Second, false)
	w.addPod("db-0", "db", "n1", cluster.Owner{Kind: "StatefulSet", Name: "db", UID: "db"}, time.Minute, true)
	w.addPod("slow", "slow", "n1", cluster.Owner{Kind: "StatefulSet", Name: "slow", UID: "slow"}, 10*time.Minute, true)
	w.addPod("logs", "logs", "n1", cluster.Owner{Kind: "DaemonSet", Name: "logs", UID: "logs"}, 30*time.Second, true)
	w.addPod("sum", "sum", "n2", cluster.Owner{Kind: "Job", Name: "sum", UID: "sum"}, 10*time.Second, true)
	got := Explain(Policy{}, w.view, []string{"n1", "n2"}, w.now.Add(2*time.Minute), w.now)
	var b strings.Builder
	for _, n := range sortedKeys(got) {
		for _, f := range got[n] {
			fmt.Fprintf(&b, "%s %s %q %q %s", n, f.Pod.Name, f.Service, f.Do, f.Reason)
			if f.Stays {
				b.WriteString(" stays")
			} else {
				fmt.Fprintf(&b, " latest=%v", f.Latest.Sub(w.now))
			}
			if f.Grace != nil {
				fmt.Fprintf(&b, " grace=%v", *f.Grace)
			}
			b.WriteByte('\n')
		}
	}
	const want = `n1 logs "DaemonSet/logs" "" daemonset stays
n1 slow "StatefulSet/slow" "evict" latest-start latest=-8m2s grace=1m58s
n1 db-0 "StatefulSet/db" "evict" no-deployment latest=58s
n1 web-a "Deployment/web" "handoff" hand-off latest=1m28s
n2 web-b "Deployment/web" "evict" not-ready latest=1m28s
n2 sum "Job/sum" "" job-may-finish latest=1m48s
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}

	// The decisions are those of Step: what it does at once is what was said.
	state := NewState(Policy{})
	for name := range maps.Keys(got) {
		n := w.nodes[name]
		n.Record, n.Unschedulable = Record{Notice: interruption.Notice{Instance: n.Instance}, Deadline: w.now.Add(2 * time.Minute), Stored: w.now}.Encode(), true
		w.show(n)
	}
	out := state.Step(Input{Now: w.now, Cluster: w.view})
	did := make(map[string]string)
	for _, e := range out.Effects {
		if e.Kind != Announce {
			did[e.Pod.Name] = fmt.Sprintf("%s %s", e.Kind, e.Reason)
		}
	}
	for _, fates := range got {
		for _, f := range fates {
			said := ""
			if f.Do != "" {
				said = fmt.Sprintf("%s %s", f.Do, f.Reason)
			}
			if did[f.Pod.Name] != said {
				t.Errorf("%s: said %q, did %q", f.Pod.Name, said, did[f.Pod.Name])
			}
		}
	}
}
