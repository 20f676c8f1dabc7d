package capacity

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
)

const (
	// sameReclaim is how far apart the notices of one reclaim come: a pool goes as a
	// whole, nearly always within three minutes.
	sameReclaim = 3 * time.Minute
	// steadyAtLast bounds how long an unsteady pool is held at the number of machines
	// that it had before: by then people or autoscalers have changed it for good.
	steadyAtLast = time.Hour
	// onDemandPlace stands where a place's index would stand.
	onDemandPlace = provision.OnDemand
	// leastPatience is the least time in which the node of a machine that was asked for
	// must have joined. Later than that it counts as refused: a cluster does not say
	// that a cloud has none.
	leastPatience = 45 * time.Second
	// moveStands is how long the advice to move to a cheaper place stands: the policy
	// looks for one once an hour.
	moveStands = time.Hour
)

// pool is what is remembered of one pool of the cluster.
type pool struct {
	c     *Config
	group Group
	began time.Time // zero of the policy's axis
	last  time.Time // when it was looked at last

	policy *provision.Evenkeel
	market provision.Market
	stale  bool    // the policy does not know all places
	base   int     // machines on demand that a person wants a scaling group to keep
	floor  float64 // the same as the policy was told it
	places []site
	index  map[Place]int

	nodes    map[string]machine // as last seen
	lent     map[string]bool    // on-demand machines of other pools that stand in for ours: Ready
	asks     []ask              // machines that were asked for and are not there yet
	moves    []ask              // machines that would be cheaper elsewhere
	noticed  []int32            // since the last decision
	refused  []int32
	free     int // machines on demand that may go, by the last decision
	want     int
	unsteady time.Time // since when something has been leaving or standing in; zero if nothing is
	unserved time.Duration
	calm     time.Time       // since when a setting has been unneeded; zero if none is
	hindered map[Reason]bool // was told
	notes    []string
}

// site is a Place with what was seen there.
type site struct {
	Place
	hold     Hold
	held     bool // was told
	reclaims int
	exposed  time.Duration
	since    time.Time // from when on something has been there; zero if nothing is
	release  int       // machines that may go, by the last decision
	ready    int
	starting int
	leaving  int
}

// machine is a node as it counts.
type machine struct {
	place   Place
	spot    bool
	ready   bool
	fate    fate
	noticed time.Time // when, if its fate is known
	created time.Time
}

// ask is machines that the policy has asked for.
type ask struct {
	place int // index, or onDemandPlace
	nodes int
	at    time.Time
	until time.Time
	why   Reason
}

// fate is what becomes of a node.
type fate int

const (
	stays     fate = iota
	reclaimed      // the cloud takes it away
	planned        // somebody else does: a person, a group that shrinks, maintenance
)

// leaves reads the fate of a node out of its Record.
func leaves(n *cluster.Node, now time.Time) (fate, time.Time) {
	if n.Record == "" {
		return stays, time.Time{}
	}
	r, err := drain.DecodeRecord(n.Record)
	if err != nil || r.Start.After(now) {
		return stays, time.Time{} // what cannot be read, the controller says
	}
	switch {
	case r.Notice.Kind == interruption.Rebalance:
		return stays, time.Time{}
	case n.Spot && Tells(r.Notice.Kind):
		return reclaimed, r.Stored
	}
	return planned, r.Stored
}

// Tells reports whether a kind of notice tells that the cloud wants capacity back.
func Tells(k interruption.Kind) bool {
	return k == interruption.SpotInterruption || k == interruption.CapacityReservation || k == interruption.StateChange
}

func fateOf(n *cluster.Node, now time.Time) fate {
	f, _ := leaves(n, now)
	return f
}

func newPool(c *Config, now time.Time) *pool {
	return &pool{
		c: c, began: now, index: make(map[Place]int), nodes: make(map[string]machine),
		lent: make(map[string]bool), hindered: make(map[Reason]bool),
	}
}

// look takes in the nodes of the pool.
func (p *pool) look(in Input, past []Reclaim, out *Output) {
	first := p.last.IsZero()
	now := in.Now
	p.base = p.group.Set.Base
	if r, ok := in.Records[p.group.Key()]; ok {
		p.base = r.Was.Base // not what we have set meanwhile
	}
	next := make(map[string]machine)
	regions := make(map[string]string) // by zone
	for _, n := range in.Nodes {
		if n.Pool != p.group.Pool {
			continue
		}
		m := machine{
			place: Place{n.InstanceType, n.Region, n.Zone}, spot: n.Spot, ready: n.Ready, created: n.Created,
		}
		m.fate, m.noticed = leaves(n, now)
		next[n.Name] = m
		regions[n.Zone] = n.Region
		if m.spot {
			p.site(m.place)
		}
	}
	for _, zone := range p.group.Zones {
		for _, t := range p.group.Types {
			region := cmp.Or(regions[zone], regionOf(in, zone))
			p.site(Place{t, region, zone})
		}
	}
	if first {
		if r, ok := in.Records[p.group.Key()]; ok {
			for _, h := range r.Holds {
				s := &p.places[p.site(h.Place)]
				s.hold, s.held = h, true
			}
		}
	}
	for _, r := range past {
		if r.Pool != p.group.Pool {
			continue
		}
		for i := range p.places {
			if s := &p.places[i]; s.Zone == r.Zone && (r.InstanceType == "" || s.InstanceType == r.InstanceType) {
				p.reclaim(s, r.At)
			}
		}
	}
	for i := range p.places {
		p.places[i].ready, p.places[i].starting, p.places[i].leaving = 0, 0, 0
	}
	going := make(map[int]int) // machines that were given notice since, by place
	since := make(map[int]time.Time)
	for _, name := range slices.Sorted(maps.Keys(next)) {
		m := next[name]
		old, known := p.nodes[name]
		if !known && !first {
			p.arrived(m)
		}
		if !m.spot {
			continue
		}
		i := p.index[m.place]
		s := &p.places[i]
		switch {
		case m.fate == reclaimed:
			s.leaving++
			if !known || old.fate != reclaimed {
				going[i]++
				since[i] = earliest(since[i], m.noticed)
			}
		case m.fate == planned:
		case m.ready:
			s.ready++
		case !known || !old.ready:
			s.starting++
		default:
			// It was Ready once: broken, and neither there nor on its way.
			m.ready = true
			next[name] = m
		}
		if s.since.IsZero() && m.fate == stays {
			s.since = now
		}
		if !m.created.IsZero() && m.created.Before(s.since) {
			s.since = m.created
		}
	}
	for i := range p.places {
		s := &p.places[i]
		if !s.since.IsZero() && s.ready+s.starting == 0 {
			s.exposed, s.since = s.exposed+now.Sub(s.since), time.Time{}
		}
		if n := going[i]; n > 0 {
			p.noticed = append(p.noticed, int32(i))
			if p.reclaim(s, since[i]) {
				out.Events = append(out.Events, Event{
					Kind: Reclaimed, At: now, Group: p.group, Reason: PoolReclaimed,
					Text: fmt.Sprintf("%s was reclaimed (%d of its machines were given notice); it is avoided until %s", s.Place, n, clock(s.hold.Until)),
				})
			}
			s.held = true
		}
		if s.held && !now.Before(s.hold.Until) {
			s.held = false
			out.Events = append(out.Events, Event{Kind: Returned, At: now, Group: p.group, Reason: PoolReclaimed, Text: s.Place.String() + " may be bought again"})
		}
	}
	p.nodes = next
	p.asks = slices.DeleteFunc(p.asks, func(a ask) bool {
		late := !now.Before(a.until)
		if late && a.nodes > 0 {
			p.refused = append(p.refused, int32(a.place))
		}
		return late || a.nodes == 0
	})
	p.moves = slices.DeleteFunc(p.moves, func(a ask) bool { return !now.Before(a.until) })
}

// regionOf finds the region of a zone that another node lies in.
func regionOf(in Input, zone string) string {
	for _, n := range in.Nodes {
		if n.Zone == zone {
			return n.Region
		}
	}
	for _, n := range in.Nodes {
		if n.Region != "" && strings.HasPrefix(zone, n.Region) {
			return n.Region
		}
	}
	return ""
}

// site returns the index of a place, which it adds if it is new.
func (p *pool) site(at Place) int {
	i, ok := p.index[at]
	if !ok {
		i = len(p.places)
		p.index[at] = i
		p.places = append(p.places, site{Place: at, hold: Hold{Place: at}})
		p.stale = true
	}
	return i
}

// reclaim holds a place; false if that reclaim is known already.
func (p *pool) reclaim(s *site, at time.Time) bool {
	h := &s.hold
	if !h.Last.IsZero() && at.Sub(h.Last).Abs() < sameReclaim {
		return false
	}
	s.reclaims++
	if at.Sub(h.Last) > 24*time.Hour {
		h.Times = 0
	}
	h.Times++
	span := p.c.MaxHold
	if n := h.Times - 1; n < 20 {
		span = min(span, p.c.Hold<<n)
	}
	if until := at.Add(span); until.After(h.Until) {
		h.Until = until
	}
	if at.After(h.Last) {
		h.Last = at
	}
	return true
}

// arrived takes a new machine for one that was asked for: there if possible, else
// wherever whoever buys has chosen.
func (p *pool) arrived(m machine) {
	if m.fate != stays {
		return
	}
	if !m.spot {
		p.took(onDemandPlace, time.Time{})
		return
	}
	if i, ok := p.index[m.place]; ok && p.took(i, time.Time{}) {
		return
	}
	for i := range p.asks {
		if a := &p.asks[i]; a.nodes > 0 && a.place != onDemandPlace {
			a.nodes--
			return
		}
	}
}

// took counts one machine that was asked for at a place as there, if the ask came
// before the machine was created.
func (p *pool) took(place int, created time.Time) bool {
	for i := range p.asks {
		// The API server's times are whole seconds.
		if a := &p.asks[i]; a.place == place && a.nodes > 0 && (created.IsZero() || !created.Before(a.at.Truncate(time.Second))) {
			a.nodes--
			return true
		}
	}
	return false
}

func (p *pool) asked(place int) int {
	n := 0
	for _, a := range p.asks {
		if a.place == place {
			n += a.nodes
		}
	}
	return n
}

// axis returns a moment on the policy's axis.
func (p *pool) axis(at time.Time) provision.Time {
	return provision.Time(min(max(at.Sub(p.began).Seconds(), math.MinInt32), math.MaxInt32-1))
}

// onDemand counts the pool's own machines on demand and those that stand in.
func (p *pool) onDemand() (ready, starting int) {
	for _, m := range p.nodes {
		if !m.spot && m.fate == stays {
			if m.ready {
				ready++
			} else {
				starting++
			}
		}
	}
	for _, is := range p.lent {
		if is {
			ready++
		} else {
			starting++
		}
	}
	return ready, starting + p.asked(onDemandPlace)
}

// aim says how many machines are wanted.
func (p *pool) aim(now time.Time) {
	there, leaving := 0, 0
	for _, m := range p.nodes {
		switch m.fate {
		case stays:
			there++
		case reclaimed:
			leaving++
		}
	}
	if p.group.Desired > 0 {
		p.want = p.group.Desired
		return
	}
	if leaving == 0 && len(p.lent) == 0 && len(p.asks) == 0 {
		p.unsteady = time.Time{}
		p.want = there
		return
	}
	if p.unsteady.IsZero() {
		p.unsteady = now
		if p.last.IsZero() {
			// Begun in the middle: what starts replaces what leaves.
			starting := 0
			for _, s := range p.places {
				starting += s.starting
			}
			p.want = there + leaving - min(starting, leaving)
		}
	}
	if now.Sub(p.unsteady) > steadyAtLast {
		p.want = there
	}
	p.want = max(p.want, 0)
}

// decide asks the policy, and returns its advice.
func (p *pool) decide(now time.Time, out *Output) Advice {
	p.aim(now)
	p.notes = nil
	v := p.view(now)
	if v == nil {
		p.last = now
		return p.advice(now, nil)
	}
	if served := int(v.Ready + v.Leaving); !p.last.IsZero() && served < p.want {
		p.unserved += now.Sub(p.last)
	}
	p.last = now
	v.Unserved = provision.Time(p.unserved.Seconds())
	orders, wake := p.policy.Decide(v, nil)
	p.noticed, p.refused = nil, nil
	if wake != provision.Never {
		out.Wake = earliest(out.Wake, p.began.Add(time.Duration(wake)*time.Second))
	}
	for i := range p.places {
		p.places[i].release = 0
		if s := &p.places[i]; s.held {
			out.Wake = earliest(out.Wake, s.hold.Until)
		}
	}
	p.take(now, v, orders, out)
	for _, a := range p.asks {
		out.Wake = earliest(out.Wake, a.until)
	}
	return p.advice(now, v)
}

// take turns orders into what is asked for and what may go.
func (p *pool) take(now time.Time, v *provision.View, orders []provision.Order, out *Output) {
	patience := max(p.c.Lead, leastPatience)
	p.free = 0
	var texts []string
	why := SpotMissing
	short := v.Ready+v.Starting < v.Want
	bridge := v.OnDemand.Ready + v.OnDemand.Starting
	for _, o := range orders {
		place := int(o.Pool)
		switch {
		case o.Nodes < 0 && place == onDemandPlace:
			// Asks go first: they are the machines that are starting.
			left := int(-o.Nodes)
			for i := range p.asks {
				if a := &p.asks[i]; a.place == onDemandPlace {
					k := min(left, a.nodes)
					a.nodes, left = a.nodes-k, left-k
				}
			}
			p.free = left
		case o.Nodes < 0:
			p.places[place].release += int(-o.Nodes)
		case !short && bridge == 0 && place != onDemandPlace:
			p.moves = append(p.moves, ask{place, int(o.Nodes), now, now.Add(moveStands), CheaperPool})
			texts = append(texts, fmt.Sprintf("%s in %s, which has become cheaper", plural(int(o.Nodes)), p.places[place].Place))
			why = CheaperPool
		default:
			a := ask{place, int(o.Nodes), now, now.Add(patience), SpotMissing}
			if place == onDemandPlace {
				a.why, why = Bridge, Bridge
				texts = append(texts, plural(a.nodes)+" on demand")
			} else {
				if !short {
					a.why = SpotReady
				}
				texts = append(texts, fmt.Sprintf("%s in %s", plural(a.nodes), p.places[place].Place))
			}
			p.asks = append(p.asks, a)
		}
	}
	if len(texts) > 0 {
		out.Events = append(out.Events, Event{Kind: Advised, At: now, Group: p.group, Reason: why, Text: "advised: " + strings.Join(texts, ", ")})
	}
}

// view is what the policy sees; nil if too little is known to ask it.
func (p *pool) view(now time.Time) *provision.View {
	if len(p.places) == 0 {
		p.note("no instance type and zone is known")
		return nil
	}
	prices := make([]provision.Price, len(p.places))
	onDemand := provision.Price(0)
	for i := range p.places {
		s := &p.places[i]
		if q, ok := p.c.Prices.OnDemand(s.InstanceType, s.Region); ok && (onDemand == 0 || provision.Price(q.PerHour) < onDemand) {
			onDemand = provision.Price(q.PerHour)
		}
		if q, ok := p.c.Prices.Spot(s.InstanceType, s.Region, s.Zone); ok {
			prices[i] = provision.Price(q.PerHour)
		} else {
			prices[i] = math.MaxInt32 / 4 // never asked; what is there counts
			p.note("no spot price of " + s.Place.String() + ": it is not advised")
		}
	}
	if onDemand == 0 {
		p.note("no on-demand price of any of its types: nothing can be advised")
		return nil
	}
	v := &provision.View{Now: p.axis(now), Want: int32(p.want), Pools: make([]provision.PoolState, len(p.places)), Noticed: p.noticed, Refused: p.refused}
	floor := 0.0
	if p.base > 0 && p.want > 0 {
		floor = (float64(min(p.base, p.want)) - 0.5) / float64(p.want) // the policy rounds up
	}
	if p.stale || p.policy == nil || p.market.OnDemand != onDemand || p.floor != floor {
		p.start(now, v, prices, onDemand, floor)
	}
	for i := range p.places {
		s := &p.places[i]
		q := &v.Pools[i]
		q.Ready, q.Starting, q.Leaving = int32(s.ready), int32(s.starting+p.asked(i)), int32(s.leaving)
		q.Price, q.Reclaims, q.Exposed = prices[i], int32(s.reclaims), provision.Time(s.exposed.Seconds())
		q.Since = provision.Never
		if !s.since.IsZero() {
			q.Since = p.axis(s.since)
		}
		v.Ready, v.Starting, v.Leaving = v.Ready+q.Ready, v.Starting+q.Starting, v.Leaving+q.Leaving
		if now.Before(s.hold.Until) {
			p.policy.Avoid(i, p.axis(now), p.axis(s.hold.Until))
		}
	}
	ready, starting := p.onDemand()
	v.OnDemand = provision.PoolState{Ready: int32(ready), Starting: int32(starting), Price: onDemand, Since: provision.Never}
	v.Ready, v.Starting = v.Ready+int32(ready), v.Starting+int32(starting)
	return v
}

// start makes the policy anew, since it knows other places now, or other prices. What
// it avoids it goes on to avoid.
func (p *pool) start(now time.Time, v *provision.View, prices []provision.Price, onDemand provision.Price, floor float64) {
	old, before := p.policy, len(p.market.Pools)
	p.market = provision.Market{
		OnDemand: onDemand, Objective: p.c.Objective,
		Timing: provision.Timing{
			Notice: seconds(p.c.Notice), Lead: seconds(p.c.Lead), Grace: seconds(p.c.Grace), Margin: seconds(p.c.Margin), Answer: 5,
		},
	}
	for i := range p.places {
		s := &p.places[i]
		m := provision.Pool{Name: s.String(), Region: s.Region, Zone: s.Zone, InstanceType: s.InstanceType, Price: prices[i]}
		if a, ok := p.c.Prices.Advice(s.InstanceType, s.Region); ok {
			m.Hazard = a.Band.Hazard()
		}
		p.market.Pools = append(p.market.Pools, m)
	}
	p.policy, p.floor, p.stale = provision.NewEvenkeel(provision.Parameters{Floor: floor}), floor, false
	p.policy.Start(&p.market)
	for i := range p.places {
		if old != nil && i < before {
			p.policy.Avoid(i, p.axis(now), old.Avoided(i))
		}
		if p.places[i].leaving > 0 && !slices.Contains(v.Noticed, int32(i)) {
			v.Noticed = append(v.Noticed, int32(i)) // it has to know what covers for what is missing
		}
	}
}

func (p *pool) note(text string) {
	if !slices.Contains(p.notes, text) {
		p.notes = append(p.notes, text)
	}
}

func seconds(d time.Duration) provision.Time { return provision.Time(d / time.Second) }

// clock writes a moment as people read it beside others of the same day.
func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }

func plural(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}
