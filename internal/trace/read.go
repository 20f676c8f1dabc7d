package trace

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/rows"
)

// Limits that keep a malformed or hostile file from taking the machine's
// memory, beside those of package rows. The published histories need 3,700 rows
// for 12 pools.
const (
	maxPools = 10_000                    // pools of one file
	maxSpan  = 50 * 365 * 24 * time.Hour // keeps every moment inside a time.Duration
)

// Defaults hold for files that come without a pools file.
type Defaults struct {
	Tick                         time.Duration // defaults to DefaultTick
	OnDemandPerHour, SpotPerHour float64       // USD
}

// DefaultTick is the tick of the larger published set.
const DefaultTick = 195 * time.Second

// Read reads a history: rows of pool,tick,capacity with one row at a pool's
// first tick and one at each change, capacity being 1 or 0. The pools file says
// per pool how long a tick is, which ticks are covered and what an instance
// costs; without one (nil), def holds and the history ends where its last row
// does. The name is used in errors, and to select the rows of a pools file that
// serves several data sets: a row counts if its dataset begins the name.
//
// Read is strict: an unknown pool, a tick out of order or out of range, and a
// capacity other than 0 or 1 are errors that name the file and the line.
func Read(r io.Reader, name string, pools io.Reader, def Defaults) (*Trace, error) {
	var catalog map[string]Pool
	if pools != nil {
		var err error
		if catalog, err = readPools(pools, name); err != nil {
			return nil, err
		}
	}
	if def.Tick == 0 {
		def.Tick = DefaultTick
	}
	if def.Tick < time.Second || def.Tick > 24*time.Hour {
		return nil, fmt.Errorf("tick length %v is outside 1s to 24h", def.Tick)
	}

	h := history{catalog: catalog, def: def, pools: make(map[string]*Pool)}
	err := rows.File{Name: name, Columns: []string{"pool", "tick", "capacity"}, Exact: true}.Each(r, func(f []string) error {
		return h.add(f[0], f[1], f[2])
	})
	if err != nil {
		return nil, err
	}
	if len(h.pools) == 0 {
		return nil, fmt.Errorf("%s: no rows", name)
	}
	return h.trace(name), nil
}

// history collects the rows of one file.
type history struct {
	catalog map[string]Pool // nil if there is no pools file
	def     Defaults
	pools   map[string]*Pool
	last    int // greatest tick of any row
}

func (h *history) add(name, tickField, capacity string) error {
	tick, err := parseTick(tickField)
	if err != nil {
		return err
	}
	if capacity != "0" && capacity != "1" {
		return fmt.Errorf("capacity %q is neither 0 nor 1", capacity)
	}
	p := h.pools[name]
	if p == nil {
		if p, err = h.open(name, tick); err != nil {
			return err
		}
	}
	if p.beyondSpan(tick) {
		return fmt.Errorf("tick %d of pool %s is more than 50 years after tick 0", tick, name)
	}
	if h.catalog != nil && tick >= p.First+p.Ticks {
		return fmt.Errorf("tick %d is past the end of pool %s, which covers ticks %d to %d", tick, name, p.First, p.First+p.Ticks-1)
	}
	change := Change{Tick: tick, Available: capacity == "1"}
	if n := len(p.Changes); n > 0 {
		prev := p.Changes[n-1]
		if tick <= prev.Tick {
			return fmt.Errorf("tick %d of pool %s is not after its previous tick, %d", tick, name, prev.Tick)
		}
		if prev.Available == change.Available {
			h.last = max(h.last, tick)
			return nil // says again what already holds
		}
	}
	p.Changes = append(p.Changes, change)
	h.last = max(h.last, tick)
	return nil
}

// open starts the history of a pool at its first row.
func (h *history) open(name string, tick int) (*Pool, error) {
	if len(h.pools) == maxPools {
		return nil, fmt.Errorf("more than %d pools", maxPools)
	}
	p := Pool{Tick: h.def.Tick, OnDemandPerHour: h.def.OnDemandPerHour, SpotPerHour: h.def.SpotPerHour, First: tick}
	if h.catalog != nil {
		known, ok := h.catalog[name]
		if !ok {
			return nil, fmt.Errorf("pool %q is not in the pools file", name)
		}
		if p = known; tick != p.First {
			return nil, fmt.Errorf("first row of pool %s is at tick %d, the pools file says %d", name, tick, p.First)
		}
	} else {
		var err error
		if p.Zone, p.InstanceType, err = splitName(name); err != nil {
			return nil, err
		}
		p.Region = regionOf(p.Zone)
	}
	h.pools[name] = &p
	return &p, nil
}

func (h *history) trace(name string) *Trace {
	t := &Trace{Name: name}
	for _, p := range h.pools {
		if h.catalog == nil {
			p.Ticks = h.last + 1 - p.First
		}
		t.Pools = append(t.Pools, *p)
	}
	slices.SortFunc(t.Pools, func(a, b Pool) int { return strings.Compare(a.Name(), b.Name()) })
	return t
}

// readPools reads a pools file and returns the pools of the data set whose name
// begins the history's name, or all of them if no data set does.
func readPools(r io.Reader, history string) (map[string]Pool, error) {
	type row struct {
		dataset string
		pool    Pool
	}
	const file = "pools.csv"
	columns := []string{"pool", "dataset", "region", "zone", "instance_type", "on_demand_usd_h", "spot_usd_h", "tick_seconds", "first_tick", "ticks"}
	var found []row
	matched := false
	err := rows.File{Name: file, Columns: columns}.Each(r, func(f []string) error {
		if len(found) == maxPools {
			return fmt.Errorf("more than %d pools", maxPools)
		}
		p, err := parsePool(f)
		if err != nil {
			return err
		}
		found = append(found, row{f[1], p})
		matched = matched || begins(history, f[1])
		return nil
	})
	if err != nil {
		return nil, err
	}
	pools := make(map[string]Pool)
	for _, row := range found {
		if matched && !begins(history, row.dataset) {
			continue
		}
		name := row.pool.Name()
		if _, ok := pools[name]; ok {
			return nil, fmt.Errorf("%s: pool %s is there more than once for %s", file, name, history)
		}
		pools[name] = row.pool
	}
	return pools, nil
}

func begins(history, dataset string) bool {
	rest, ok := strings.CutPrefix(history, dataset)
	return ok && dataset != "" && (rest == "" || rest[0] == '-' || rest[0] == '.')
}

func parsePool(f []string) (Pool, error) {
	p := Pool{Region: f[2], Zone: f[3], InstanceType: f[4]}
	if zone, instanceType, err := splitName(f[0]); err != nil {
		return p, err
	} else if zone != p.Zone || instanceType != p.InstanceType {
		return p, fmt.Errorf("pool %q is not zone %q and instance type %q", f[0], p.Zone, p.InstanceType)
	}
	if p.Region == "" {
		return p, errors.New("region is empty")
	}
	var err error
	if p.OnDemandPerHour, err = parsePrice(f[5]); err != nil {
		return p, fmt.Errorf("on_demand_usd_h: %w", err)
	}
	if p.SpotPerHour, err = parsePrice(f[6]); err != nil {
		return p, fmt.Errorf("spot_usd_h: %w", err)
	}
	seconds, err := strconv.Atoi(f[7])
	if err != nil || seconds < 1 || seconds > 24*60*60 {
		return p, fmt.Errorf("tick_seconds %q is not a whole number from 1 to 86400", f[7])
	}
	p.Tick = time.Duration(seconds) * time.Second
	if p.First, err = parseTick(f[8]); err != nil {
		return p, fmt.Errorf("first_tick: %w", err)
	}
	if p.Ticks, err = parseTick(f[9]); err != nil || p.Ticks == 0 {
		return p, fmt.Errorf("ticks %q is not a positive number", f[9])
	}
	if p.beyondSpan(p.First + p.Ticks) {
		return p, fmt.Errorf("pool %s ends more than 50 years after tick 0", f[0])
	}
	return p, nil
}

// beyondSpan reports whether a tick is too far out for p.at, without computing
// the moment, which could overflow.
func (p *Pool) beyondSpan(tick int) bool { return int64(tick) > int64(maxSpan/p.Tick) }

// parseTick accepts no more ticks than maxSpan has at the shortest tick.
func parseTick(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > int(maxSpan/time.Second) {
		return 0, fmt.Errorf("tick %q is not a whole number from 0 on", s)
	}
	return n, nil
}

// parsePrice reads USD an hour; empty means that the source gives none.
func parsePrice(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, fmt.Errorf("%q is not a price", s)
	}
	return v, nil
}

func splitName(name string) (zone, instanceType string, err error) {
	zone, instanceType, ok := strings.Cut(name, "/")
	if !ok || zone == "" || instanceType == "" || strings.Contains(instanceType, "/") {
		return "", "", fmt.Errorf("pool %q is not zone/instance-type", name)
	}
	return zone, instanceType, nil
}
