package upstream

import "time"

// CanaryOptions says how a new version gets a share of requests, and when it loses
// it again.
type CanaryOptions struct {
	Weight    float64       // share of requests, from 0 to 1
	Objective float64       // share of requests that should succeed; 0.999 if zero
	Burn      float64       // how many times faster than the objective allows errors may come; 14.4 if zero
	Window    time.Duration // over which they are counted; a minute if zero
	Least     int           // requests of the canary before it is judged; 20 if zero
}

func (o CanaryOptions) defaults() CanaryOptions {
	if o.Objective <= 0 || o.Objective >= 1 {
		o.Objective = 0.999
	}
	if o.Burn <= 0 {
		o.Burn = 14.4
	}
	if o.Window <= 0 {
		o.Window = time.Minute
	}
	if o.Least <= 0 {
		o.Least = 20
	}
	return o
}

// leastFailed is how many failures are more than chance: one of the first twenty
// requests would be a burn of fifty.
const leastFailed = 3

// slots is how many parts the window has: what is older goes by parts.
const slots = 6

// CanaryState is what is remembered of the requests of a window, by part.
type CanaryState struct {
	Returned bool // the canary failed; it gets no requests until the process is told otherwise
	counts   [slots]count
	newest   int64 // number of the part that counts[newest%slots] is of
}

type count struct{ stable, stableFailed, canary, canaryFailed int }

// Outcome is one request that is over.
type Outcome struct {
	At     time.Time
	Canary bool
	Failed bool // by no fault of the request
}

// Step returns the state after an outcome, and whether the canary was just taken
// back: because its errors burn the budget too fast while the stable version's do
// not come at even half that rate. When both fail alike it is no news about the
// canary.
func (s CanaryState) Step(o CanaryOptions, e Outcome) (_ CanaryState, back bool) {
	o = o.defaults()
	part := e.At.UnixNano() / int64(o.Window/slots)
	switch {
	case part-s.newest >= slots || s.newest == 0:
		s.counts = [slots]count{}
		s.newest = part
	case part <= s.newest-slots:
		return s, false // too old to count
	default:
		for s.newest < part {
			s.newest++
			s.counts[s.newest%slots] = count{}
		}
	}
	c := &s.counts[part%slots]
	switch {
	case e.Canary && e.Failed:
		c.canary, c.canaryFailed = c.canary+1, c.canaryFailed+1
	case e.Canary:
		c.canary++
	case e.Failed:
		c.stable, c.stableFailed = c.stable+1, c.stableFailed+1
	default:
		c.stable++
	}
	if s.Returned || !e.Canary {
		return s, false
	}
	var all count
	for _, c := range s.counts {
		all.stable += c.stable
		all.stableFailed += c.stableFailed
		all.canary += c.canary
		all.canaryFailed += c.canaryFailed
	}
	if all.canary < o.Least || all.canaryFailed < leastFailed {
		return s, false
	}
	bad := float64(all.canaryFailed) / float64(all.canary)
	usual := 0.0
	if all.stable > 0 {
		usual = float64(all.stableFailed) / float64(all.stable)
	}
	if bad > o.Burn*(1-o.Objective) && usual < bad/2 {
		s.Returned = true
		return s, true
	}
	return s, false
}

// Weight returns the share of requests that the canary gets.
func (s CanaryState) Weight(o CanaryOptions) float64 {
	if s.Returned {
		return 0
	}
	return o.Weight
}
