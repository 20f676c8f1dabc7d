// Package observe watches a rehearsed cluster from the outside and says what it
// cost: how long nodes took to be cordoned and emptied, how many ready replicas
// were missing for how long, which budgets were broken. It sees what the API
// shows and, for machines that die without a word, what it is told; it changes
// nothing.
package observe

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// An App is a Deployment or a StatefulSet under observation.
type App struct {
	Name    string // of it, and the label app.kubernetes.io/name of its pods
	Desired int
	// MinHealthy is what its PodDisruptionBudget asks for; 0 without one.
	MinHealthy int
	// Stateful says that a replica is replaced by one of the same name, which starts
	// only when it has gone.
	Stateful bool
}

// history is what was seen, in the order in which it was seen. It is plain data;
// everything that is reported is computed from it afterwards.
type history struct {
	start time.Time
	apps  []App
	nodes map[string]*nodeLife
	pods  map[string]*podLife // by UID
	lines map[string][]report.Step
	marks []report.Event
}

type nodeLife struct {
	name, zone, instanceType, capacityType string
	spotPerHour, onDemandPerHour           float64
	joined, noticed, cordoned, gone        time.Time
	deadline                               time.Time
	left                                   int // pods that still had a living process when the machine went
}

type podLife struct {
	uid, name, app, node                         string
	job                                          string // that it belongs to; mostly empty
	created, ready, released, terminating, ended time.Time
	isReady, killed, succeeded                   bool
}

// serves reports whether a pod counts as ready now: Ready, and nobody has asked
// it to go. A released pod serves until it is evicted.
func (p *podLife) serves() bool {
	return p.isReady && p.terminating.IsZero() && p.ended.IsZero() && !p.killed
}

func newHistory(start time.Time) *history {
	return &history{
		start: start,
		nodes: make(map[string]*nodeLife), pods: make(map[string]*podLife), lines: make(map[string][]report.Step),
	}
}

// begin forgets what came before now, but for what still holds.
func (h *history) begin(now time.Time, apps []App) {
	h.start, h.apps, h.marks = now, apps, nil
	clear(h.lines)
	for _, a := range apps {
		h.count(a.Name, now)
	}
}

// count notes an app's ready replicas, if they have changed.
func (h *history) count(app string, now time.Time) {
	i := slices.IndexFunc(h.apps, func(a App) bool { return a.Name == app })
	if i < 0 {
		return
	}
	n := 0
	for _, p := range h.pods {
		if p.app == app && p.serves() {
			n++
		}
	}
	steps := h.lines[app]
	if len(steps) == 0 || steps[len(steps)-1].Ready != n {
		h.lines[app] = append(steps, report.Step{At: h.since(now), Ready: n, Desired: h.apps[i].Desired})
	}
}

// since returns seconds since the load started: 0 for what came before, and -1
// for what never came.
func (h *history) since(t time.Time) float64 {
	if t.IsZero() {
		return -1
	}
	return max(t.Sub(h.start).Seconds(), 0)
}

// result computes what is reported of the time from the start of the load until
// end.
func (h *history) result(end time.Time, timeScale float64) *report.Handler {
	out := &report.Handler{MinReadyRatio: 1}
	seconds := h.since(end)
	for _, app := range h.apps {
		steps := clip(h.lines[app.Name], seconds)
		lost, ratio, violations := shortfall(steps, seconds, app)
		out.LostReadyPodSeconds += lost
		if app.Stateful {
			out.InherentLostSeconds += inherent(steps, seconds, h.successions(app.Name))
		}
		out.MinReadyRatio = min(out.MinReadyRatio, ratio)
		out.PDBViolations += violations
		out.Timeline.Apps = append(out.Timeline.Apps, report.AppLine{App: app.Name, Steps: steps})
	}

	var toCordon, toEmpty []float64
	for _, n := range h.byZone() {
		out.Nodes.Total++
		bar := report.NodeBar{
			Name: n.name, Zone: n.zone, InstanceType: n.instanceType, CapacityType: n.capacityType,
			Joined: h.since(n.joined), Noticed: h.since(n.noticed), Cordoned: h.since(n.cordoned), Gone: h.since(n.gone), Emptied: -1,
		}
		hours := end.Sub(later(n.joined, h.start)).Hours()
		if !n.gone.IsZero() {
			hours = n.gone.Sub(later(n.joined, h.start)).Hours()
		}
		hours *= timeScale
		out.Cost.OnDemand += hours * n.onDemandPerHour
		if n.capacityType == "spot" {
			out.Cost.Spot += hours * n.spotPerHour
		} else {
			out.Cost.Spot += hours * n.onDemandPerHour
		}
		if !n.noticed.IsZero() {
			out.Nodes.Interrupted++
			if !n.cordoned.IsZero() {
				toCordon = append(toCordon, max(n.cordoned.Sub(n.noticed).Seconds(), 0))
			}
			if emptied := h.emptied(n); !emptied.IsZero() {
				bar.Emptied = h.since(emptied)
				toEmpty = append(toEmpty, emptied.Sub(n.noticed).Seconds())
				out.Nodes.EmptiedBeforeDeadline++
			}
		}
		out.Timeline.Nodes = append(out.Timeline.Nodes, bar)
		if !slices.Contains(out.Timeline.Zones, n.zone) {
			out.Timeline.Zones = append(out.Timeline.Zones, n.zone)
		}
	}
	out.NoticeToCordonSeconds = report.QuantilesOf(toCordon)
	out.NoticeToEmptySeconds = report.QuantilesOf(toEmpty)

	for _, p := range h.pods {
		if !p.released.IsZero() {
			out.Handoffs++
		}
		if p.job != "" {
			h.countJob(p, &out.Jobs)
		}
		out.Timeline.Pods = append(out.Timeline.Pods, report.PodBar{
			Name: p.name, App: p.app, Node: p.node, Created: h.since(p.created), Ready: h.since(p.ready),
			Released: h.since(p.released), Terminating: h.since(p.terminating), Gone: h.since(p.ended), Killed: p.killed,
		})
	}
	slices.SortFunc(out.Timeline.Pods, func(a, b report.PodBar) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Name, b.Name))
	})
	out.Timeline.Seconds = seconds
	out.Timeline.Events = slices.Clone(h.marks)
	slices.SortStableFunc(out.Timeline.Events, func(a, b report.Event) int { return cmp.Compare(a.At, b.At) })
	return out
}

// countJob counts what became of a Job's pod.
func (h *history) countJob(p *podLife, jobs *report.Jobs) {
	n := h.nodes[p.node]
	switch {
	case p.killed, !p.succeeded && !p.terminating.IsZero():
		jobs.BegunAgain++
	case p.succeeded && n != nil && !n.noticed.IsZero() && p.ended.After(n.noticed):
		jobs.LeftToFinish++
	}
}

// A span is a part of the time that is reported, in seconds since the load started.
type span struct{ from, until float64 }

// successions returns when a replica of a StatefulSet was on its way from an
// interrupted node: from its eviction until its successor, the next pod of its
// name, was Ready. Not one that died with its machine, and not one whose successor
// never became Ready: that is no matter of its nature. They are in order and do not
// overlap.
func (h *history) successions(app string) []span {
	var out []span
	for _, p := range h.pods {
		n := h.nodes[p.node]
		if p.app != app || p.killed || p.terminating.IsZero() || n == nil || n.noticed.IsZero() || p.terminating.Before(n.noticed) {
			continue
		}
		var ready time.Time
		for _, next := range h.pods {
			if next.name == p.name && next.ready.After(p.terminating) && next.uid != p.uid && (ready.IsZero() || next.ready.Before(ready)) {
				ready = next.ready
			}
		}
		if !ready.IsZero() {
			out = append(out, span{h.since(p.terminating), h.since(ready)})
		}
	}
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	merged := out[:0]
	for _, s := range out {
		if last := len(merged) - 1; last >= 0 && s.from <= merged[last].until {
			merged[last].until = max(merged[last].until, s.until)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// inherent integrates over time what a StatefulSet must lack: one replica, while
// one is on its way.
func inherent(steps []report.Step, end float64, moving []span) float64 {
	sum := 0.0
	for i, s := range steps {
		until := end
		if i+1 < len(steps) {
			until = steps[i+1].At
		}
		if s.Ready >= s.Desired {
			continue
		}
		for _, m := range moving {
			sum += max(min(m.until, until)-max(m.from, s.At), 0)
		}
	}
	return math.Round(sum*1000) / 1000
}

// emptied returns when the last pod left an interrupted node. It is zero when a
// pod with a living process was still there when the machine went, and for a
// machine that has not gone.
func (h *history) emptied(n *nodeLife) time.Time {
	if n.gone.IsZero() || n.left > 0 {
		return time.Time{}
	}
	last := n.noticed
	for _, p := range h.pods {
		if p.node == n.name && !p.ended.IsZero() && p.ended.After(last) && !p.ended.After(n.gone) {
			last = p.ended
		}
	}
	return last
}

func (h *history) byZone() []*nodeLife {
	out := make([]*nodeLife, 0, len(h.nodes))
	for _, n := range h.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *nodeLife) int {
		return cmp.Or(cmp.Compare(a.zone, b.zone), a.joined.Compare(b.joined), cmp.Compare(a.name, b.name))
	})
	return out
}

// clip keeps the steps that hold between 0 and end; the one that holds at 0 is
// moved there.
func clip(steps []report.Step, end float64) []report.Step {
	var out []report.Step
	for _, s := range steps {
		switch {
		case s.At >= end:
			return out
		case s.At <= 0:
			s.At = 0
			out = append(out[:0], s)
		default:
			out = append(out, s)
		}
	}
	return out
}

// shortfall integrates max(0, desired - ready) over time, in pod seconds, and
// returns the lowest share of the demand that was ready and how often the budget
// was broken.
func shortfall(steps []report.Step, end float64, app App) (lost, ratio float64, violations int) {
	ratio = 1
	broken := false
	for i, s := range steps {
		until := end
		if i+1 < len(steps) {
			until = steps[i+1].At
		}
		if missing := s.Desired - s.Ready; missing > 0 {
			lost += float64(missing) * (until - s.At)
			ratio = min(ratio, float64(s.Ready)/float64(s.Desired))
		}
		if s.Ready < app.MinHealthy && !broken {
			violations++
		}
		broken = s.Ready < app.MinHealthy
	}
	return math.Round(lost*1000) / 1000, ratio, violations
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
