package sim

import (
	"fmt"
	"math"

	"github.com/evenkeel-dev/evenkeel/internal/provision"
)

// Result is what a run did, in whole numbers. Everything by day can be summed.
type Result struct {
	Strategy string
	World    *World

	Days []Day
	// Events is how many things happened: what the cloud did, and what came of what
	// the policy asked for.
	Events int64
	// Launched, Reclaimed and Moved count machines: asked for and granted, taken by
	// the cloud, and left by their pods while they served.
	Launched, Reclaimed, Moved, Refused int64
	// Longest is the longest stretch in which too few were ready.
	Longest Time
	// Billed is what was paid for, in machine-seconds, counted second by second; Lived
	// is the same, counted machine by machine as each ended.
	Billed, Lived int64
	// Used is Lived by pool; that of machines on demand comes last.
	Used []int64
	// Capacity is sampled for a plot, if it was asked for.
	Capacity []Sample
}

// Day is what happened in one day.
type Day struct {
	Span     Time // 86,400 but for the last and, without its start-up, the first
	Cost     Money
	Bound    Money // the least that what was served could have cost
	Full     Money // the least that serving everything could have cost
	OnDemand Money // what serving everything on demand would have cost
	Need     int64 // machine-seconds wanted
	Served   int64 // and served
	Enough   Time  // with at least as many ready as wanted
	Reclaims int32
	Nodes    int64 // machine-seconds paid for
}

// Sample is what there was at a moment.
type Sample struct {
	At                    Time
	Ready, Spot, OnDemand int32
	Cheapest              Price
}

// group is machines that were asked for in one pool at one moment.
type group struct {
	since Time
	n     int32
	older int32 // the group before it in the pool, or -1
	ready bool
	epoch uint32 // counts uses of this slot, so that what waits for an old one can tell
}

// pool is what a run knows of a pool, beside what the policy sees.
type pool struct {
	newest int32 // group, or -1
	held   int32 // machines that are paid for
	room   int32
	closed bool  // some have been given notice: no more are granted
	going  int32 // machines that go when the notice ends
	epoch  uint32
}

// pending waits for a moment. All that wait in one queue wait equally long, so a
// queue is in order of time by itself.
type pending struct {
	at    Time
	pool  int32
	group int32
	epoch uint32
	n     int32
}

// queue is a ring of pending things.
type queue struct {
	ring       []pending
	head, size int
}

func (q *queue) next() Time {
	if q.size == 0 {
		return provision.Never
	}
	return q.ring[q.head].at
}

func (q *queue) push(p pending) {
	if q.size == len(q.ring) {
		bigger := make([]pending, max(64, 2*len(q.ring)))
		for i := range q.size {
			bigger[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = bigger, 0
	}
	q.ring[(q.head+q.size)&(len(q.ring)-1)] = p
	q.size++
}

func (q *queue) pop() pending {
	p := q.ring[q.head]
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.size--
	return p
}

// run is one policy in one World. All its memory is taken before the first event,
// but for what a policy surprises it with.
type run struct {
	w      *World
	policy provision.Policy
	res    *Result
	view   provision.View
	timing provision.Timing

	groups []group
	free   []int32
	pools  []pool // the last one stands for on demand
	ready  queue  // machines that are starting
	answer queue  // refusals under way
	latest queue  // pools whose machines stop serving
	orders []provision.Order

	now      Time
	today    int
	tonight  Time  // when the day ends
	warm     Time  // what is before this is not measured
	burn     Money // micro-dollars an hour of all that is paid for
	nodes    int64
	cheapest Price
	outage   Time // since when too few are ready, or Never
	every    Time // between samples, 0 for none
	sampled  Time
	dirty    bool
	detail   *detail // nil unless every pod is kept
}

// Options of a run.
type Options struct {
	// Samples is how many moments are kept for a plot. None if zero.
	Samples int
}

// Run plays a policy in a World. The same World, policy and seed give the same
// Result, bit by bit.
func Run(w *World, name string, p provision.Policy, o Options) *Result {
	return newRun(w, name, p, o).play()
}

func newRun(w *World, name string, p provision.Policy, o Options) *run {
	n := len(w.Market.Pools)
	r := &run{
		w: w, policy: p, timing: w.Settings.Timing,
		res:      &Result{Strategy: name, World: w, Days: make([]Day, w.Days), Used: make([]int64, n+1)},
		groups:   make([]group, 0, 1024),
		free:     make([]int32, 0, 1024),
		pools:    make([]pool, n+1),
		orders:   make([]provision.Order, 0, n+1),
		tonight:  min(day, w.End),
		warm:     w.Settings.Timing.Lead + w.Settings.Timing.Answer,
		cheapest: w.first,
		outage:   provision.Never,
	}
	r.view = provision.View{
		Want:    int32(w.Settings.Nodes),
		Pools:   make([]provision.PoolState, n),
		Noticed: make([]int32, 0, n),
		Refused: make([]int32, 0, n+1),
	}
	for i := range r.pools {
		r.pools[i].newest = -1
		s := r.state(int32(i))
		s.Since = provision.Never
		if i < n {
			r.pools[i].room, s.Price = w.room[i], w.Market.Pools[i].Price
		} else {
			r.pools[i].room, s.Price = math.MaxInt32, w.Market.OnDemand
		}
	}
	if o.Samples > 0 {
		r.every = max(1, w.End/Time(o.Samples))
		r.res.Capacity = make([]Sample, 0, o.Samples+2)
	}
	p.Start(&w.Market)
	return r
}

// state is what the policy sees of a pool, or of on demand.
func (r *run) state(p int32) *provision.PoolState {
	if p == provision.OnDemand || int(p) == len(r.view.Pools) {
		return &r.view.OnDemand
	}
	return &r.view.Pools[p]
}

// slot is a pool's place in pools.
func (r *run) slot(p int32) int32 {
	if p == provision.OnDemand {
		return int32(len(r.view.Pools))
	}
	return p
}

func (r *run) play() *Result {
	wake, next := Time(0), 0
	for {
		at := min(wake, r.ready.next(), r.answer.next(), r.latest.next(), r.w.End)
		if next < len(r.w.events) {
			at = min(at, r.w.events[next].at)
		}
		r.advance(at)
		if at >= r.w.End {
			break
		}
		asked := at == wake
		for next < len(r.w.events) && r.w.events[next].at == at {
			r.cloud(&r.w.events[next])
			next++
			r.res.Events++
		}
		for r.latest.next() == at {
			r.stopServing(r.latest.pop())
			r.res.Events++
		}
		for r.ready.next() == at {
			r.started(r.ready.pop())
			r.res.Events++
		}
		for r.answer.next() == at {
			r.refused(r.answer.pop())
			r.res.Events++
		}
		if r.dirty || asked {
			if r.view.Leaving > 0 {
				r.handOff()
			}
			wake = r.decide()
		}
		if r.detail != nil {
			r.detail.settle()
		}
	}
	r.close()
	return r.res
}

// advance counts what holds between now and a moment.
func (r *run) advance(to Time) {
	for r.now < to {
		end := min(to, r.tonight)
		if r.now < r.warm {
			end = min(end, r.warm)
		}
		if r.every > 0 && r.now >= r.sampled {
			r.sample()
		}
		r.count(end)
		r.now = end
		if r.now == r.tonight && r.today+1 < len(r.res.Days) {
			r.today++
			r.tonight = min(r.tonight+day, r.w.End)
		}
	}
}

func (r *run) count(to Time) {
	d := &r.res.Days[r.today]
	span := Money(to - r.now)
	d.Cost += r.burn * span
	d.Nodes += r.nodes * int64(span)
	r.res.Billed += r.nodes * int64(span)
	if r.now < r.warm {
		return // the first machines are starting, whatever the policy
	}
	if r.detail != nil {
		r.detail.count(to)
	}
	want := int64(r.view.Want)
	serving := int64(r.view.Ready + r.view.Leaving)
	d.Span += to - r.now
	d.Need += want * int64(span)
	d.Full += Money(want) * Money(r.cheapest) * span
	d.OnDemand += Money(want) * Money(r.w.Market.OnDemand) * span
	if serving >= want {
		d.Enough += to - r.now
		d.Served += want * int64(span)
		d.Bound += Money(want) * Money(r.cheapest) * span
		if r.outage != provision.Never {
			r.endOutage()
		}
		return
	}
	d.Served += serving * int64(span)
	d.Bound += Money(serving) * Money(r.cheapest) * span
	r.view.Unserved += to - r.now
	if r.outage == provision.Never {
		r.outage = r.now
	}
}

func (r *run) endOutage() {
	r.res.Longest = max(r.res.Longest, r.now-r.outage)
	r.outage = provision.Never
}

func (r *run) sample() {
	od := r.view.OnDemand.Ready
	r.res.Capacity = append(r.res.Capacity, Sample{
		At: r.now, Ready: r.view.Ready + r.view.Leaving, Spot: r.view.Ready + r.view.Leaving - od, OnDemand: od, Cheapest: r.cheapest,
	})
	r.sampled = r.now + r.every
}

// cloud carries out what the cloud does.
func (r *run) cloud(e *event) {
	r.cheapest = e.cheapest
	p, s := &r.pools[e.pool], &r.view.Pools[e.pool]
	switch e.kind {
	case back:
		p.room, p.closed = e.room, false
	case noticed:
		p.closed = true
		n := p.held - e.room
		if n <= 0 {
			return
		}
		starting := min(n, p.held-s.Ready) // s.Starting also counts what will be refused
		ready := n - starting
		r.res.Reclaimed += int64(starting + ready)
		r.res.Days[r.today].Reclaims += starting + ready
		r.res.Moved += int64(ready)
		r.view.Noticed = append(r.view.Noticed, e.pool)
		s.Reclaims++
		// What is starting would have to leave as soon as it is ready: it is given up.
		s.Starting -= starting
		r.view.Starting -= starting
		if r.detail != nil {
			r.detail.noticed(e.pool, starting, ready)
		}
		r.end(e.pool, starting, r.now)
		s.Ready -= ready
		r.view.Ready -= ready
		p.going = ready
		if slack := r.timing.Slack(); slack > 0 {
			s.Leaving, r.view.Leaving = ready, r.view.Leaving+ready
			r.latest.push(pending{at: r.now + slack, pool: e.pool, epoch: p.epoch})
		}
		r.dirty = true
	case gone:
		p.room, p.closed = e.room, false
		if r.detail != nil {
			r.detail.lost(e.pool)
		}
		r.end(e.pool, p.going, r.now)
		p.going = 0
		r.dirty = r.dirty || s.Leaving > 0
		r.view.Leaving -= s.Leaving
		s.Leaving = 0
		p.epoch++
	case priced:
		r.burn += Money(e.price-s.Price) * Money(p.held)
		s.Price = e.price
	}
}

// stopServing is the latest start of the pods of a noticed pool.
func (r *run) stopServing(p pending) {
	s := &r.view.Pools[p.pool]
	if r.pools[p.pool].epoch != p.epoch || s.Leaving == 0 {
		return
	}
	r.view.Leaving -= s.Leaving
	s.Leaving = 0
	r.dirty = true
}

// started is the moment at which machines are ready.
func (r *run) started(p pending) {
	g := &r.groups[p.group]
	if g.epoch != p.epoch {
		return // it went before it was ready
	}
	g.ready = true
	if r.detail != nil {
		r.detail.started(p.pool, g.since)
	}
	s := r.state(p.pool)
	s.Starting -= g.n
	s.Ready += g.n
	r.view.Starting -= g.n
	r.view.Ready += g.n
	r.dirty = true
}

// refused is the answer that there is no capacity.
func (r *run) refused(p pending) {
	s := r.state(p.pool)
	s.Starting -= p.n
	r.view.Starting -= p.n
	id := p.pool
	if int(id) == len(r.view.Pools) {
		id = provision.OnDemand
	}
	r.view.Refused = append(r.view.Refused, id)
	r.res.Refused += int64(p.n)
	r.dirty = true
}

// handOff empties noticed machines whose pods have found a place elsewhere: what a
// drain does when a replacement is ready. A machine without pods is let go.
func (r *run) handOff() {
	spare := min(r.view.Leaving, r.view.Ready+r.view.Leaving-r.view.Want)
	for i := range r.latest.size {
		if spare <= 0 {
			return
		}
		p := r.latest.ring[(r.latest.head+i)&(len(r.latest.ring)-1)]
		s := &r.view.Pools[p.pool]
		if r.pools[p.pool].epoch != p.epoch || s.Leaving == 0 {
			continue
		}
		n := min(spare, s.Leaving)
		s.Leaving -= n
		r.view.Leaving -= n
		spare -= n
		// The machine would be gone this long after its latest start.
		dies := p.at + r.timing.Notice - r.timing.Slack()
		r.pools[p.pool].going -= n
		r.end(p.pool, n, min(r.now+r.timing.Grace, dies))
	}
}

// decide asks the policy, and carries out its orders.
func (r *run) decide() Time {
	r.view.Now = r.now
	orders, wake := r.policy.Decide(&r.view, r.orders[:0])
	r.view.Noticed, r.view.Refused = r.view.Noticed[:0], r.view.Refused[:0]
	r.dirty = false
	for _, o := range orders {
		switch {
		case o.Nodes > 0:
			r.ask(r.slot(o.Pool), o.Nodes)
		case o.Nodes < 0:
			r.letGo(r.slot(o.Pool), -o.Nodes)
		}
	}
	r.orders = orders[:0]
	return max(wake, r.now+1)
}

// ask is a request for machines. What is granted is paid for from now on; what is
// not is known an answer later.
func (r *run) ask(p, n int32) {
	s, q := r.state(p), &r.pools[p]
	s.Starting += n
	r.view.Starting += n
	granted := min(n, max(0, q.room-q.held))
	if q.closed || int(p) == len(r.view.Pools) && r.w.soldOut(r.now) {
		granted = 0
	}
	if granted < n {
		r.answer.push(pending{at: r.now + r.timing.Answer, pool: p, n: n - granted})
	}
	if granted == 0 {
		return
	}
	if s.Since == provision.Never {
		s.Since = r.now
	}
	g := r.newGroup()
	r.groups[g].since, r.groups[g].n, r.groups[g].ready = r.now, granted, false
	r.groups[g].older, q.newest = q.newest, g
	r.ready.push(pending{at: r.now + r.timing.Lead, pool: p, group: g, epoch: r.groups[g].epoch})
	if r.detail != nil {
		r.detail.launched(p, granted)
	}
	r.res.Launched += int64(granted)
	r.burn += Money(granted) * Money(s.Price)
	r.nodes += int64(granted)
	q.held += granted
}

func (r *run) newGroup() int32 {
	if n := len(r.free); n > 0 {
		g := r.free[n-1]
		r.free = r.free[:n-1]
		return g
	}
	r.groups = append(r.groups, group{})
	return int32(len(r.groups) - 1)
}

// letGo is a policy's wish: pods are moved off, and the machine goes when they have
// stopped.
func (r *run) letGo(p, n int32) {
	s, q := r.state(p), &r.pools[p]
	n = min(n, q.held-q.going)
	for n > 0 && q.newest >= 0 {
		g := &r.groups[q.newest]
		k := min(n, g.n)
		if g.ready {
			s.Ready -= k
			r.view.Ready -= k
			r.res.Moved += int64(k)
			if r.detail != nil {
				r.detail.letGo(p, 0, k)
			}
			r.end(p, k, r.now+r.timing.Grace)
		} else {
			s.Starting -= k
			r.view.Starting -= k
			if r.detail != nil {
				r.detail.letGo(p, k, 0)
			}
			r.end(p, k, r.now)
		}
		n -= k
	}
}

// end takes the n newest machines of a pool out, which are paid for until a moment.
func (r *run) end(p, n int32, until Time) {
	s, q := r.state(p), &r.pools[p]
	until = min(until, r.w.End)
	d := &r.res.Days[r.today]
	d.Cost += Money(n) * Money(s.Price) * Money(until-r.now)
	d.Nodes += int64(n) * int64(until-r.now)
	r.res.Billed += int64(n) * int64(until-r.now)
	r.burn -= Money(n) * Money(s.Price)
	r.nodes -= int64(n)
	q.held -= n
	for n > 0 {
		g := &r.groups[q.newest]
		k := min(n, g.n)
		r.res.Lived += int64(k) * int64(until-g.since)
		r.res.Used[r.slot(p)] += int64(k) * int64(until-g.since)
		g.n -= k
		n -= k
		if g.n == 0 {
			g.epoch++
			r.free = append(r.free, q.newest)
			q.newest = g.older
		}
	}
	if q.newest < 0 && s.Since != provision.Never {
		s.Exposed += r.now - s.Since
		s.Since = provision.Never
	}
}

// close ends what is left, and checks what must hold.
func (r *run) close() {
	for p := range r.pools {
		for r.pools[p].newest >= 0 {
			r.end(int32(p), r.groups[r.pools[p].newest].n, r.w.End)
		}
	}
	if r.detail != nil {
		r.detail.close()
	}
	if r.outage != provision.Never {
		r.endOutage()
	}
	if err := r.res.Check(); err != nil {
		panic(err) // the arithmetic of this package is wrong: no figure of it may be used
	}
}

// Check says whether the books balance: every machine-second that was paid for
// belongs to a machine, and nothing cost less than it could have.
func (res *Result) Check() error {
	if res.Billed != res.Lived {
		return fmt.Errorf("%s on %s: %d machine-seconds were paid for, %d were lived", res.Strategy, res.World.Name, res.Billed, res.Lived)
	}
	t := res.Total()
	if t.Cost < t.Bound {
		return fmt.Errorf("%s on %s: cost %v is below its bound %v", res.Strategy, res.World.Name, t.Cost.Dollars(), t.Bound.Dollars())
	}
	return nil
}

// Total sums the days.
func (res *Result) Total() Day {
	var t Day
	for _, d := range res.Days {
		t.add(d)
	}
	return t
}

func (t *Day) add(d Day) {
	t.Span += d.Span
	t.Cost += d.Cost
	t.Bound += d.Bound
	t.Full += d.Full
	t.OnDemand += d.OnDemand
	t.Need += d.Need
	t.Served += d.Served
	t.Enough += d.Enough
	t.Reclaims += d.Reclaims
	t.Nodes += d.Nodes
}

// stockOutSpell is how long on-demand machines are refused at a time.
const stockOutSpell = Time(600)

// soldOut reports whether on-demand machines are refused at a moment: for whole
// spells, so that asking again at once does not help.
func (w *World) soldOut(at Time) bool {
	if w.Settings.StockOut == 0 {
		return false
	}
	x := uint64(at/stockOutSpell) + w.Settings.Seed*0x9e3779b97f4a7c15 + 0x632be59bd9b4e019
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11)/(1<<53) < w.Settings.StockOut
}
