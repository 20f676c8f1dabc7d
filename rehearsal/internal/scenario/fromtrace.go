package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
// from its seed. Its pools have the type and the prices of the first spot pool.
func (s *Scenario) GenerateTrace() (*trace.Trace, error) {
	c := trace.GeneratorConfig{Seed: s.Seed}
	for i, zone := range s.spotZones() {
		if i == 0 {
			p := &s.Nodes[zone.pools[0]]
			c.InstanceType, c.OnDemandPerHour, c.SpotPerHour = p.InstanceType, p.OnDemandPerHour, p.SpotPerHour
		}
		c.Zones = append(c.Zones, zone.name)
	}
	return trace.Generate(c)
}

// FromTrace makes a plan of a part of a trace. Each zone of the scenario that has
// spot pools is played by one pool of the trace: a reclaim there takes all spot
// nodes of the zone, and new ones come up in the zone only while there is
// capacity there. A node is replaced by one of the same platform pool. On-demand
// nodes stay. The zones name zones or pools of the trace, one for each of the
// scenario's zones in order; without any, sc.Trace.Zones does, and without those
// either, the most available ones are taken, see choosePools.
//
// Time between two successive reclaims that are played is shortened linearly to
// at most sc.Trace.Compress, and what else happens in between with it. Order is
// kept, and so are overlaps: zones that were without capacity together still
// are, and zones that went at one moment do.
//
// A part begins where every zone has capacity and ends when sc.Trace.Events
// reclaims of zones have been played: when the last machine goes. Parts in which
// at some moment no zone has capacity, or fewer than sc.Trace.KeepNodes spot
// nodes are there without notice, are left out. Of the others, those that reclaim
// the most zones count, and the seed picks one of them.
func FromTrace(sc *Scenario, tr *trace.Trace, zones []string) (*Plan, error) {
	if len(zones) == 0 {
		zones = sc.Trace.Zones
	}
	played := sc.spotZones()
	if len(played) == 0 {
		return nil, fmt.Errorf("planning from trace %s: scenario %s has no spot pool", tr.Name, sc.Name)
	}
	pools, why, err := choosePools(tr, zones, len(played))
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
		var names []string
		for _, j := range played[i].pools {
			names = append(names, sc.Nodes[j].Name)
		}
		plan.Notes = append(plan.Notes, fmt.Sprintf("%s (%s) plays %s: available %.0f %% of the time, up for %.1f h in the mean",
			played[i].name, strings.Join(names, ", "), p.Name(), 100*p.Availability(), p.MeanUp().Hours()))
	}
	choice := fmt.Sprintf("one of %d parts that fit, picked by seed %d", len(best), sc.Seed)
	if len(best) == 1 {
		choice = "the only part that fits"
	}
	plan.Notes = append(plan.Notes, fmt.Sprintf("played: %s to %s of the trace, %s", clock(pick.from), clock(pick.to), choice))
	plan.Notes = append(plan.Notes, pick.notes...)
	return plan, nil
}

// clock writes a moment of a trace: days, hours and minutes since its start.
func clock(d time.Duration) string {
	return fmt.Sprintf("day %d %02d:%02d", d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60)
}

// A candidate is a part of a trace that can be played.
type candidate struct {
	from, to time.Duration
	zones    int // that it reclaims
	events   []Event
	notes    []string
}

// tryPart plays the part of the timeline that begins at a change, if it is fit.
func (s *Scenario) tryPart(tl *timeline, start int) (candidate, bool) {
	reclaims, ok := s.findReclaims(tl, start)
	if !ok {
		return candidate{}, false
	}
	last := reclaims[len(reclaims)-1]
	w := s.warpOf(reclaims)
	zones := s.spotZones()
	var outages []outage
	for i, pool := range tl.pools {
		for _, r := range pool.Reclaims() {
			if r.At < tl.changes[start].at || r.At > last {
				continue
			}
			o := outage{notice: w.at(r.At) - s.NoticeLead, pools: zones[i].pools, back: -1, replace: Replacement{After: s.LaunchDelay, Count: -1}}
			// Nothing waits for capacity that returns when a new node would only
			// come up after the last machine is gone.
			if r.Back >= 0 && w.at(r.Back)+s.LaunchDelay <= w.at(last) {
				o.back = w.at(r.Back)
			}
			outages = append(outages, o)
		}
	}
	slices.SortStableFunc(outages, func(a, b outage) int { return cmp.Compare(a.notice, b.notice) })

	st := s.play(outages)
	plan := Plan{Events: st.events}
	played, hit := plan.Reclaims()
	if played != s.Trace.Events || st.fewest < s.Trace.KeepNodes {
		return candidate{}, false
	}
	return candidate{from: tl.changes[start].at, to: last, zones: hit, events: st.events, notes: st.notes}, true
}

// findReclaims returns the moments from a change on at which zones with nodes
// are reclaimed, until there have been enough. It counts nodes in the trace's
// own time, in which notice and launch take no time at all: whatever is
// reclaimed is at once in the other zones, if they have its platform pool. It
// fails if no zone has capacity at some moment before the last.
func (s *Scenario) findReclaims(tl *timeline, start int) ([]time.Duration, bool) {
	zones := s.spotZones()
	up := make([]bool, len(zones))
	nodes := make([]int, len(s.Nodes))
	waiting := make(map[string]int) // per platform pool
	for i, zone := range zones {
		up[i] = true
		for _, j := range zone.pools {
			nodes[j] = s.Nodes[j].Count
		}
	}
	var moments []time.Duration
	for count, i := 0, start; count < s.Trace.Events; {
		if i++; i == len(tl.changes) {
			return nil, false
		}
		before := count
		for _, c := range tl.changes[i].pools {
			if up[c.pool] = c.available; c.available {
				continue
			}
			taken := 0
			for _, j := range zones[c.pool].pools {
				taken += nodes[j]
				waiting[s.Nodes[j].Pool] += nodes[j]
				nodes[j] = 0
			}
			if taken > 0 {
				count++
			}
		}
		if !slices.Contains(up, true) {
			return nil, false
		}
		if count > before {
			moments = append(moments, tl.changes[i].at)
		}
		s.settle(zones, up, nodes, waiting)
	}
	return moments, true
}

// settle brings waiting nodes up, each in the pool with the fewest nodes of its
// platform pool where zones are up. Those of platform pools that have none there
// go on waiting.
func (s *Scenario) settle(zones []spotZone, up []bool, nodes []int, waiting map[string]int) {
	for pool := range waiting { // in any order: one does not affect another
		for ; waiting[pool] > 0; waiting[pool]-- {
			to := -1
			for i, zone := range zones {
				for _, j := range zone.pools {
					if up[i] && s.Nodes[j].Pool == pool && (to < 0 || nodes[j] < nodes[to]) {
						to = j
					}
				}
			}
			if to < 0 {
				break
			}
			nodes[to]++
		}
	}
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
