package report_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// fixture makes up a report that looks as a rehearsal's does: three zones are
// reclaimed one after the other under each handler, which lose what the design
// says that they lose. It is arithmetic, not a simulation, and always the same.
func fixture() *report.Report {
	r := &report.Report{
		Scenario: "market-intel-brain", Seed: 1, Trace: "aws-2023-02-v100.csv", TimeScale: 5,
		KubernetesVersion: "v1.37.2", DurationSeconds: 348.4, Started: "2026-03-02T09:30:00Z",
		Handlers: map[string]*report.Handler{},
	}
	for i, name := range []string{report.None, report.Drain, report.Evenkeel} {
		m := &made{handler: name, random: rand.New(rand.NewPCG(1, uint64(i)))}
		r.Handlers[name] = m.run()
	}
	r.Verdict, r.Reasons = report.Judge(r.Handlers)
	return r
}

const (
	fixtureSeconds = 110
	fixtureLead    = 24
)

// made makes up what happens under one handler.
type made struct {
	handler string
	random  *rand.Rand
	h       report.Handler
	t       report.Timeline
	numbers map[string]int
}

func (m *made) between(lo, hi float64) float64 { return lo + (hi-lo)*m.random.Float64() }

func (m *made) run() *report.Handler {
	m.numbers = map[string]int{}
	m.t = report.Timeline{Seconds: fixtureSeconds, NoticeLead: fixtureLead, Zones: []string{"us-east-1a", "us-east-1b", "us-east-1c"}}
	m.join(0, "us-east-1a", "on-demand", "system-1")
	for _, z := range []string{"a", "b", "c"} {
		m.join(0, "us-east-1"+z, "spot", "spot-"+z+"-1", "spot-"+z+"-2")
	}
	m.pod(0, "evenkeel-controller", "system-1", 0)
	for _, z := range []string{"a", "b", "c"} {
		m.pod(0, "engine", "spot-"+z+"-1", 0)
		m.pod(0, "engine", "spot-"+z+"-2", 0)
		m.pod(0, "gateway", "spot-"+z+"-1", 0)
	}
	m.pod(0, "gateway", "spot-a-2", 0)

	// What the default plan of seed 1 says.
	m.reclaim(8, "us-east-1c", []string{"spot-c-1", "spot-c-2"}, "us-east-1a spot-a-3", "us-east-1b spot-b-3")
	m.reclaim(42, "us-east-1b", []string{"spot-b-1", "spot-b-2", "spot-b-3"}, "us-east-1c spot-c-3", "us-east-1c spot-c-4", "us-east-1c spot-c-5")
	m.reclaim(76, "us-east-1a", []string{"spot-a-1", "spot-a-2", "spot-a-3"}, "us-east-1c spot-c-6", "us-east-1c spot-c-7", "us-east-1c spot-c-8")
	m.replicas()
	m.load()
	slices.SortStableFunc(m.t.Events, func(a, b report.Event) int { return cmp.Compare(a.At, b.At) })

	m.h.Nodes.Total = len(m.t.Nodes)
	m.h.NoticeToCordonSeconds = ranked(m.t.Nodes, func(n report.NodeBar) float64 { return n.Cordoned })
	m.h.NoticeToEmptySeconds = ranked(m.t.Nodes, func(n report.NodeBar) float64 { return n.Emptied })
	m.h.Cost = report.Cost{Spot: 0.0512, OnDemand: 0.1204}
	m.h.Timeline = m.t
	return &m.h
}

func (m *made) event(at float64, kind, node, format string, args ...any) {
	m.t.Events = append(m.t.Events, report.Event{At: at, Kind: kind, Node: node, Text: fmt.Sprintf(format, args...)})
}

func (m *made) join(at float64, zone, capacity string, names ...string) {
	for _, name := range names {
		m.t.Nodes = append(m.t.Nodes, report.NodeBar{Name: name, Zone: zone, InstanceType: "m5.large", CapacityType: capacity, Joined: at, Noticed: -1, Cordoned: -1, Emptied: -1, Gone: -1})
		if at > 0 {
			m.event(at, "joined", name, "replacement in %s", zone)
		}
	}
}

func (m *made) pod(created float64, app, node string, ready float64) *report.PodBar {
	m.numbers[app]++
	m.t.Pods = append(m.t.Pods, report.PodBar{Name: fmt.Sprintf("%s-6d9f7-%05d", app, m.numbers[app]), App: app, Node: node, Created: created, Ready: ready, Released: -1, Terminating: -1, Gone: -1})
	return &m.t.Pods[len(m.t.Pods)-1]
}

// target is the node with the fewest pods of those that are there and free.
func (m *made) target(at float64) string {
	best, least := "", 1000
	for _, n := range m.t.Nodes {
		if n.Joined > at || n.Noticed >= 0 {
			continue
		}
		on := 0
		for _, p := range m.t.Pods {
			on += btoi(p.Node == n.Name && (p.Gone < 0 || p.Gone > at))
		}
		if on < least {
			best, least = n.Name, on
		}
	}
	return best
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (m *made) reclaim(at float64, zone string, nodes []string, replacements ...string) {
	for i := range m.t.Nodes {
		n := &m.t.Nodes[i]
		if !slices.Contains(nodes, n.Name) {
			continue
		}
		n.Noticed, n.Gone = at, at+fixtureLead
		m.h.Nodes.Interrupted++
		m.event(at, "notice", n.Name, "spot interruption: gone in %d s", fixtureLead)
		m.event(n.Gone, "gone", n.Name, "the machine was taken")
		if m.handler != report.None {
			n.Cordoned = at + m.between(0.08, 0.4)
			m.event(n.Cordoned, "cordon", n.Name, "no new pods")
		}
	}
	if m.handler != report.Evenkeel {
		m.movePods(at, nodes)
	}
	for _, r := range replacements {
		var zone, name string
		fmt.Sscan(r, &zone, &name)
		m.join(at+8, zone, "spot", name)
	}
	if m.handler == report.Evenkeel {
		m.movePods(at, nodes)
	}
	for i := range m.t.Nodes {
		n := &m.t.Nodes[i]
		if !slices.Contains(nodes, n.Name) || m.handler == report.None {
			continue
		}
		n.Emptied = n.Cordoned + 0.5
		for _, p := range m.t.Pods {
			if p.Node == n.Name {
				n.Emptied = max(n.Emptied, p.Gone)
			}
		}
		m.h.Nodes.EmptiedBeforeDeadline++
		m.event(n.Emptied, "emptied", n.Name, "%.1f s before its machine goes", n.Gone-n.Emptied)
	}
}

// movePods gives every pod of the nodes the end that its handler leads to.
func (m *made) movePods(at float64, nodes []string) {
	for i := range m.t.Pods {
		p := m.t.Pods[i]
		if !slices.Contains(nodes, p.Node) || p.Gone >= 0 {
			continue
		}
		var created, ready float64
		switch m.handler {
		case report.None:
			p.Gone, p.Killed = at+fixtureLead, true
			created = p.Gone + m.between(5, 6)
			ready = created + m.between(2, 4)
		case report.Drain:
			p.Terminating = at + m.between(0.4, 0.7)
			p.Gone = p.Terminating + m.between(3, 4.5)
			created = p.Terminating + 0.1
			ready = created + m.between(2, 4.5)
		case report.Evenkeel:
			p.Released = at + m.between(0.3, 0.6)
			created = p.Released + 0.1
			ready = created + m.between(2, 4)
			if i%2 == 0 { // waits for a new node
				ready = at + 8 + m.between(2, 4)
			}
			p.Terminating = ready + m.between(0.1, 0.3)
			p.Gone = p.Terminating + m.between(2.5, 4)
			m.h.Handoffs++
		}
		m.t.Pods[i] = p
		m.pod(created, p.App, m.target(max(created, ready-4)), ready)
	}
}

// replicas counts what was ready, and what was not.
func (m *made) replicas() {
	m.h.MinReadyRatio = 1
	for app, desired := range map[string]int{"engine": 6, "gateway": 4} {
		moments := []float64{0}
		for _, p := range m.t.Pods {
			moments = append(moments, p.Ready, p.Terminating, p.Gone)
		}
		slices.Sort(moments)
		line := report.AppLine{App: app}
		for _, at := range slices.Compact(moments) {
			if at < 0 || at >= fixtureSeconds {
				continue
			}
			ready := 0
			for _, p := range m.t.Pods {
				ready += btoi(p.App == app && p.Ready <= at && (p.Terminating < 0 || p.Terminating > at) && (p.Gone < 0 || p.Gone > at))
			}
			if n := len(line.Steps); n == 0 || line.Steps[n-1].Ready != ready {
				line.Steps = append(line.Steps, report.Step{At: at, Ready: ready, Desired: desired})
			}
		}
		for i, s := range line.Steps {
			end := float64(fixtureSeconds)
			if i+1 < len(line.Steps) {
				end = line.Steps[i+1].At
			}
			m.h.LostReadyPodSeconds += float64(max(0, desired-s.Ready)) * (end - s.At)
			m.h.MinReadyRatio = min(m.h.MinReadyRatio, float64(s.Ready)/float64(desired))
		}
		m.t.Apps = append(m.t.Apps, line)
	}
	slices.SortFunc(m.t.Apps, func(a, b report.AppLine) int { return cmp.Compare(b.App, a.App) })
}

func (m *made) load() {
	m.h.Requests.FailedByCause = map[string]int{}
	fail := func(cause string, n int) {
		m.h.Requests.FailedByCause[cause] += n
		m.h.Requests.Failed += n
	}
	for at := range fixtureSeconds {
		b := report.LoadBin{At: float64(at), Sent: 220 + m.random.IntN(25) - 12, P99Ms: m.between(14, 22)}
		m.h.Requests.Sent += b.Sent
		for _, notice := range []int{8, 42, 76} {
			since := at - notice
			switch {
			case m.handler == report.None && since >= fixtureLead && since < fixtureLead+6:
				timeouts, resets := 30+m.random.IntN(30), m.random.IntN(12)
				fail("timeout", timeouts)
				fail("connection reset", resets)
				b.Failed += timeouts + resets
				b.P99Ms = m.between(4000, 5000)
			case m.handler == report.Drain && since >= 1 && since < 5:
				b.P99Ms = m.between(60, 140)
				if since == 4 {
					fail("connection refused", 3)
					b.Failed += 3
				}
			}
		}
		m.t.Load = append(m.t.Load, b)
	}
	if m.handler == report.None {
		fail("lost", 4)
		m.h.Requests.Doubled = 2
	}
	m.h.Requests.LatencyMillis = report.Quantiles{Count: m.h.Requests.Sent - m.h.Requests.Failed, P50: 4.2, P99: 21.7, Max: 181}
}

// ranked takes quantiles of the time since the notice.
func ranked(nodes []report.NodeBar, at func(report.NodeBar) float64) report.Quantiles {
	var took []float64
	for _, n := range nodes {
		if n.Noticed >= 0 && at(n) >= 0 {
			took = append(took, at(n)-n.Noticed)
		}
	}
	if len(took) == 0 {
		return report.Quantiles{}
	}
	slices.Sort(took)
	return report.Quantiles{Count: len(took), P50: took[len(took)/2], P99: took[len(took)-1], Max: took[len(took)-1]}
}
