package trace

import (
	"time"
)

// Hazard is the rate of reclaims, a day in which the pool had capacity.
func (o *Offer) Hazard() float64 {
	up, reclaims := o.uptime()
	if up == 0 {
		return 0
	}
	return float64(reclaims) / (up.Hours() / 24)
}

// uptime returns the time with capacity up to the last step, and how often it
// went to none. What follows the last step has no known end here.
func (o *Offer) uptime() (up time.Duration, reclaims int) {
	for i := 1; i < len(o.Capacity); i++ {
		if o.Capacity[i-1].Value > 0 {
			up += o.Capacity[i].At - o.Capacity[i-1].At
			if o.Capacity[i].Value == 0 {
				reclaims++
			}
		}
	}
	return up, reclaims
}

// MeanOutage is the mean time without capacity, of outages that ended.
func (o *Offer) MeanOutage() time.Duration {
	var down time.Duration
	outages := 0
	for i := 1; i < len(o.Capacity); i++ {
		if o.Capacity[i-1].Value == 0 {
			down += o.Capacity[i].At - o.Capacity[i-1].At
			outages++
		}
	}
	return down / time.Duration(max(1, outages))
}

// Correlation is Pearson's coefficient of whether the two pools have capacity,
// over the span of their market. It is zero if either never changes.
func (o *Offer) Correlation(other *Offer, span time.Duration) float64 {
	return Correlation(o.pool(span), other.pool(span))
}

// CoInterruption is the share of both pools' reclaims that have a partner in the
// other pool at most within apart.
func (o *Offer) CoInterruption(other *Offer, within time.Duration) float64 {
	last := max(o.Capacity[len(o.Capacity)-1].At, other.Capacity[len(other.Capacity)-1].At) + 1
	return CoInterruption(o.pool(last), other.pool(last), within)
}

// pool returns the offer's capacity as a pool whose tick is as fine as time is,
// so that both are measured by the same code.
func (o *Offer) pool(span time.Duration) *Pool {
	p := &Pool{Region: o.Region, Zone: o.Zone, InstanceType: o.InstanceType, Tick: 1, Ticks: int(span)}
	for _, step := range o.Capacity {
		up := step.Value > 0
		if n := len(p.Changes); n == 0 || p.Changes[n-1].Available != up {
			p.Changes = append(p.Changes, Change{Tick: int(step.At), Available: up})
		}
	}
	return p
}
