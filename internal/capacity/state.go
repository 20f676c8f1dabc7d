package capacity

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// State is what is remembered between Steps. What must outlive the process stands in
// Records. Use NewState to make one. It is not safe for concurrent use.
type State struct {
	c     Config
	pools map[string]*pool
	past  []Reclaim // of pools that were not seen yet
}

// NewState returns a State that has seen nothing.
func NewState(c Config) *State {
	return &State{c: c.withDefaults(), pools: make(map[string]*pool)}
}

// Step takes in what is seen and says what follows. Nothing in the input is kept but
// strings.
func (s *State) Step(in Input) Output {
	var out Output
	s.past = append(s.past, in.Past...)
	groups := groupsOf(in)
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		p := s.pools[name]
		if p == nil {
			p = newPool(&s.c, in.Now)
			s.pools[name] = p
		}
		p.group = groups[name]
		p.look(in, s.past, &out)
	}
	s.past = slices.DeleteFunc(s.past, func(r Reclaim) bool { return groups[r.Pool].Pool != "" })
	for name := range s.pools {
		if _, ok := groups[name]; !ok {
			delete(s.pools, name)
		}
	}
	s.lend(in)
	for _, name := range slices.Sorted(maps.Keys(s.pools)) {
		p := s.pools[name]
		a := p.decide(in.Now, &out)
		if s.c.Mode != Advise {
			p.settle(in, &a, &out)
		}
		out.Advice = append(out.Advice, a)
	}
	s.forget(in, &out)
	return out
}

// groupsOf returns the pools that buy spot machines, by name: those of groups, and
// those that only nodes tell of.
func groupsOf(in Input) map[string]Group {
	out := make(map[string]Group)
	for _, g := range in.Groups {
		if !g.Spot {
			continue
		}
		if first, twice := out[g.Pool]; twice {
			first.Fixed = fmt.Sprintf("%s and %s buy machines of the same pool", first.Name, g.Name)
			g = first
		}
		out[g.Pool] = g
	}
	for _, n := range in.Nodes {
		if _, ok := out[n.Pool]; !ok && n.Spot && n.Pool != "" {
			out[n.Pool] = Group{Pool: n.Pool, Spot: true}
		}
	}
	return out
}

// lend finds new on-demand machines of pools that have no spot ones, and counts them
// to the pools that have asked for machines on demand.
func (s *State) lend(in Input) {
	there := make(map[string]*cluster.Node)
	for _, n := range in.Nodes {
		if n.Spot || s.pools[n.Pool] != nil {
			continue
		}
		there[n.Name] = n
	}
	lent := make(map[string]bool)
	for _, p := range s.pools {
		for name := range p.lent {
			n, ok := there[name]
			if !ok || fateOf(n, in.Now) != stays {
				delete(p.lent, name)
				continue
			}
			p.lent[name] = n.Ready
			lent[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		n := there[name]
		if lent[name] || fateOf(n, in.Now) != stays {
			continue
		}
		for _, pool := range slices.Sorted(maps.Keys(s.pools)) {
			p := s.pools[pool]
			if !n.Created.IsZero() && p.took(onDemandPlace, n.Created) {
				p.lent[name] = n.Ready
				break
			}
		}
	}
}

// forget takes away Records of groups that are not there any more, or of which
// nothing is left to be undone.
func (s *State) forget(in Input, out *Output) {
	if s.c.Mode == Advise {
		return
	}
	known := make(map[string]bool)
	for _, g := range in.Groups {
		known[g.Key()] = true
	}
	for _, key := range slices.Sorted(maps.Keys(in.Records)) {
		if !known[key] {
			out.Effects = append(out.Effects, Effect{Kind: Store, Key: key, Reason: GroupGone})
		}
	}
}

// earliest keeps the earlier of two moments; zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
