// Package sim plays a policy for spot capacity against a history, second by
// second, and says what it would have cost and what would have been missing.
//
// There are three verbs. Compile makes a World of a history: one merged list of
// what the cloud does. Run plays a policy in it. Evaluate makes figures with
// intervals of the result. The package owns no decision: where machines are asked for
// is package provision's, and how pods leave machines package drain's.
//
// Run keeps machines in groups that were asked for together in one pool, since a
// pool is reclaimed as a whole. RunDetailed keeps every machine and every pod, and
// lets drain.Step move them; a test proves that both agree. Bound and its kin say what
// somebody who knows the future would have paid.
//
// Time is in whole seconds, money in whole micro-dollars an hour times seconds.
package sim

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

type (
	// Time is in seconds since the start of the World.
	Time = provision.Time
	// Price is in micro-dollars an hour.
	Price = provision.Price
)

// Money is micro-dollars an hour times seconds: what a Price costs in a while.
type Money int64

// Dollars returns the amount in USD.
func (m Money) Dollars() float64 { return float64(m) / 3600 / 1e6 }

// Settings say what is played.
type Settings struct {
	Timing provision.Timing
	// Nodes is how many machines must be ready.
	Nodes int
	// Objective is the share of time for which they should be.
	Objective float64
	// OnDemand is the price of a machine on demand. Defaults to the least of the
	// pools'.
	OnDemand price.Micros
	// StockOut is the share of time in which on-demand machines are refused.
	StockOut float64
	// Depth is how many machines one pool has room for at most. If zero, only the
	// market says. Most histories say no more than whether one machine was to be had.
	Depth int
	Seed  uint64
}

// DefaultTiming is an AWS notice, a machine with pods that are ready in a minute,
// and pods that stop within 15 s.
func DefaultTiming() provision.Timing {
	return provision.Timing{Notice: 120, Lead: 60, Grace: 15, Margin: 2, Answer: 2}
}

// kind is what the cloud does to a pool.
type kind uint8

// In this order when they happen at once: without a notice, machines are told and
// gone in the same second.
const (
	back    kind = iota // there is capacity
	priced              // spot costs something else from now on
	noticed             // machines of the pool are told that they go
	gone                // they are gone, and their room
)

// event is one thing that the cloud does.
type event struct {
	at       Time
	pool     int32
	cheapest Price // of all there is from now on, spot or on demand
	price    Price // of the pool, from now on
	room     int32 // of the pool, from when it is gone or back
	kind     kind
}

// World is a history made ready to be played. It is shared by runs and not changed
// by them.
type World struct {
	Name     string
	Market   provision.Market
	Settings Settings
	End      Time // the World begins at 0
	Days     int  // parts of days count as one

	events []event
	room   []int32 // by pool, at 0
	most   []int32 // by pool, ever
	first  Price   // cheapest at 0
	ups    [][]span
}

// span is a stretch of time in which a pool has capacity.
type span struct{ from, to Time }

// day is how many seconds a day has.
const day = Time(86400)

// Compile makes a World of a market.
func Compile(m *trace.Market, s Settings) (*World, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if m.Span < time.Hour || m.Span > 60*365*24*time.Hour {
		return nil, fmt.Errorf("market %s: spans %v, want an hour to 60 years", m.Name, m.Span)
	}
	w := &World{Name: m.Name, Settings: s, End: Time(m.Span / time.Second)}
	w.Days = int((w.End + day - 1) / day)
	w.Market.Timing, w.Market.Objective = s.Timing, s.Objective
	onDemand := m.Pools[0].OnDemand
	for i := range m.Pools {
		onDemand = min(onDemand, m.Pools[i].OnDemand)
	}
	var err error
	if w.Market.OnDemand, err = priceOf(int64(cmp.Or(s.OnDemand, onDemand))); err != nil {
		return nil, fmt.Errorf("market %s: on-demand price: %w", m.Name, err)
	}
	for i := range m.Pools {
		if err := w.add(int32(i), &m.Pools[i]); err != nil {
			return nil, fmt.Errorf("market %s: pool %s: %w", m.Name, m.Pools[i].Name(), err)
		}
	}
	w.finish()
	return w, nil
}

func (s *Settings) check() error {
	t := s.Timing
	s.Objective = cmp.Or(s.Objective, 0.9995)
	switch {
	case s.Nodes < 1 || s.Nodes > 1_000_000:
		return fmt.Errorf("%d machines: want 1 to 1,000,000", s.Nodes)
	case t.Notice < 0 || t.Lead < 1 || t.Grace < 0 || t.Margin < 0 || t.Answer < 1:
		return fmt.Errorf("timing %+v: the notice, grace and margin must not be negative, the lead and the answer at least a second", t)
	case t.Notice > 86400 || t.Lead > 86400 || t.Grace > 86400 || t.Margin > 86400 || t.Answer > 86400:
		return errors.New("timing: more than a day")
	case !(s.StockOut >= 0 && s.StockOut < 1):
		return fmt.Errorf("stock-out share %v is not between 0 and 1", s.StockOut)
	case !(s.Objective > 0 && s.Objective <= 1):
		return fmt.Errorf("objective %v is not between 0 and 1", s.Objective)
	case s.Depth < 0:
		return fmt.Errorf("depth %d is negative", s.Depth)
	}
	return nil
}

// priceOf is a price that fits.
func priceOf(micros int64) (Price, error) {
	if micros < 1 || micros > math.MaxInt32 {
		return 0, fmt.Errorf("%d micro-dollars an hour is not between 1 and %d", micros, math.MaxInt32)
	}
	return Price(micros), nil
}

// add puts what happens to a pool into the list.
func (w *World) add(pool int32, o *trace.Offer) error {
	second := func(at time.Duration) Time { return Time(at / time.Second) }
	for i, step := range o.Spot {
		price, err := priceOf(step.Value)
		if err != nil {
			return fmt.Errorf("spot at %v: %w", step.At, err)
		}
		if i == 0 {
			w.Market.Pools = append(w.Market.Pools, provision.Pool{
				Name: o.Name(), Region: o.Region, Zone: o.Zone, InstanceType: o.InstanceType, Price: price,
			})
		} else if at := second(step.At); at < w.End {
			w.events = append(w.events, event{at: at, pool: pool, kind: priced, price: price})
		}
	}
	room := func(v int64) int32 {
		if d := int64(w.Settings.Depth); d > 0 {
			v = min(v, d)
		}
		return int32(min(v, trace.Unlimited))
	}
	first := room(o.Capacity[0].Value)
	w.room, w.most = append(w.room, first), append(w.most, first)
	var ups []span
	if first > 0 {
		ups = append(ups, span{0, w.End})
	}
	before, since := first, Time(0)
	for _, step := range o.Capacity[1:] {
		at, r := second(step.At), room(step.Value)
		if at >= w.End || r == before {
			continue
		}
		if r > before {
			w.events = append(w.events, event{at: at, pool: pool, kind: back, room: r})
		} else {
			if since > 0 {
				since++ // one notice of a pool ends before the next one begins
			}
			w.events = append(w.events,
				event{at: max(since, at-w.Settings.Timing.Notice), pool: pool, kind: noticed, room: r},
				event{at: at, pool: pool, kind: gone, room: r})
		}
		switch {
		case before == 0:
			ups = append(ups, span{at, w.End})
		case r == 0:
			ups[len(ups)-1].to = at
		}
		w.most[pool] = max(w.most[pool], r)
		before, since = r, at
	}
	w.ups = append(w.ups, ups)
	return nil
}

// finish sorts the list and notes in each event what is cheapest after it.
func (w *World) finish() {
	slices.SortFunc(w.events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.pool, b.pool))
	})
	prices := make([]Price, len(w.Market.Pools))
	for i := range prices {
		prices[i] = w.Market.Pools[i].Price
	}
	up := make([]bool, len(prices))
	for i := range up {
		up[i] = w.room[i] > 0
	}
	c := newCheapest(prices, up, w.Market.OnDemand)
	w.first = c.price()
	for i := range w.events {
		e := &w.events[i]
		switch e.kind {
		case gone:
			c.set(int(e.pool), e.room > 0)
		case back:
			c.set(int(e.pool), true)
		case priced:
			c.reprice(int(e.pool), e.price)
		}
		e.cheapest = c.price()
	}
}

// cheapest keeps the least price of pools that are up, in a tree of winners.
type cheapest struct {
	tree     []Price
	prices   []Price
	up       []bool
	leaves   int
	onDemand Price
}

func newCheapest(prices []Price, up []bool, onDemand Price) *cheapest {
	c := &cheapest{prices: prices, up: up, leaves: 1, onDemand: onDemand}
	for c.leaves < len(prices) {
		c.leaves *= 2
	}
	c.tree = make([]Price, 2*c.leaves)
	for i := range c.tree {
		c.tree[i] = onDemand
	}
	for i := range prices {
		c.update(i)
	}
	return c
}

func (c *cheapest) update(i int) {
	x := c.onDemand
	if c.up[i] {
		x = min(x, c.prices[i])
	}
	n := c.leaves + i
	c.tree[n] = x
	for n > 1 {
		n /= 2
		c.tree[n] = min(c.tree[2*n], c.tree[2*n+1])
	}
}

func (c *cheapest) set(i int, up bool)         { c.up[i] = up; c.update(i) }
func (c *cheapest) reprice(i int, price Price) { c.prices[i] = price; c.update(i) }
func (c *cheapest) price() Price               { return c.tree[1] }
