// Package trace holds histories of spot capacity: for every pool, when an
// instance of it could be had and when it could not. It reads them from CSV,
// measures them, and generates new ones with the same statistics.
//
// A trace knows availability and nothing else: not how many nodes a user has in
// a pool, not what runs there, and not the two minutes of notice. A step from
// available to not is taken as the reclaim of everything in that pool, because
// that is how pools go: all at once.
package trace

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"
)

// A Trace is the history of several pools on one time axis, whose zero is tick
// 0 of the source.
type Trace struct {
	Name  string // file name, or "generated"
	Pools []Pool // by name
}

// A Pool is one instance type in one zone: one failure domain.
type Pool struct {
	Region, Zone, InstanceType string

	// Prices in USD an hour. Zero where the source gives none.
	OnDemandPerHour, SpotPerHour float64

	// Tick is the length of one tick: nothing is known at a finer grain.
	Tick time.Duration
	// First is the tick at which the history starts, Ticks how many it covers.
	First, Ticks int
	// Changes are the moments at which availability changed, ascending, no two
	// neighbours alike. The first one is at First and gives the initial value.
	Changes []Change
}

// A Change says what holds from a tick until the next change.
type Change struct {
	Tick      int
	Available bool
}

// A Reclaim is the moment at which a pool lost its capacity.
type Reclaim struct {
	At   time.Duration // on the trace's time axis
	Pool string        // the pool's Name
	// Back is when capacity returned; negative if it had not when the history
	// ended.
	Back time.Duration
}

// Name is how files name the pool: zone/instance-type.
func (p *Pool) Name() string { return p.Zone + "/" + p.InstanceType }

// Start and End bound what is known of the pool: [Start, End).
func (p *Pool) Start() time.Duration { return p.at(p.First) }

// End is the moment from which nothing is known any more.
func (p *Pool) End() time.Duration { return p.at(p.First + p.Ticks) }

func (p *Pool) at(tick int) time.Duration { return time.Duration(tick) * p.Tick }

// AvailableAt reports whether the pool had capacity at a moment. Before Start
// and from End on nothing is known, which counts as no capacity.
func (p *Pool) AvailableAt(at time.Duration) bool {
	if at < p.Start() || at >= p.End() {
		return false
	}
	// The last change at or before the moment.
	i := sort.Search(len(p.Changes), func(i int) bool { return p.at(p.Changes[i].Tick) > at })
	return i > 0 && p.Changes[i-1].Available
}

// Reclaims returns the pool's reclaims in order of time.
func (p *Pool) Reclaims() []Reclaim {
	var out []Reclaim
	for i := 1; i < len(p.Changes); i++ {
		if p.Changes[i].Available {
			continue
		}
		r := Reclaim{At: p.at(p.Changes[i].Tick), Pool: p.Name(), Back: -1}
		if i+1 < len(p.Changes) {
			r.Back = p.at(p.Changes[i+1].Tick)
		}
		out = append(out, r)
	}
	return out
}

// Pool returns the pool with a name.
func (t *Trace) Pool(name string) (*Pool, bool) {
	for i := range t.Pools {
		if t.Pools[i].Name() == name {
			return &t.Pools[i], true
		}
	}
	return nil, false
}

// Reclaims returns the reclaims of the pools in some zones, by time and then by
// pool. A zone may also be given as the name of one pool; no zones means all.
func (t *Trace) Reclaims(zones []string) []Reclaim {
	var out []Reclaim
	for i := range t.Pools {
		p := &t.Pools[i]
		if len(zones) == 0 || slices.Contains(zones, p.Zone) || slices.Contains(zones, p.Name()) {
			out = append(out, p.Reclaims()...)
		}
	}
	slices.SortFunc(out, func(a, b Reclaim) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Pool, b.Pool))
	})
	return out
}

// regionOf returns the region of an AWS-style zone, "us-east-1" of
// "us-east-1a", and the zone itself if it does not end in a letter.
func regionOf(zone string) string {
	n := len(zone)
	if n < 2 || zone[n-1] < 'a' || zone[n-1] > 'z' {
		return zone
	}
	return zone[:n-1]
}
