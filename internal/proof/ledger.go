package proof

import (
	"cmp"
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// Ledger collects the events of interruptions into Lines. Use NewLedger to make one.
type Ledger struct {
	cluster string
	open    map[string]*Line
}

// NewLedger returns a Ledger of a cluster, whose name may be empty.
func NewLedger(cluster string) *Ledger {
	return &Ledger{cluster: cluster, open: make(map[string]*Line)}
}

// Add takes an event in. It returns the Line of the interruption if that has come
// to its end, or nil.
func (l *Ledger) Add(e drain.Event) *Line {
	id := e.Record.ID()
	line := l.open[id]
	switch {
	case line != nil:
	case e.Kind == drain.EventPod:
		return nil // the leftovers of an interruption that is over
	default:
		line = l.begin(e)
		l.open[id] = line
	}
	line.update(e)
	switch e.Kind {
	case drain.EventCancelled, drain.EventExpired, drain.EventClosed:
		line.Ended = e.At
		line.Outcome = outcome(line, e.Kind)
		delete(l.open, id)
		return line
	}
	return nil
}

// begin opens the Line of an interruption that is new to us.
func (l *Ledger) begin(e drain.Event) *Line {
	line := &Line{Interruption: e.Record.ID(), Cluster: l.cluster, Node: e.Node, Cordoned: e.At}
	if e.Kind != drain.EventNoticed || e.Reason == drain.Resumed {
		line.ResumedAt, line.Cordoned = e.At, e.Record.Stored
		line.add(Step{At: e.Record.Stored, Event: drain.EventNoticed})
		if at := e.Record.Emptied; !at.IsZero() && e.Kind != drain.EventEmptied {
			line.add(Step{At: at, Event: drain.EventEmptied})
		}
	}
	return line
}

// update brings the Line up to date with an event.
func (l *Line) update(e drain.Event) {
	if e.Pool != "" || e.Zone != "" {
		l.Pool, l.Zone, l.InstanceType = e.Pool, e.Zone, e.InstanceType
	}
	l.Notice, l.Deadline, l.Emptied = e.Record.Notice, e.Record.Deadline, e.Record.Emptied
	l.Lost = max(l.Lost, e.Lost)
	if e.Kind == drain.EventMissed {
		l.Left = e.Left
	}
	s := Step{At: e.At, Event: e.Kind, Reason: e.Reason}
	if e.Kind == drain.EventPod {
		s.Pod, s.Service, s.Effect, s.Outcome, s.Budget = e.Pod.String(), e.Service, e.Effect, e.Outcome, e.BudgetName()
	}
	l.add(s)
}

func (l *Line) add(s Step) {
	if len(l.Steps) >= MaxSteps {
		l.Omitted++
		return
	}
	l.Steps = append(l.Steps, s)
}

// outcome says how an interruption ended: with its last event, unless what was
// before that says more.
func outcome(l *Line, last drain.EventKind) Outcome {
	missed := slices.ContainsFunc(l.Steps, func(s Step) bool { return s.Event == drain.EventMissed })
	switch {
	case missed, !l.Emptied.IsZero() && !l.Deadline.IsZero() && l.Emptied.After(l.Deadline):
		return Missed
	case !l.Emptied.IsZero():
		return Emptied
	case last == drain.EventClosed && !l.Deadline.IsZero() && !l.Ended.Before(l.Deadline):
		return Missed
	case last == drain.EventCancelled:
		return Cancelled
	case last == drain.EventExpired:
		return Expired
	}
	return Gone
}

// Unfinished returns the Lines of all interruptions that go on, as far as they are
// known, and forgets them: whoever stops leaves them to the next one.
func (l *Ledger) Unfinished() []Line {
	out := make([]Line, 0, len(l.open))
	for _, line := range l.open {
		line.Outcome = Unfinished
		out = append(out, *line)
	}
	clear(l.open)
	slices.SortFunc(out, func(a, b Line) int { return cmp.Compare(a.Interruption, b.Interruption) })
	return out
}
