package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says what an Event does to its nodes.
type Kind string

// The kinds of events.
const (
	Notice Kind = "notice" // the cloud announces that they go
	Kill   Kind = "kill"   // they go, with everything on them
	Join   Kind = "join"   // they come
)

// An Event of a plan concerns nodes of one pool at one moment. When a zone is
// reclaimed there is one event for each of its pools, all at the same moment.
type Event struct {
	At    time.Duration // scenario time since the load started
	Kind  Kind
	Pool  string // the name of a NodePool
	Zone  string
	Nodes []string
}

// A Plan is the course of the cloud's side of a rehearsal. The same scenario and
// trace always give the same plan.
type Plan struct {
	// Trace is the name of the trace, or empty for a script.
	Trace string
	// Notes say in sentences where the plan comes from.
	Notes []string
	// Events by time. Of one moment, notices come first, then kills, then joins.
	Events []Event
	// End is when the load stops, in scenario time since it started.
	End time.Duration

	scale float64
}

// Interrupted counts the nodes that get notice.
func (p *Plan) Interrupted() int {
	n := 0
	for _, e := range p.Events {
		if e.Kind == Notice {
			n += len(e.Nodes)
		}
	}
	return n
}

// Reclaims counts the reclaims, and the zones that they hit. What gets notice in
// one zone at one moment is one reclaim, whatever pools it is in.
func (p *Plan) Reclaims() (reclaims, zones int) {
	type reclaim struct {
		at   time.Duration
		zone string
	}
	seen, hit := make(map[reclaim]bool), make(map[string]bool)
	for _, e := range p.Events {
		if e.Kind == Notice {
			seen[reclaim{e.At, e.Zone}] = true
			hit[e.Zone] = true
		}
	}
	return len(seen), len(hit)
}

// String returns a heading, the notes, and one line for each thing that happens
// to a zone at a moment, in seconds of the rehearsal.
func (p *Plan) String() string {
	var b strings.Builder
	reclaims, zones := p.Reclaims()
	source := "scripted"
	if p.Trace != "" {
		source = "trace " + p.Trace
	}
	fmt.Fprintf(&b, "plan (%s): %d reclaims take %d nodes in %d zones within %.0f s, at time scale %g\n",
		source, reclaims, p.Interrupted(), zones, p.real(p.End), p.scale)
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "  %s\n", note)
	}
	zoneWidth := len("zone")
	for _, e := range p.Events {
		zoneWidth = max(zoneWidth, len(e.Zone))
	}
	fmt.Fprintf(&b, "  %7s  %-6s  %-*s  %s\n", "at", "event", zoneWidth, "zone", "nodes")
	for i := 0; i < len(p.Events); {
		e := p.Events[i]
		var nodes []string // of all its pools
		for ; i < len(p.Events) && p.Events[i].At == e.At && p.Events[i].Kind == e.Kind && p.Events[i].Zone == e.Zone; i++ {
			nodes = append(nodes, p.Events[i].Nodes...)
		}
		fmt.Fprintf(&b, "  %5.1f s  %-6s  %-*s  %s\n", p.real(e.At), e.Kind, zoneWidth, e.Zone, strings.Join(nodes, " "))
	}
	return b.String()
}

// real returns seconds of the rehearsal.
func (p *Plan) real(d time.Duration) float64 { return d.Seconds() / p.scale }

// newPlan orders events and sets the end.
func (s *Scenario) newPlan(events []Event) *Plan {
	order := map[Kind]int{Notice: 0, Kill: 1, Join: 2}
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(order[a.Kind], order[b.Kind]))
	})
	p := &Plan{Events: events, End: s.scaled(s.Load.WarmUp + s.Load.CoolDown), scale: s.TimeScale}
	if n := len(events); n > 0 {
		p.End = events[n-1].At + s.scaled(s.Load.CoolDown)
	}
	return p
}
