package drain

import (
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// bigWorld has 1,000 nodes with 5 pods each, of 20 Deployments.
func bigWorld() *world {
	w := newWorld()
	const nodes, podsEach, apps = 1000, 5, 20
	for a := range apps {
		w.addDeployment(fmt.Sprintf("app%d", a), nodes*podsEach/apps)
	}
	for i := range nodes {
		node := fmt.Sprintf("n%d", i)
		w.addNode(node, false)
		for j := range podsEach {
			app := (i*podsEach + j) % apps
			w.addPod(fmt.Sprintf("app%d-%d-%d", app, i, j), fmt.Sprintf("app%d", app), node, cluster.Owner{}, 10*time.Second, true)
		}
	}
	return w
}

func noticeAll(w *world, s *State, nodes int) {
	in := Input{Now: w.now, Cluster: w.view}
	for i := range nodes {
		in.Notices = append(in.Notices, Received{uint64(i + 1), interruption.Notice{
			Kind: interruption.SpotInterruption, Cloud: interruption.AWS, Instance: interruption.InstanceID(fmt.Sprintf("i-n%d", i)),
			Sent: w.now, Seen: w.now, Deadline: w.now.Add(2 * time.Minute),
		}})
	}
	var results []Result
	for range 3 {
		out := s.Step(in)
		results = results[:0]
		for _, e := range out.Effects {
			switch e.Kind {
			case Answer:
			case Store:
				n := *w.nodes[e.Node]
				n.Record, n.Unschedulable = e.Record.Encode(), true
				w.nodes[e.Node] = &n
				w.show(&n)
				results = append(results, Result{Effect: e, Outcome: Done})
			case Handoff:
				p := w.pods[e.Pod.Name]
				p.Labels = map[string]string{"app": p.Labels["app"], cluster.HandoffLabel: e.Hash}
				p.Owner = cluster.Owner{}
				w.show(p)
				results = append(results, Result{Effect: e, Outcome: Done})
			}
		}
		w.now = w.now.Add(time.Second)
		in = Input{Now: w.now, Cluster: w.view, Results: results}
	}
	s.Step(in)
}

// BenchmarkStep measures what one decision costs while 500 of 1,000 nodes, with
// 2,500 of 5,000 pods, are being drained at once.
func BenchmarkStep(b *testing.B) {
	b.Run("500 notices at once", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			w, s := bigWorld(), NewState(Policy{})
			s.Step(Input{Now: w.now, Cluster: w.view})
			b.StartTimer()
			noticeAll(w, s, 500)
		}
	})
	w, s := bigWorld(), NewState(Policy{})
	noticeAll(w, s, 500)
	b.Run("nothing has changed", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			s.Step(Input{Now: w.now, Cluster: w.view})
		}
	})
	b.Run("one pod has changed", func(b *testing.B) {
		b.ReportAllocs()
		p := w.pods["app0-999-5"]
		for _, q := range w.pods {
			if q.Node == "n999" {
				p = q
			}
		}
		for i := range b.N {
			c := *p
			c.Ready = i%2 == 0
			w.view.Apply(cluster.Change{Object: &c})
			s.Step(Input{Now: w.now, Cluster: w.view})
		}
	})
}
