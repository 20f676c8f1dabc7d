package provision

// What a driver of the policy needs beyond orders: the simulator's cloud answers at
// once and forgets nothing, a live one does neither.

// Avoid keeps the policy from asking a pool before a moment, if that is later than
// when it would have asked by itself.
func (e *Evenkeel) Avoid(pool int, now, until Time) {
	if until > max(now, e.rank.until[pool]) {
		e.rank.cool(int32(pool), now, until-now)
	}
}

// Avoided returns until when a pool is not asked for machines, because it gave
// notice or refused; a moment that has passed if it may be asked.
func (e *Evenkeel) Avoided(pool int) Time { return e.rank.until[pool] }

// Score returns what an hour in a pool is expected to cost, in micro-dollars: its
// price and the time of its reclaims in which two machines are paid for. Among
// pools that are not avoided the one with the least score is asked first, but for
// what is held there already.
func (e *Evenkeel) Score(v *View, pool int) float64 { return e.rank.score(v, pool) }

// Hazard returns how often a day a pool is expected to be reclaimed, by what was
// known beforehand and what was seen since.
func (e *Evenkeel) Hazard(v *View, pool int) float64 {
	return hazard(&e.m.Pools[pool], &v.Pools[pool], v.Now)
}
