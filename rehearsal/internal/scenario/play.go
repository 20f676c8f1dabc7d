package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// An outage is one reclaim to play, and what follows from it.
type outage struct {
	notice time.Duration
	pools  []int    // whose nodes it takes
	nodes  []string // only these of them; nil: all
	// back is when a pool can take new nodes again; negative: not in this plan.
	// From the notice until then none join it. It does not hold for an outage of
	// single nodes, which says nothing about the pool.
	back    time.Duration
	replace Replacement
}

func (o *outage) blocks(pool int, at time.Duration) bool {
	return o.nodes == nil && slices.Contains(o.pools, pool) && at >= o.notice && (o.back < 0 || at < o.back)
}

// A stage plays outages: which nodes they take, and where replacements come up,
// the way an autoscaling group per platform pool, over several zones, does it.
// Each reclaimed node starts a launch at the notice. When it is due it joins the
// pool with the fewest nodes of those of its platform pool that have capacity;
// while none has, it waits for one and then takes the launch delay again. If
// none will have any in this plan, the node is left out: one of another platform
// pool would be of no use, since the pods that it is for do not go there.
type stage struct {
	s       *Scenario
	outages []outage
	spot    []int      // spot pools
	here    [][]string // nodes per pool that are there and have no notice
	next    []int      // number of the next node per pool
	fewest  int        // spot nodes without notice, at the worst moment
	events  []Event
	notes   []string // on nodes that are not replaced
	queue   []step
}

// A step is something that will happen: a notice or the end of a launch.
type step struct {
	at     time.Duration
	notice *outage
	launch *launch
}

// A launch of nodes for those of one platform pool that were taken.
type launch struct {
	notice time.Duration // when they were
	pool   string        // NodePool.Pool
	count  int
	rule   Replacement
}

// suits reports whether the launch may join a node pool.
func (l *launch) suits(p *NodePool) bool {
	if l.rule.Pool != "" {
		return p.Name == l.rule.Pool
	}
	return p.CapacityType == Spot && p.Pool == l.pool
}

func (s *Scenario) play(outages []outage) *stage {
	st := &stage{s: s, outages: outages, spot: s.spotPools(), here: make([][]string, len(s.Nodes)), next: make([]int, len(s.Nodes))}
	for i, pool := range s.Nodes {
		for n := range pool.Count {
			st.here[i] = append(st.here[i], nodeName(pool.Name, n+1))
		}
		st.next[i] = pool.Count + 1
	}
	st.fewest = st.spotNodes()
	for i := range outages {
		st.put(step{at: outages[i].notice, notice: &outages[i]})
	}
	for len(st.queue) > 0 {
		now := st.queue[0]
		st.queue = st.queue[1:]
		if now.notice != nil {
			st.reclaim(now.at, now.notice)
		} else {
			st.join(now.at, *now.launch)
		}
		st.fewest = min(st.fewest, st.spotNodes())
	}
	return st
}

// put keeps the queue in order of time; steps of one moment stay in the order
// in which they were put.
func (st *stage) put(s step) {
	st.queue = append(st.queue, s)
	slices.SortStableFunc(st.queue, func(a, b step) int { return cmp.Compare(a.at, b.at) })
}

func (st *stage) spotNodes() int {
	n := 0
	for _, i := range st.spot {
		n += len(st.here[i])
	}
	return n
}

func (st *stage) reclaim(at time.Duration, o *outage) {
	var launches []launch // one for each platform pool that loses nodes
	for _, i := range o.pools {
		var nodes, stay []string
		for _, node := range st.here[i] {
			if o.nodes == nil || slices.Contains(o.nodes, node) {
				nodes = append(nodes, node)
			} else {
				stay = append(stay, node)
			}
		}
		if len(nodes) == 0 {
			continue
		}
		st.here[i] = stay
		st.emit(at, Notice, i, nodes)
		st.emit(at+st.s.NoticeLead, Kill, i, nodes)

		pool := st.s.Nodes[i].Pool
		j := slices.IndexFunc(launches, func(l launch) bool { return l.pool == pool })
		if j < 0 {
			j = len(launches)
			launches = append(launches, launch{notice: at, pool: pool, rule: o.replace})
		}
		launches[j].count += len(nodes)
	}
	for j := range launches {
		l := &launches[j]
		if all := o.replace.Count; all >= 0 {
			l.count = (all + len(launches) - 1 - j) / len(launches) // the first ones get what is over
		}
		if l.count > 0 {
			st.put(step{at: at + o.replace.After, launch: l})
		}
	}
}

func (st *stage) emit(at time.Duration, kind Kind, pool int, nodes []string) {
	st.events = append(st.events, Event{At: at, Kind: kind, Pool: st.s.Nodes[pool].Name, Zone: st.s.Nodes[pool].Zone, Nodes: nodes})
}

func (st *stage) join(at time.Duration, l launch) {
	joined := make([][]string, len(st.s.Nodes))
	for range l.count {
		pool := st.poolFor(at, &l)
		if pool < 0 {
			st.wait(at, l)
			break
		}
		l.count--
		name := nodeName(st.s.Nodes[pool].Name, st.next[pool])
		st.next[pool]++
		st.here[pool] = append(st.here[pool], name)
		joined[pool] = append(joined[pool], name)
	}
	for pool, nodes := range joined {
		if len(nodes) > 0 {
			st.emit(at, Join, pool, nodes)
		}
	}
}

// poolFor returns the pool that a node of a launch joins, or -1 if none has
// capacity.
func (st *stage) poolFor(at time.Duration, l *launch) int {
	best := -1
	for i := range st.s.Nodes {
		if !l.suits(&st.s.Nodes[i]) || !st.capacity(i, at) {
			continue
		}
		if best < 0 || len(st.here[i]) < len(st.here[best]) {
			best = i
		}
	}
	return best
}

func (st *stage) capacity(pool int, at time.Duration) bool {
	return !slices.ContainsFunc(st.outages, func(o outage) bool { return o.blocks(pool, at) })
}

// wait tries a launch again when the next outage of a pool that suits it is
// over, or leaves its nodes out if none ever is.
func (st *stage) wait(at time.Duration, l launch) {
	next := time.Duration(-1)
	for _, o := range st.outages {
		suits := func(pool int) bool { return l.suits(&st.s.Nodes[pool]) }
		if o.back > at && (next < 0 || o.back < next) && slices.ContainsFunc(o.pools, suits) {
			next = o.back
		}
	}
	if next >= 0 {
		st.put(step{at: next + st.s.LaunchDelay, launch: &l})
		return
	}
	st.notes = append(st.notes, fmt.Sprintf("not replaced: %d of pool %s, reclaimed at %.1f s: no zone has capacity for them",
		l.count, cmp.Or(l.rule.Pool, l.pool), st.s.Real(l.notice).Seconds()))
}

// Script returns the plan of the scenario's own reclaims.
func (s *Scenario) Script() (*Plan, error) {
	var outages []outage
	for i, r := range s.Reclaims {
		o := outage{notice: r.At, nodes: r.Nodes, back: -1, replace: r.Replace}
		if r.Back > 0 {
			o.back = r.At + r.Back
		}
		for _, j := range s.spotPools() {
			if r.Nodes != nil || s.Nodes[j].Name == r.Pool || s.Nodes[j].Zone == r.Zone {
				o.pools = append(o.pools, j)
			}
		}
		outages = append(outages, o)
		before := len(s.play(outages[:i:i]).events)
		if len(s.play(outages).events) == before {
			return nil, fmt.Errorf("reclaims[%d] takes no spot node: none of its nodes is there at %v", i, r.At)
		}
	}
	st := s.play(outages)
	plan := s.newPlan(st.events)
	plan.Notes = append([]string{fmt.Sprintf("scenario %s says which nodes are reclaimed, and when", s.Name)}, st.notes...)
	return plan, nil
}
