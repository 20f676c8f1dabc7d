package notify

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// How long events of the same kind, pool and zone are collected into one Message:
// a moment for what a person should know now, longer for what is only good to
// know. While the same goes on, each next Message collects twice as long, so that
// a whole pool is a handful of Messages and not hundreds.
const (
	urgentWindow = 2 * time.Second
	calmWindow   = 15 * time.Second
	longest      = time.Minute
	// quietFor ends the doubling: what happens after it is news again.
	quietFor = 5 * time.Minute
)

// batcher collects events into Messages. It is pure: time comes in with its
// arguments. What it holds is bounded by the number of pools and zones.
type batcher struct {
	cluster string
	groups  map[group]*collected
	serial  int
}

// group is what nodes must have in common to share a Message.
type group struct {
	event   drain.EventKind
	resumed bool
	kind    interruption.Kind
	pool    string
	zone    string
}

type collected struct {
	message *Message  // nil while nothing is waiting
	due     time.Time // of message
	last    time.Time // when the last one was taken
	window  time.Duration
}

// add takes an event in. Events that nobody is told about are left out.
func (b *batcher) add(e drain.Event, now time.Time) {
	window := calmWindow
	switch e.Kind {
	case drain.EventNoticed, drain.EventMissed:
		window = urgentWindow
	case drain.EventEmptied, drain.EventCancelled, drain.EventExpired:
	default:
		return
	}
	if e.Kind == drain.EventNoticed && !e.Record.Emptied.IsZero() {
		return // emptied before this controller began: there is nothing to do
	}
	g := group{e.Kind, e.Reason == drain.Resumed, e.Record.Notice.Kind, e.Pool, e.Zone}
	c := b.groups[g]
	if c == nil || c.message == nil && now.Sub(c.last) > quietFor {
		c = &collected{window: window}
		b.groups[g] = c
	}
	if c.message == nil {
		b.serial++
		c.message = &Message{
			Version: 1, Event: g.event, Resumed: g.resumed, Cluster: b.cluster, Kind: g.kind, Pool: g.pool, Zone: g.zone, At: e.At,
			ID: fmt.Sprintf("%s.%s.%d", e.Record.ID(), g.event, b.serial),
		}
		c.due = now.Add(c.window)
	}
	c.message.add(e)
}

// take returns the Messages that are due, in the order in which they began, or
// all of them.
func (b *batcher) take(now time.Time, all bool) []Message {
	var out []Message
	for g, c := range b.groups {
		switch {
		case c.message == nil:
			if now.Sub(c.last) > quietFor {
				delete(b.groups, g)
			}
		case all || !c.due.After(now):
			c.message.Text = c.message.sentence()
			out = append(out, *c.message)
			c.message, c.last, c.window = nil, now, min(2*c.window, longest)
		}
	}
	slices.SortFunc(out, func(x, y Message) int { return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.ID, y.ID)) })
	return out
}

// next is when take has something to return; zero if nothing is waiting.
func (b *batcher) next() time.Time {
	var at time.Time
	for _, c := range b.groups {
		if c.message != nil && (at.IsZero() || c.due.Before(at)) {
			at = c.due
		}
	}
	return at
}
