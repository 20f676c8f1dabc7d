package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// OpenTrace reads a file of availability, and pools.csv beside it if there is
// one: it gives the tick length and the prices. Without it, def does.
func OpenTrace(path string, def trace.Defaults) (*trace.Trace, error) {
	history, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening trace: %w", err)
	}
	defer history.Close()
	pools, err := os.Open(filepath.Join(filepath.Dir(path), "pools.csv"))
	if errors.Is(err, os.ErrNotExist) {
		return trace.Read(history, filepath.Base(path), nil, def)
	}
	if err != nil {
		return nil, fmt.Errorf("opening trace: %w", err)
	}
	defer pools.Close()
	return trace.Read(history, filepath.Base(path), pools, def)
}

// GenerateTrace makes up a trace for the zones of the scenario's spot pools,
// from its seed.
func (s *Scenario) GenerateTrace() (*trace.Trace, error) {
	c := trace.GeneratorConfig{Seed: s.Seed}
	for _, i := range s.spotPools() {
		p := &s.Nodes[i]
		if !slices.Contains(c.Zones, p.Zone) {
			c.Zones = append(c.Zones, p.Zone)
		}
		c.InstanceType, c.OnDemandPerHour, c.SpotPerHour = p.InstanceType, p.OnDemandPerHour, p.SpotPerHour
	}
	return trace.Generate(c)
}

// FromTrace makes a plan of a part of a trace. Each spot pool of the scenario is
// played by one pool of the trace: a reclaim there takes all of its nodes, and
// new nodes come up in it only while there is capacity there. On-demand nodes
// stay. The zones name zones or pools of the trace, one for each spot pool in
// order; without any, sc.Trace.Zones does, and without those either, the most
// available ones are taken, see choosePools.
//
// Time between two successive reclaims that are played is shortened linearly to
// at most sc.Trace.Compress, and what else happens in between with it. Order is
// kept, and so are overlaps: zones that were without capacity together still
// are, and zones that went at one moment do.
//
// A part begins where every pool has capacity and ends when sc.Trace.Events
// reclaims have been played. Parts in which at some moment no pool has capacity,
// or fewer than sc.Trace.KeepNodes spot nodes are there without notice, are left
// out. Of the others, those that reclaim the most zones count, and the seed
// picks one of them.
func FromTrace(sc *Scenario, tr *trace.Trace, zones []string) (*Plan, error) {
	if len(zones) == 0 {
		zones = sc.Trace.Zones
	}
	spot := sc.spotPools()
	if len(spot) == 0 {
		return nil, fmt.Errorf("planning from trace %s: scenario %s has no spot pool", tr.Name, sc.Name)
	}
	pools, why, err := choosePools(tr, zones, len(spot))
	if err != nil {
		return nil, fmt.Errorf("planning from trace %s: %w", tr.Name, err)
	}

	tl := newTimeline(pools)
	var best []candidate
	for _, start := range tl.starts() {
		c, ok := sc.tryPart(tl, start)
		switch {
		case !ok:
		case len(best) == 0 || c.zones > best[0].zones:
			best = []candidate{c}
		case c.zones == best[0].zones:
			best = append(best, c)
		}
	}
	if len(best) == 0 {
		return nil, fmt.Errorf("planning from trace %s: no part of it has %d reclaims that leave capacity somewhere (trace.events, trace.keepNodes: %d); try fewer events, or other zones",
			tr.Name, sc.Trace.Events, sc.Trace.KeepNodes)
	}
	pick := best[rand.New(rand.NewPCG(sc.Seed, 0)).IntN(len(best))]

	plan := sc.newPlan(pick.events)
	plan.Trace = tr.Name
	plan.Notes = []string{why}
	for i, p := range pools {
		node := &sc.Nodes[spot[i]]
		plan.Notes = append(plan.Notes, fmt.Sprintf("%s (%s) plays %s: available %.0f %% of the time, up for %.1f h in the mean", node.Name, node.Zone, p.Name(), 100*p.Availability(), p.MeanUp().Hours()))
	}
	choice := fmt.Sprintf("one of %d parts that fit, picked by seed %d", len(best), sc.Seed)
	if len(best) == 1 {
		choice = "the only part that fits"
	}
	plan.Notes = append(plan.Notes, fmt.Sprintf("played: %s to %s of the trace, %s", clock(pick.from), clock(pick.to), choice))
	return plan, nil
}

// clock writes a moment of a trace: days, hours and minutes since its start.
func clock(d time.Duration) string {
	return fmt.Sprintf("day %d %02d:%02d", d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60)
}

// A candidate is a part of a trace that can be played.
type candidate struct {
	from, to time.Duration
	zones    int
	events   []Event
}

// tryPart plays the part of the timeline that begins at a change, if it is fit.
func (s *Scenario) tryPart(tl *timeline, start int) (candidate, bool) {
	reclaims, ok := s.findReclaims(tl, start)
	if !ok {
		return candidate{}, false
	}
	w := s.warpOf(reclaims)
	spot := s.spotPools()
	var outages []outage
	for i, pool := range tl.pools {
		for _, r := range pool.Reclaims() {
			if r.At < tl.changes[start].at || r.At > reclaims[len(reclaims)-1] {
				continue
			}
			o := outage{notice: w.at(r.At) - s.NoticeLead, pools: spot[i : i+1], back: -1, replace: Replacement{After: s.LaunchDelay, Count: -1}}
			if r.Back >= 0 {
				o.back = w.at(r.Back)
			}
			outages = append(outages, o)
		}
	}
	slices.SortStableFunc(outages, func(a, b outage) int { return cmp.Compare(a.notice, b.notice) })

	st := s.play(outages)
	plan := Plan{Events: st.events}
	played, zones := plan.Reclaims()
	if played != s.Trace.Events || st.fewest < s.Trace.KeepNodes {
		return candidate{}, false
	}
	return candidate{tl.changes[start].at, reclaims[len(reclaims)-1], zones, st.events}, true
}

// findReclaims returns the moments from a change on at which pools with nodes
// are reclaimed, until there have been enough. It counts nodes in the trace's
// own time, in which notice and launch take no time at all: whatever is
// reclaimed is at once in the other pools. It fails if no pool has capacity at
// some moment before the last.
func (s *Scenario) findReclaims(tl *timeline, start int) ([]time.Duration, bool) {
	spot := s.spotPools()
	nodes := make([]int, len(spot))
	up := make([]bool, len(spot))
	for i := range spot {
		nodes[i], up[i] = s.Nodes[spot[i]].Count, true
	}
	var moments []time.Duration
	for count, i := 0, start; count < s.Trace.Events; {
		if i++; i == len(tl.changes) {
			return nil, false
		}
		taken := 0
		for _, c := range tl.changes[i].pools {
			if up[c.pool] = c.available; !c.available && nodes[c.pool] > 0 {
				taken += nodes[c.pool]
				nodes[c.pool] = 0
				count++
			}
		}
		if !slices.Contains(up, true) {
			return nil, false
		}
		if taken == 0 {
			continue
		}
		moments = append(moments, tl.changes[i].at)
		for range taken {
			to := -1
			for j := range nodes {
				if up[j] && (to < 0 || nodes[j] < nodes[to]) {
					to = j
				}
			}
			nodes[to]++
		}
	}
	return moments, true
}

// A warp maps the trace's time to scenario time: knots to knots, linearly in
// between, and at the trace's own pace before the first and after the last.
type warp struct{ from, to []time.Duration }

// warpOf shortens the time between successive reclaims. The first notice comes
// when the load has warmed up.
func (s *Scenario) warpOf(reclaims []time.Duration) warp {
	w := warp{from: reclaims}
	for i := range reclaims {
		if i == 0 {
			w.to = append(w.to, s.scaled(s.Load.WarmUp)+s.NoticeLead)
			continue
		}
		w.to = append(w.to, w.to[i-1]+min(reclaims[i]-reclaims[i-1], s.Trace.Compress))
	}
	return w
}

func (w warp) at(t time.Duration) time.Duration {
	last := len(w.from) - 1
	i, exact := slices.BinarySearch(w.from, t)
	switch {
	case exact:
		return w.to[i]
	case i == 0:
		return w.to[0] - (w.from[0] - t)
	case i > last:
		return w.to[last] + (t - w.from[last])
	}
	share := float64(t-w.from[i-1]) / float64(w.from[i]-w.from[i-1])
	return w.to[i-1] + time.Duration(share*float64(w.to[i]-w.to[i-1]))
}
