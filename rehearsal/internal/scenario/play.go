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
// the way an autoscaling group over several zones does it. Each reclaimed node
// starts a launch at the notice. When it is due it joins the pool with the
// fewest nodes of those that have capacity; while none has, it waits for one
// and then takes the launch delay again.
type stage struct {
	s       *Scenario
	outages []outage
	spot    []int      // spot pools
	here    [][]string // nodes per pool that are there and have no notice
	next    []int      // number of the next node per pool
	fewest  int        // spot nodes without notice, at the worst moment
	events  []Event
	queue   []step
}

// A step is something that will happen: a notice or the end of a launch.
type step struct {
	at     time.Duration
	notice *outage
	launch *launch
}

type launch struct {
	count int
	rule  Replacement
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
	taken := 0
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
		taken += len(nodes)
		st.emit(at, Notice, i, nodes)
		st.emit(at+st.s.NoticeLead, Kill, i, nodes)
	}
	count := o.replace.Count
	if count < 0 {
		count = taken
	}
	if count > 0 && taken > 0 {
		st.put(step{at: at + o.replace.After, launch: &launch{count, o.replace}})
	}
}

func (st *stage) emit(at time.Duration, kind Kind, pool int, nodes []string) {
	st.events = append(st.events, Event{At: at, Kind: kind, Pool: st.s.Nodes[pool].Name, Zone: st.s.Nodes[pool].Zone, Nodes: nodes})
}

func (st *stage) join(at time.Duration, l launch) {
	joined := make([][]string, len(st.s.Nodes))
	for range l.count {
		pool := st.poolFor(at, l.rule.Pool)
		if pool < 0 {
			st.wait(at, launch{l.count, l.rule})
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

// poolFor returns the pool that a replacement joins, or -1 if none has capacity.
func (st *stage) poolFor(at time.Duration, wanted string) int {
	best := -1
	for i := range st.s.Nodes {
		if wanted != "" {
			if st.s.Nodes[i].Name != wanted {
				continue
			}
		} else if st.s.Nodes[i].CapacityType != Spot {
			continue
		}
		if !st.capacity(i, at) {
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

// wait tries a launch again when the next outage is over, if one ever is.
func (st *stage) wait(at time.Duration, l launch) {
	next := time.Duration(-1)
	for _, o := range st.outages {
		if o.back > at && (next < 0 || o.back < next) {
			next = o.back
		}
	}
	if next >= 0 {
		st.put(step{at: next + st.s.LaunchDelay, launch: &l})
	}
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
	plan := s.newPlan(s.play(outages).events)
	plan.Notes = append(plan.Notes, fmt.Sprintf("scenario %s says which nodes are reclaimed, and when", s.Name))
	return plan, nil
}
