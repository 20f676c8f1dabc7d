package observe

import (
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// A tape plays what an Observer sees, at times that the test sets.
type tape struct {
	*history
	t0 time.Time
}

func newTape() *tape {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := newHistory(t0.Add(-time.Minute))
	return &tape{h, t0}
}

func (t *tape) at(s float64) time.Time { return t.t0.Add(time.Duration(s * float64(time.Second))) }

func (t *tape) pod(at float64, uid, node string, change func(*podLife)) {
	p := t.pods[uid]
	if p == nil {
		p = &podLife{uid: uid, name: uid, app: "web", node: node, created: t.at(at)}
		t.pods[uid] = p
	}
	change(p)
	t.count("web", t.at(at))
}

func (t *tape) ready(at float64, uid, node string) {
	t.pod(at, uid, node, func(p *podLife) { p.isReady, p.ready = true, t.at(at) })
}

// named is ready for a pod that has the name of another one.
func (t *tape) named(at float64, uid, name, node string) {
	t.pod(at, uid, node, func(p *podLife) { p.name, p.isReady, p.ready = name, true, t.at(at) })
}

func (t *tape) terminating(at float64, uid string) {
	t.pod(at, uid, "", func(p *podLife) { p.terminating = t.at(at) })
}

func (t *tape) ended(at float64, uid string) {
	t.pod(at, uid, "", func(p *podLife) { p.ended = t.at(at) })
}

// TestEvictFirst: one of three pods is evicted before its replacement is Ready.
func TestEvictFirst(t *testing.T) {
	tape := newTape()
	for _, uid := range []string{"a", "b", "c"} {
		tape.ready(-5, uid, "n1")
	}
	tape.begin(tape.t0, []App{{Name: "web", Desired: 3, MinHealthy: 3}})
	tape.terminating(10, "a")
	tape.ended(12, "a")
	tape.ready(14.5, "d", "n2")
	got := tape.result(tape.at(60), 1)
	if got.LostReadyPodSeconds != 4.5 {
		t.Errorf("lost %v ready-pod-seconds, want 4.5", got.LostReadyPodSeconds)
	}
	if want := 2.0 / 3; got.MinReadyRatio != want {
		t.Errorf("lowest share %v, want %v", got.MinReadyRatio, want)
	}
	if got.PDBViolations != 1 {
		t.Errorf("%d violations, want 1", got.PDBViolations)
	}
}

// TestHandoff: the replacement is Ready before the old pod goes. The released pod
// counts until it is told to stop.
func TestHandoff(t *testing.T) {
	tape := newTape()
	tape.ready(-5, "a", "n1")
	tape.begin(tape.t0, []App{{Name: "web", Desired: 1, MinHealthy: 1}})
	tape.pod(10, "a", "n1", func(p *podLife) { p.released = tape.at(10) })
	tape.ready(14, "b", "n2")
	tape.terminating(14.1, "a")
	tape.ended(16, "a")
	got := tape.result(tape.at(60), 1)
	if got.LostReadyPodSeconds != 0 || got.MinReadyRatio != 1 || got.PDBViolations != 0 || got.Handoffs != 1 {
		t.Errorf("got %+v, want nothing lost and one handoff", got)
	}
}

// TestKilled: what the API still shows of a pod whose machine is gone does not
// count, and its node was not emptied.
func TestKilled(t *testing.T) {
	tape := newTape()
	tape.nodes["n1"] = &nodeLife{name: "n1", zone: "a", capacityType: "spot", spotPerHour: 0.36, onDemandPerHour: 1, joined: tape.at(-5)}
	tape.nodes["n2"] = &nodeLife{name: "n2", zone: "b", capacityType: "on-demand", onDemandPerHour: 1, joined: tape.at(-5)}
	tape.ready(-5, "a", "n1")
	tape.ready(-5, "b", "n2")
	tape.begin(tape.t0, []App{{Name: "web", Desired: 2}})
	tape.nodes["n1"].noticed = tape.at(10)
	tape.nodes["n1"].cordoned = tape.at(10.2)
	tape.nodes["n1"].gone, tape.nodes["n1"].left = tape.at(30), 1
	tape.pod(30, "a", "n1", func(p *podLife) { p.killed, p.ended = true, tape.at(30) })
	got := tape.result(tape.at(60), 10)
	if got.LostReadyPodSeconds != 30 {
		t.Errorf("lost %v ready-pod-seconds, want 30", got.LostReadyPodSeconds)
	}
	if got.Nodes != (report.Nodes{Total: 2, Interrupted: 1}) {
		t.Errorf("nodes %+v", got.Nodes)
	}
	if got.NoticeToCordonSeconds.Max != 0.2 || got.NoticeToEmptySeconds.Count != 0 {
		t.Errorf("cordon %+v, empty %+v", got.NoticeToCordonSeconds, got.NoticeToEmptySeconds)
	}
	// n1 ran for 30 s and n2 for 60 s, ten times as long on the cloud's clock.
	if want := 300.0/3600*0.36 + 600.0/3600; !near(got.Cost.Spot, want) {
		t.Errorf("paid %v, want %v", got.Cost.Spot, want)
	}
	if want := 900.0 / 3600; !near(got.Cost.OnDemand, want) {
		t.Errorf("on demand %v, want %v", got.Cost.OnDemand, want)
	}
}

// TestEmptied: a node counts as emptied when its last pod has left, and only if
// that was before its machine went.
func TestEmptied(t *testing.T) {
	tape := newTape()
	for _, name := range []string{"n1", "n2", "n3"} {
		tape.nodes[name] = &nodeLife{name: name, noticed: tape.at(10), gone: tape.at(34), joined: tape.at(-5)}
	}
	tape.nodes["n3"].gone = time.Time{} // still there
	tape.ready(-5, "a", "n1")
	tape.begin(tape.t0, []App{{Name: "web", Desired: 1}})
	tape.ended(17, "a")
	got := tape.result(tape.at(60), 1)
	if got.Nodes.EmptiedBeforeDeadline != 2 {
		t.Errorf("%d emptied, want n1 and n2", got.Nodes.EmptiedBeforeDeadline)
	}
	if q := got.NoticeToEmptySeconds; q.Count != 2 || q.Max != 7 {
		t.Errorf("emptied after %+v, want 7 s at most", q)
	}
}

// TestStatefulSet: a replica is evicted, and its successor of the same name is Ready
// later. One at a time is its nature; a second one at the same time is not, and
// neither is what dies with its machine or never comes back.
func TestStatefulSet(t *testing.T) {
	for _, test := range []struct {
		name           string
		play           func(tape *tape)
		lost, inherent float64
	}{
		{"one", func(tape *tape) {
			tape.terminating(10, "a")
			tape.ended(15, "a")
			tape.named(22, "a2", "a", "n2")
		}, 12, 12},
		{"one after the other", func(tape *tape) {
			tape.terminating(10, "a")
			tape.named(22, "a2", "a", "n2")
			tape.terminating(22, "b")
			tape.named(30, "b2", "b", "n2")
		}, 20, 20},
		{"two at once", func(tape *tape) {
			tape.terminating(10, "a")
			tape.terminating(10, "b")
			tape.named(20, "a2", "a", "n2")
			tape.named(20, "b2", "b", "n2")
		}, 20, 10},
		{"one, and another that was lost without our doing", func(tape *tape) {
			tape.terminating(10, "a")
			tape.pod(15, "c", "n3", func(p *podLife) { p.isReady = false })
			tape.named(20, "a2", "a", "n2")
		}, 5 + 5 + 5 + 40, 10},
		{"died with its machine", func(tape *tape) {
			tape.pod(30, "a", "n1", func(p *podLife) { p.killed, p.ended = true, tape.at(30) })
			tape.terminating(31, "a")
			tape.named(40, "a2", "a", "n2")
		}, 10, 0},
		{"never back", func(tape *tape) { tape.terminating(10, "a") }, 50, 0},
		{"evicted from a node that nobody takes away", func(tape *tape) {
			tape.terminating(10, "c")
			tape.named(20, "c2", "c", "n2")
		}, 10, 0},
	} {
		tape := newTape()
		for _, name := range []string{"n1", "n2", "n3"} {
			tape.nodes[name] = &nodeLife{name: name, joined: tape.at(-5)}
		}
		tape.ready(-5, "a", "n1")
		tape.ready(-5, "b", "n1")
		tape.ready(-5, "c", "n3")
		tape.begin(tape.t0, []App{{Name: "web", Desired: 3, Stateful: true}})
		tape.nodes["n1"].noticed = tape.at(9)
		test.play(tape)
		got := tape.result(tape.at(60), 1)
		if !near(got.LostReadyPodSeconds, test.lost) || !near(got.InherentLostSeconds, test.inherent) {
			t.Errorf("%s: lost %v, %v of them inherent; want %v and %v", test.name, got.LostReadyPodSeconds, got.InherentLostSeconds, test.lost, test.inherent)
		}
	}
}

// TestJobs: of a Job's pods on an interrupted node, one ends in time and one is
// evicted; the pods elsewhere count as neither.
func TestJobs(t *testing.T) {
	tape := newTape()
	tape.nodes["n1"] = &nodeLife{name: "n1", joined: tape.at(-5), noticed: tape.at(10), gone: tape.at(58)}
	tape.nodes["n2"] = &nodeLife{name: "n2", joined: tape.at(-5)}
	tape.begin(tape.t0, nil)
	job := func(uid, node string, change func(p *podLife)) {
		tape.pods[uid] = &podLife{uid: uid, name: uid, node: node, job: "settle"}
		change(tape.pods[uid])
	}
	succeeded := func(at float64) func(*podLife) {
		return func(p *podLife) { p.succeeded, p.ended = true, tape.at(at) }
	}
	job("finished before", "n1", succeeded(5))
	job("finished in time", "n1", succeeded(20))
	job("finished in time, then collected", "n1", func(p *podLife) { succeeded(20)(p); p.terminating = tape.at(59) })
	job("evicted", "n1", func(p *podLife) { p.terminating, p.ended = tape.at(43), tape.at(44) })
	job("died with its machine", "n1", func(p *podLife) { p.killed = true })
	job("elsewhere", "n2", succeeded(50))
	want := report.Jobs{LeftToFinish: 2, BegunAgain: 2}
	if got := tape.result(tape.at(60), 1).Jobs; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }
