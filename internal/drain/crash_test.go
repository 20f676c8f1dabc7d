package drain

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// TestCrashes is the fault table: in each scenario the controller is killed before
// and after every single effect that it asks for, answers to sources among them,
// and another one is started that knows nothing. Whatever the moment, each notice
// is handled once, no released pod is left, and no message is lost.
func TestCrashes(t *testing.T) {
	for _, sc := range crashScenarios {
		t.Run(sc.name, func(t *testing.T) {
			whole := sc.run(0, false)
			if len(whole.broken) > 0 {
				t.Fatalf("without a crash:\n%s\nafter:\n%s", strings.Join(whole.broken, "\n"), strings.Join(whole.log, "\n"))
			}
			for _, kind := range sc.effects {
				if !strings.Contains(strings.Join(whole.log, "\n"), kind) {
					t.Errorf("the scenario does not come to %q:\n%s", kind, strings.Join(whole.log, "\n"))
				}
			}
			for k := 1; k <= whole.asked; k++ {
				for _, after := range []bool{false, true} {
					r := sc.run(k, after)
					if len(r.broken) > 0 {
						t.Errorf("killed at effect %d, after it: %t\n%s\nlog:\n%s", k, after, strings.Join(r.broken, "\n"), strings.Join(r.log, "\n"))
					}
				}
			}
		})
	}
}

// crashScenario is one way for nodes to be drained.
type crashScenario struct {
	name    string
	effects []string // what has to happen in it, so that the table covers it
	setup   func(g *game)
	notices map[time.Duration]interruption.Notice // when each is sent
	during  map[time.Duration]func(g *game)
	check   func(g *game)
}

func spot(node string, lead time.Duration) interruption.Notice {
	return interruption.Notice{Cloud: interruption.AWS, Kind: interruption.SpotInterruption, Instance: interruption.InstanceID("i-" + node), Deadline: time.Time{}.Add(lead)}
}

func kind(n interruption.Notice, k interruption.Kind) interruption.Notice { n.Kind = k; return n }

func hooked(n interruption.Notice) interruption.Notice {
	n.Kind, n.Hook = interruption.LifecycleHook, &interruption.Hook{Group: "workers", Name: "drain", Token: "t", Instance: n.Instance}
	return n
}

func emptied(node string) func(*game) {
	return func(g *game) {
		r, err := DecodeRecord(g.nodes[node].Record)
		if err != nil || r.Emptied.IsZero() {
			g.fail("%s is not recorded as emptied (%v)", node, err)
		}
	}
}

var crashScenarios = []crashScenario{
	{
		name: "handoff", effects: []string{"store record and cordon", "handoff", "evict", "store emptied", "answer"},
		setup: func(g *game) {
			g.web(2, 2)
		},
		notices: map[time.Duration]interruption.Notice{time.Second: spot("n0", 120*time.Second)},
		check:   emptied("n0"),
	},
	{
		name: "no capacity and a budget", effects: []string{"handoff", "evict", "delete"},
		setup: func(g *game) {
			g.web(2, 2)
			g.full = true
		},
		notices: map[time.Duration]interruption.Notice{time.Second: spot("n0", 60*time.Second)},
	},
	{
		name: "other workloads", effects: []string{"evict db-0", "evict alone", "announce import", "evict import"},
		setup: func(g *game) {
			g.addStatefulSet("db", 1)
			g.addPod("db-0", "db", "n0", cluster.Owner{Kind: "StatefulSet", Name: "db", UID: "uid-db"}, 10*time.Second, true)
			g.addPod("import", "import", "n0", cluster.Owner{Kind: "Job", Name: "import", UID: "uid-import"}, 10*time.Second, true)
			g.addPod("alone", "alone", "n0", cluster.Owner{}, 5*time.Second, true)
		},
		notices: map[time.Duration]interruption.Notice{time.Second: spot("n0", 60*time.Second)},
		check:   emptied("n0"),
	},
	{
		name: "behind a load balancer", effects: []string{"withdraw", "evict web-0 (deregistered)"},
		setup: func(g *game) {
			g.web(2, 1)
			p := g.pods["web-0"]
			p.Labels[cluster.ServingLabel], p.Targeted = "true", true
			g.show(p)
		},
		notices: map[time.Duration]interruption.Notice{time.Second: spot("n0", 120*time.Second)},
		check:   emptied("n0"),
	},
	{
		name: "lifecycle hook", effects: []string{"heartbeat", "complete", "(hook-completed)"},
		setup:   func(g *game) { g.web(1, 1) },
		notices: map[time.Duration]interruption.Notice{time.Second: hooked(spot("n0", 100*time.Second))},
		check: func(g *game) {
			emptied("n0")(g)
			if r, _ := DecodeRecord(g.nodes["n0"].Record); r.Completed.IsZero() || g.completed == 0 || g.completed > 2 {
				g.fail("the group was told %d times, recorded at %v", g.completed, r.Completed)
			}
		},
	},
	{
		name: "called off", effects: []string{"store nothing and uncordon", "handoff", "evict"},
		setup: func(g *game) { g.web(1, 1) },
		notices: map[time.Duration]interruption.Notice{
			time.Second:     kind(spot("n0", 30*time.Minute), interruption.ScheduledChange),
			4 * time.Second: kind(spot("n0", 0), interruption.Cancelled),
		},
		check: func(g *game) {
			if n := g.nodes["n0"]; n.Record != "" || n.Unschedulable {
				g.fail("n0 was not given back: %+v", n)
			}
		},
	},
	{
		name: "a tighter notice", effects: []string{"(tighter-deadline)", "(already-recorded)"},
		setup: func(g *game) { g.web(2, 2) },
		notices: map[time.Duration]interruption.Notice{
			time.Second:     spot("n0", 120*time.Second),
			2 * time.Second: spot("n0", 60*time.Second),
			3 * time.Second: spot("n0", 119*time.Second),
		},
		check: emptied("n0"),
	},
	{
		name: "two budgets", effects: []string{"delete web-0 (two-budgets-allow)"},
		setup: func(g *game) {
			g.web(1, 0)
			for _, name := range []string{"a", "b"} {
				g.addBudget(nil, name, map[string]string{"app": "web", "allowed": "1"})
			}
		},
		notices: map[time.Duration]interruption.Notice{time.Second: spot("n0", 60*time.Second)},
		check:   emptied("n0"),
	},
	{
		name: "a machine that is gone", effects: []string{"and taint", "store closed and untaint"},
		setup: func(g *game) {
			g.addStatefulSet("db", 1)
			p := g.addPod("db-0", "db", "n0", cluster.Owner{Kind: "StatefulSet", Name: "db", UID: "uid-db"}, time.Hour, true)
			p.Volumes = true
			g.ending["db-0"] = g.now.Add(time.Hour) // its kubelet never ends it
			g.show(p)
		},
		notices: map[time.Duration]interruption.Notice{time.Second: spot("n0", 20*time.Second)},
		during: map[time.Duration]func(*game){22 * time.Second: func(g *game) {
			n := g.nodes["n0"]
			n.Ready = false
			g.show(n)
		}},
		check: func(g *game) {
			if r, _ := DecodeRecord(g.nodes["n0"].Record); r.Closed.IsZero() || r.OutOfService || g.tainted["n0"] {
				g.fail("not closed: %+v, tainted %t", r, g.tainted["n0"])
			}
		},
	},
	{
		name: "a budget with two limits", effects: []string{"rebudget"},
		setup: func(g *game) {
			g.web(2, 0)
			g.addBudget(nil, "web", map[string]string{"app": "web", "max": "50%", "other-min": "2"})
		},
		check: func(g *game) {
			if b := g.pdbs["web"]; b.Min == nil || b.Max != nil || b.OtherMax == nil {
				g.fail("the budget is %+v", b)
			}
		},
	},
}

// web adds a Deployment with a pod on each of the first nodes.
func (g *game) web(replicas, budget int) {
	g.addDeployment("web", replicas)
	if budget > 0 {
		g.budgets["web"] = budget
	}
	for i := range replicas {
		g.addPod(fmt.Sprintf("web-%d", i), "web", fmt.Sprintf("n%d", i), cluster.Owner{}, 10*time.Second, true)
	}
}

// run plays a scenario, with a kill at the k-th effect. It is played on a
// cluster that shows every change at once.
func (sc *crashScenario) run(k int, after bool) *game {
	g := &game{
		world: newWorld(), rand: rand.New(rand.NewPCG(1, 1)), state: NewState(Policy{}),
		ending: make(map[string]time.Time), deadline: make(map[string]time.Time),
		answered: make(map[uint64]bool), evicted: make(map[cluster.UID]int),
	}
	for i := range 4 {
		g.addNode(fmt.Sprintf("n%d", i), false)
	}
	sc.setup(g)
	start := g.now
	queue := make(map[uint64]interruption.Notice) // sent and not answered
	deliver := make(map[uint64]time.Time)         // when each is read next
	var sent uint64
	for ; g.now.Before(start.Add(130 * time.Second)); g.now = g.now.Add(100 * time.Millisecond) {
		if n, ok := sc.notices[g.now.Sub(start)]; ok {
			sent++
			n.ID, n.Sent, n.Seen = fmt.Sprint(sent), g.now, g.now
			if n.Kind != interruption.Cancelled {
				n.Deadline = g.now.Add(n.Deadline.Sub(time.Time{}))
				node := strings.TrimPrefix(string(n.Instance), "i-")
				if d := g.deadline[node]; d.IsZero() || n.Deadline.Before(d) {
					g.deadline[node] = n.Deadline
				}
			}
			queue[sent], deliver[sent] = n, g.now
		}
		if f := sc.during[g.now.Sub(start)]; f != nil {
			f(g)
		}
		g.kubelets()
		for token := uint64(1); token <= sent; token++ {
			if n, ok := queue[token]; ok && deliver[token].Equal(g.now) {
				g.in.Notices = append(g.in.Notices, Received{token, n})
			}
		}
		for range 20 { // everything takes no time
			g.in.Now, g.in.Cluster = g.now, g.view
			out := g.state.Step(g.in)
			g.in = Input{}
			killed := false
			for _, e := range out.Effects {
				g.asked++
				if g.asked == k && !after {
					killed = true
					break
				}
				g.log = append(g.log, fmt.Sprintf("%6.2fs %v", g.clock(), e))
				if e.Kind == Answer {
					g.checkStored(e)
					delete(queue, e.Token)
				} else {
					g.checkBefore(e)
					g.in.Results = append(g.in.Results, Result{Effect: e, Outcome: g.apply(e)})
				}
				if g.asked == k {
					killed = true
					break
				}
			}
			if killed {
				g.log = append(g.log, fmt.Sprintf("%6.2fs killed", g.clock()))
				g.state, g.in = NewState(Policy{}), Input{}
				for token := range queue {
					deliver[token] = g.now.Add(time.Second) // the queue makes it visible again
				}
				break
			}
			if len(out.Effects) == 0 {
				break
			}
		}
	}
	if len(queue) > 0 {
		g.fail("%d notices were never answered", len(queue))
	}
	for name, p := range g.pods {
		if p.ReleasedFrom() != "" && !p.Terminating {
			g.fail("pod %s was released and never finished", name)
		}
	}
	for name, d := range g.deploys {
		if left := len(g.deadline); !g.full && d.made > left {
			g.fail("%s: %d replacements for %d node", name, d.made, left)
		}
	}
	if sc.check != nil {
		sc.check(g)
	}
	return g
}

// checkStored: what a source may forget is stored by then.
func (g *game) checkStored(e Effect) {
	n := g.nodes[e.Node]
	switch e.Reason {
	case NoticeReceived, AlreadyRecorded, TighterDeadline:
		if n == nil || n.Record == "" || !n.Unschedulable {
			g.fail("%v before %s is cordoned and its Record stored", e, e.Node)
		}
	case NoticeCancelled:
		if n == nil || n.Record != "" {
			g.fail("%v before the Record of %s is removed", e, e.Node)
		}
	}
}
