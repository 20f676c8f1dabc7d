package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// choosePools picks the n pools of a trace that are played, and says how. Zones
// that were asked for are taken in their order, each with its most available
// pool. Otherwise they are the n most available zones of one region, since
// zones of a region fail together, which is what a rehearsal is for; of several
// such regions, the most available. If no region has n zones, regions are
// mixed; if the trace has fewer than n zones, zones give more than one pool.
func choosePools(tr *trace.Trace, zones []string, n int) ([]*trace.Pool, string, error) {
	byAvailability := make([]*trace.Pool, len(tr.Pools))
	for i := range tr.Pools {
		byAvailability[i] = &tr.Pools[i]
	}
	slices.SortStableFunc(byAvailability, func(a, b *trace.Pool) int { return cmp.Compare(b.Availability(), a.Availability()) })

	if len(zones) > 0 {
		pools, err := namedPools(byAvailability, zones, n)
		return pools, "zones as asked for: " + strings.Join(zones, ", "), err
	}

	var ofZone, rest []*trace.Pool // the best pool of each zone, and the others
	for _, p := range byAvailability {
		if slices.ContainsFunc(ofZone, func(q *trace.Pool) bool { return q.Zone == p.Zone }) {
			rest = append(rest, p)
		} else {
			ofZone = append(ofZone, p)
		}
	}
	if pools := bestRegion(ofZone, n); pools != nil {
		return byName(pools), fmt.Sprintf("the %d most available zones of one region, %s", n, pools[0].Region), nil
	}
	if len(ofZone) >= n {
		return byName(ofZone[:n]), fmt.Sprintf("the %d most available zones of the trace: none of its regions has %d", n, n), nil
	}
	pools := append(ofZone, rest...)
	if len(pools) < n {
		return nil, "", fmt.Errorf("it has %d pools, the scenario has %d zones to play", len(pools), n)
	}
	return byName(pools[:n]), fmt.Sprintf("the %d most available pools of the trace, which has only %d zones", n, len(ofZone)), nil
}

// namedPools looks up zones or pools by name, the most available pool first.
func namedPools(pools []*trace.Pool, names []string, n int) ([]*trace.Pool, error) {
	if len(names) != n {
		return nil, fmt.Errorf("%d zones are asked for, the scenario has %d zones to play: name one for each", len(names), n)
	}
	var out []*trace.Pool
	for _, name := range names {
		i := slices.IndexFunc(pools, func(p *trace.Pool) bool {
			return (p.Zone == name || p.Name() == name) && !slices.Contains(out, p)
		})
		if i < 0 {
			var known []string
			for _, p := range byName(pools) {
				known = append(known, p.Name())
			}
			return nil, fmt.Errorf("zone %q is not in it, or asked for more often than it has pools; its pools are %s", name, strings.Join(known, ", "))
		}
		out = append(out, pools[i])
	}
	return out, nil
}

// bestRegion returns the n most available zones of the region in which these
// are the most available, or nil if no region has n.
func bestRegion(ofZone []*trace.Pool, n int) []*trace.Pool {
	byRegion := make(map[string][]*trace.Pool)
	for _, p := range ofZone {
		byRegion[p.Region] = append(byRegion[p.Region], p)
	}
	var best []*trace.Pool
	for _, p := range ofZone { // not the map: its order is random
		if zones := byRegion[p.Region]; len(zones) >= n && (best == nil || total(zones[:n]) > total(best)) {
			best = zones[:n]
		}
	}
	return best
}

func total(pools []*trace.Pool) float64 {
	sum := 0.0
	for _, p := range pools {
		sum += p.Availability()
	}
	return sum
}

func byName(pools []*trace.Pool) []*trace.Pool {
	out := slices.Clone(pools)
	slices.SortFunc(out, func(a, b *trace.Pool) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

// A timeline is the changes of several pools in one sequence.
type timeline struct {
	pools   []*trace.Pool
	changes []moment
}

// A moment is what changes at one time.
type moment struct {
	at    time.Duration
	pools []poolChange
}

type poolChange struct {
	pool      int
	available bool
}

// newTimeline merges the pools' changes in the time that all of them cover.
func newTimeline(pools []*trace.Pool) *timeline {
	from, to := pools[0].Start(), pools[0].End()
	for _, p := range pools {
		from, to = max(from, p.Start()), min(to, p.End())
	}
	at := make(map[time.Duration][]poolChange)
	for i, p := range pools {
		at[from] = append(at[from], poolChange{i, p.AvailableAt(from)})
		for _, c := range p.Changes {
			if t := time.Duration(c.Tick) * p.Tick; t > from && t < to {
				at[t] = append(at[t], poolChange{i, c.Available})
			}
		}
	}
	tl := &timeline{pools: pools}
	for t, changes := range at {
		tl.changes = append(tl.changes, moment{t, changes})
	}
	slices.SortFunc(tl.changes, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return tl
}

// starts returns the changes after which every pool has capacity.
func (tl *timeline) starts() []int {
	up := make([]bool, len(tl.pools))
	var out []int
	for i, m := range tl.changes {
		for _, c := range m.pools {
			up[c.pool] = c.available
		}
		if !slices.Contains(up, false) {
			out = append(out, i)
		}
	}
	return out
}
