package bill

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// headroomComponent is the component label of pods that keep room free.
const (
	componentLabel    = "app.kubernetes.io/component"
	headroomComponent = "headroom"
)

// A Ledger follows what the nodes of a cluster cost, and adds up over time. It is
// fed with changes, and it is told the time. Use NewLedger to make one. It is not
// safe for concurrent use.
type Ledger struct {
	prices *price.Table
	nodes  map[string]entry
	totals map[Line]*total
	rooms  map[cluster.Key]*cluster.Pod // pods that keep room free
	last   time.Time
	spent  meter
	saved  meter
}

// A Line is what costs are told apart by.
type Line struct {
	Pool     string
	Capacity price.Capacity
}

type entry struct {
	line   Line
	sum    Sum // an hour
	priced bool
	holds  price.Allocatable
	oldest time.Time // of its prices
}

type total struct {
	sum   Sum
	nodes int
}

// A meter adds up a rate over time, in whole micro-dollars; what is left of one
// is carried on.
type meter struct {
	amount price.Micros
	left   int64 // micro-dollar milliseconds an hour
}

func (m *meter) add(perHour price.Micros, took time.Duration) {
	const hour = int64(time.Hour / time.Millisecond)
	m.left += int64(perHour) * took.Milliseconds()
	m.amount += price.Micros(m.left / hour)
	m.left %= hour
}

// NewLedger returns a Ledger of no nodes that begins to count at a moment.
func NewLedger(prices *price.Table, now time.Time) *Ledger {
	return &Ledger{
		prices: prices, last: now,
		nodes: make(map[string]entry), totals: make(map[Line]*total), rooms: make(map[cluster.Key]*cluster.Pod),
	}
}

// Apply takes in changes that are seen at a moment, which is not before that of
// the last call.
func (l *Ledger) Apply(changes []cluster.Change, now time.Time) {
	l.advance(now)
	for _, ch := range changes {
		switch o := ch.Object.(type) {
		case *cluster.Node:
			l.node(o, ch.Gone)
		case *cluster.Pod:
			if ch.Gone || o.Node == "" || o.Completed || o.Labels[componentLabel] != headroomComponent {
				delete(l.rooms, o.Key)
			} else {
				l.rooms[o.Key] = o
			}
		}
	}
}

// advance counts the time since the last call.
func (l *Ledger) advance(now time.Time) {
	took := now.Sub(l.last).Truncate(time.Millisecond)
	if took <= 0 {
		return
	}
	l.last = l.last.Add(took)
	var sum Sum
	for _, t := range l.totals {
		sum = sum.Plus(t.sum)
	}
	l.spent.add(sum.Cost, took)
	// Spot can be dearer than on-demand. What was saved never falls, as a counter
	// must not; a loss shows in what was spent.
	l.saved.add(max(0, sum.OnDemand-sum.Cost), took)
}

func (l *Ledger) node(n *cluster.Node, gone bool) {
	if old, ok := l.nodes[n.Name]; ok {
		t := l.totals[old.line]
		t.sum = Sum{t.sum.Cost - old.sum.Cost, t.sum.OnDemand - old.sum.OnDemand}
		if t.nodes--; t.nodes == 0 {
			delete(l.totals, old.line)
		}
		delete(l.nodes, n.Name)
	}
	if gone {
		return
	}
	e := entry{line: Line{n.Pool, price.OnDemand}}
	if n.Spot {
		e.line.Capacity = price.Spot
	}
	onDemand, ok := l.prices.OnDemand(n.InstanceType, n.Region)
	paid, okPaid := l.prices.Lookup(n.InstanceType, n.Region, n.Zone, e.line.Capacity)
	if ok && okPaid {
		e.priced, e.sum, e.oldest = true, Sum{Cost: paid.PerHour, OnDemand: onDemand.PerHour}, paid.Date
		if onDemand.Date.Before(paid.Date) {
			e.oldest = onDemand.Date
		}
	}
	if i, ok := l.prices.Instance(n.InstanceType); ok {
		e.holds = i.Allocatable
	}
	l.nodes[n.Name] = e
	t := l.totals[e.line]
	if t == nil {
		t = new(total)
		l.totals[e.line] = t
	}
	t.sum = t.sum.Plus(e.sum)
	t.nodes++
}

// An Account is what a Ledger says at a moment.
type Account struct {
	Lines    []AccountLine // by pool and capacity
	Spent    price.Micros  // since the Ledger began
	Saved    price.Micros  // likewise, against the same machines on demand
	Headroom price.Micros  // an hour, of nodes' parts that are kept free
	Unpriced int           // nodes without a price, in no sum
	Oldest   time.Time     // date of the oldest price in use; zero without nodes
}

// An AccountLine is what the nodes of a Line cost an hour.
type AccountLine struct {
	Line
	Nodes int
	Sum
}

// At returns the account at a moment.
func (l *Ledger) At(now time.Time) Account {
	l.advance(now)
	a := Account{Spent: l.spent.amount, Saved: l.saved.amount}
	for line, t := range l.totals {
		a.Lines = append(a.Lines, AccountLine{line, t.nodes, t.sum})
	}
	slices.SortFunc(a.Lines, func(x, y AccountLine) int {
		return cmp.Or(strings.Compare(x.Pool, y.Pool), strings.Compare(string(x.Capacity), string(y.Capacity)))
	})
	for _, e := range l.nodes {
		switch {
		case !e.priced:
			a.Unpriced++
		case a.Oldest.IsZero() || e.oldest.Before(a.Oldest):
			a.Oldest = e.oldest
		}
	}
	for _, p := range l.rooms {
		e, ok := l.nodes[p.Node]
		if !ok || e.holds.CPUMilli == 0 || e.holds.MemoryMiB == 0 {
			continue
		}
		part := max(float64(p.CPUMilli)/float64(e.holds.CPUMilli), float64(p.Memory>>20)/float64(e.holds.MemoryMiB))
		a.Headroom += price.Micros(float64(e.sum.Cost) * min(part, 1))
	}
	return a
}
