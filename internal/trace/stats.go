package trace

import (
	"math"
	"sort"
	"time"
)

// Availability is the share of the pool's time with capacity.
func (p *Pool) Availability() float64 {
	if p.Ticks == 0 {
		return 0
	}
	return float64(p.upTicks()) / float64(p.Ticks)
}

// MeanUp is the pool's time with capacity for each reclaim: the mean length of
// a stretch with capacity, where the last stretch, which the end of the history
// cut off, adds its time but no end. A pool that was never reclaimed has been up
// for at least what MeanUp returns.
func (p *Pool) MeanUp() time.Duration {
	return time.Duration(p.upTicks()) * p.Tick / time.Duration(max(1, len(p.Reclaims())))
}

func (p *Pool) upTicks() int {
	ticks := 0
	for i, c := range p.Changes {
		if !c.Available {
			continue
		}
		end := p.First + p.Ticks
		if i+1 < len(p.Changes) {
			end = p.Changes[i+1].Tick
		}
		ticks += end - c.Tick
	}
	return ticks
}

// Correlation is Pearson's coefficient of the two pools' availability over the
// time that both cover. It is zero if either never changes in that time.
func Correlation(a, b *Pool) float64 {
	lo, hi := max(a.Start(), b.Start()), min(a.End(), b.End())
	if lo >= hi {
		return 0
	}
	var both, onlyA, onlyB float64
	for at := lo; at < hi; {
		next := min(a.nextChange(at), b.nextChange(at), hi)
		span := (next - at).Seconds()
		switch upA, upB := a.AvailableAt(at), b.AvailableAt(at); {
		case upA && upB:
			both += span
		case upA:
			onlyA += span
		case upB:
			onlyB += span
		}
		at = next
	}
	total := (hi - lo).Seconds()
	pa, pb := (both+onlyA)/total, (both+onlyB)/total
	deviation := math.Sqrt(pa * (1 - pa) * pb * (1 - pb))
	if deviation == 0 {
		return 0
	}
	return (both/total - pa*pb) / deviation
}

// nextChange returns the moment of the first change after another moment, or
// End.
func (p *Pool) nextChange(after time.Duration) time.Duration {
	i := sort.Search(len(p.Changes), func(i int) bool { return p.at(p.Changes[i].Tick) > after })
	if i == len(p.Changes) {
		return p.End()
	}
	return p.at(p.Changes[i].Tick)
}

// CoInterruption is the share of both pools' reclaims that have a partner in
// the other pool at most within apart: 1 when they always go together.
func CoInterruption(a, b *Pool, within time.Duration) float64 {
	ra, rb := a.Reclaims(), b.Reclaims()
	if len(ra)+len(rb) == 0 {
		return 0
	}
	return float64(partnered(ra, rb, within)+partnered(rb, ra, within)) / float64(len(ra)+len(rb))
}

// partnered counts the reclaims of one pool that have a partner in the other.
func partnered(of, in []Reclaim, within time.Duration) int {
	n, first := 0, 0
	for _, r := range of {
		for first < len(in) && in[first].At < r.At-within {
			first++
		}
		if first < len(in) && in[first].At <= r.At+within {
			n++
		}
	}
	return n
}
