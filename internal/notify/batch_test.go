package notify

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// event makes one event of a node of pool engine.
func event(kind drain.EventKind, node int, after time.Duration) drain.Event {
	return drain.Event{
		Kind: kind, At: noon.Add(after), Node: fmt.Sprintf("n%d", node), Pool: "engine", Zone: "us-east-1a",
		Record: drain.Record{
			Notice:   interruption.Notice{Instance: interruption.InstanceID(fmt.Sprintf("i-%d", node)), Kind: interruption.SpotInterruption, Sent: noon},
			Deadline: noon.Add(2 * time.Minute), Stored: noon,
		},
	}
}

func newBatcher() *batcher {
	return &batcher{cluster: "production", groups: make(map[group]*collected)}
}

func TestSentences(t *testing.T) {
	with := func(e drain.Event, change func(*drain.Event)) drain.Event { change(&e); return e }
	for _, tc := range []struct {
		events []drain.Event
		want   []string
	}{
		{[]drain.Event{event(drain.EventNoticed, 1, 0)},
			[]string{"production: node n1 of pool engine in us-east-1a was noticed (spot-interruption); it goes at 12:02:00 UTC"}},
		{[]drain.Event{event(drain.EventNoticed, 1, 0), event(drain.EventNoticed, 2, time.Second)},
			[]string{"production: 2 nodes of pool engine in us-east-1a were noticed (spot-interruption); the first goes at 12:02:00 UTC"}},
		{[]drain.Event{event(drain.EventNoticed, 1, 0), with(event(drain.EventNoticed, 2, 0), func(e *drain.Event) { e.Zone = "us-east-1b" })},
			[]string{"production: node n1 of pool engine in us-east-1a was noticed (spot-interruption); it goes at 12:02:00 UTC",
				"production: node n2 of pool engine in us-east-1b was noticed (spot-interruption); it goes at 12:02:00 UTC"}},
		{[]drain.Event{with(event(drain.EventNoticed, 1, 0), func(e *drain.Event) { e.Reason = drain.Resumed })},
			[]string{"production: node n1 of pool engine in us-east-1a was being emptied when this controller began, which goes on with that; it goes at 12:02:00 UTC"}},
		{[]drain.Event{with(event(drain.EventNoticed, 1, 0), func(e *drain.Event) { e.Reason, e.Record.Emptied = drain.Resumed, noon })}, nil},
		{[]drain.Event{
			with(event(drain.EventEmptied, 1, 0), func(e *drain.Event) { e.Record.Emptied = noon.Add(20 * time.Second) }),
			with(event(drain.EventEmptied, 2, 0), func(e *drain.Event) { e.Record.Emptied = noon.Add(41 * time.Second) }),
		}, []string{"production: 2 nodes of pool engine in us-east-1a were emptied, the slowest 41s after its notice; no service was short of a pod"}},
		{[]drain.Event{with(event(drain.EventMissed, 1, 0), func(e *drain.Event) { e.Left, e.Lost, e.Pool = 1, 12.34, "" })},
			[]string{"production: node n1 in us-east-1a was not empty at the deadline: 1 pod left; 12.3 ready-pod-seconds were lost"}},
		{[]drain.Event{event(drain.EventCancelled, 1, 0)}, []string{"production: node n1 of pool engine in us-east-1a was given back: the notice was taken back"}},
		{[]drain.Event{event(drain.EventExpired, 1, 0)}, []string{"production: node n1 of pool engine in us-east-1a was given back: the machine outlived its deadline"}},
		{[]drain.Event{event(drain.EventPod, 1, 0), event(drain.EventClosed, 1, 0), event(drain.EventTightened, 1, 0)}, nil},
	} {
		b := newBatcher()
		for _, e := range tc.events {
			b.add(e, noon)
		}
		var got []string
		for _, m := range b.take(noon.Add(time.Minute), false) {
			got = append(got, m.Text)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v:\ngot  %q\nwant %q", tc.events, got, tc.want)
		}
	}
}

// TestManyNodes takes 300 nodes within ten seconds, and lets them be emptied over
// a minute: few Messages, the first of them soon, and no node forgotten.
func TestManyNodes(t *testing.T) {
	b := newBatcher()
	var messages []Message
	var first time.Time
	for ms := range 180_000 {
		now := noon.Add(time.Duration(ms) * time.Millisecond)
		if ms < 10_000 && ms%33 == 0 && ms/33 < 300 {
			b.add(event(drain.EventNoticed, ms/33, 0), now)
		}
		if ms >= 20_000 && (ms-20_000)%200 == 0 && (ms-20_000)/200 < 300 {
			b.add(event(drain.EventEmptied, (ms-20_000)/200, 0), now)
		}
		if next := b.next(); !next.IsZero() && !next.After(now) {
			got := b.take(now, false)
			if len(got) == 0 {
				t.Fatalf("nothing to take at %v, though it was due", now)
			}
			if first.IsZero() {
				first = now
			}
			messages = append(messages, got...)
		}
	}
	nodes := make(map[drain.EventKind]int)
	ids := make(map[string]bool)
	for _, m := range messages {
		nodes[m.Event] += m.Count
		ids[m.ID] = true
		if len(m.Nodes) > MaxNodes {
			t.Errorf("%d nodes named", len(m.Nodes))
		}
	}
	if nodes[drain.EventNoticed] != 300 || nodes[drain.EventEmptied] != 300 || len(ids) != len(messages) {
		t.Errorf("messages for %v nodes with %d IDs, want 300 each and %d", nodes, len(ids), len(messages))
	}
	if len(messages) > 8 {
		t.Errorf("%d messages, want 8 at most", len(messages))
	}
	if wait := first.Sub(noon); wait > urgentWindow {
		t.Errorf("the first message after %v", wait)
	}
	// After a while of quiet, news is told soon again, and nothing is remembered.
	later := noon.Add(time.Hour)
	b.take(later, false)
	if len(b.groups) != 0 {
		t.Errorf("%d groups are remembered", len(b.groups))
	}
	b.add(event(drain.EventNoticed, 1, 0), later)
	if wait := b.next().Sub(later); wait != urgentWindow {
		t.Errorf("after an hour of quiet a message waits %v", wait)
	}
}
