package sim

import (
	"math"
	"math/rand/v2"

	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// SkyServe replays histories as the authors of SkyServe did for their published
// comparison (Mao et al., EuroSys 2025), so that their figures can be had again
// before any other is claimed. Its quirks are kept, because the figures depend on
// them, and listed here:
//
//   - Time goes in ticks of 30 s. A tick of the history counts as 300 s, though it
//     was 195 s.
//   - There is no notice: a machine is there in one tick and gone in the next.
//   - A request is answered within the tick, and refused machines are asked for again
//     in the next one.
//   - A machine counts as ready when its zone has held as many machines in each of the
//     last cold-start ticks: one that was replaced within a tick is not noticed.
//   - On-demand machines are never refused, are ordered by what was ready a tick
//     ago, and are let go of in the tick in which spot is ready.
//   - Each repeat is a day that begins at a random tick, with the zones in random
//     order. Starting up is neither counted nor paid for.
//   - Even spread asks for a lost machine in the first zone without one: the one
//     that has just lost it, for as long as it takes.
//
// It does not use this package's engine, nor package provision: what is
// reproduced here is somebody else's arithmetic.
type SkyServe struct {
	Target    int // machines that must be ready; 3 as published
	Extra     int // machines more than that: 0 or 1 as published
	ColdStart int // ticks; 4 (120 s) as published
	Ticks     int // of a repeat; 2880 (a day) as published
	Repeats   int // 10 as published
	Seed      uint64
}

// PublishedSkyServe is what the published comparison ran.
func PublishedSkyServe(extra int) SkyServe {
	return SkyServe{Target: 3, Extra: extra, ColdStart: 4, Ticks: 2880, Repeats: 10}
}

const (
	skyTicks  = 10 // ticks to a tick of the history
	skyDemand = 3  // price of an on-demand machine; spot costs 1
)

// SkyFigure is what a replay comes to: the mean over repeats and its deviation.
type SkyFigure struct {
	Available, AvailableDeviation float64 // share of ticks with enough ready
	Cost, CostDeviation           float64 // share of all on demand
}

// SkyPolicies are those of the published comparison.
var SkyPolicies = []string{"even-spread", "round-robin", "spothedge"}

// Replay plays one of SkyPolicies.
func (c SkyServe) Replay(t *trace.Trace, policy string) SkyFigure {
	up := make([][]bool, len(t.Pools))
	ticks := math.MaxInt
	for i := range t.Pools {
		up[i] = ticksOf(&t.Pools[i])
		ticks = min(ticks, len(up[i])*skyTicks)
	}
	random := rand.New(rand.NewPCG(c.Seed, 2))
	var available, cost []float64
	for range c.Repeats {
		random.Shuffle(len(up), func(i, j int) { up[i], up[j] = up[j], up[i] })
		s := skyRun{SkyServe: c, up: up, offset: random.IntN(ticks - c.Ticks), random: random}
		a, k := s.play(policy)
		available, cost = append(available, a), append(cost, k)
	}
	var f SkyFigure
	f.Available, f.AvailableDeviation = meanDeviation(available)
	f.Cost, f.CostDeviation = meanDeviation(cost)
	return f
}

func ticksOf(p *trace.Pool) []bool {
	out := make([]bool, p.Ticks)
	for i, c := range p.Changes {
		end := p.First + p.Ticks
		if i+1 < len(p.Changes) {
			end = p.Changes[i+1].Tick
		}
		for t := c.Tick; t < end; t++ {
			out[t-p.First] = c.Available
		}
	}
	return out
}

func meanDeviation(x []float64) (mean, deviation float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		deviation += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(x)))
}

// skyRun is one repeat.
type skyRun struct {
	SkyServe
	up     [][]bool
	offset int
	random *rand.Rand

	held    []int   // by zone, after the last tick
	since   [][]int // by zone: for each tick of the cold start, what was held then
	demand  []int   // likewise, on demand
	nextRR  int
	active  []bool
	planned []int
}

func (s *skyRun) play(policy string) (available, cost float64) {
	zones := len(s.up)
	s.held, s.active = make([]int, zones), make([]bool, zones)
	s.since = make([][]int, zones)
	for i := range zones {
		s.since[i], s.active[i] = make([]int, s.ColdStart+1), true
	}
	s.demand = make([]int, s.ColdStart+1)
	enough, paid, ready := 0, 0, 0
	for t := range s.Ticks {
		spot, demand := s.Target+s.Extra, 0
		if policy == "spothedge" {
			// By what was ready a tick ago.
			demand = min(s.Target, max(0, spot-ready))
			s.observe()
		}
		s.allocate(policy, spot)
		total := demand
		for i := range zones {
			if !s.up[i][(t+s.offset)/skyTicks] {
				s.held[i] = 0
			}
			s.since[i][t%(s.ColdStart+1)] = s.held[i]
			total += s.held[i]
		}
		s.demand[t%(s.ColdStart+1)] = demand
		ready = 0
		if t < s.ColdStart {
			continue
		}
		for i := range zones {
			ready += least(s.since[i])
		}
		if ready+least(s.demand) >= s.Target {
			enough++
		}
		paid += total - demand + demand*skyDemand
	}
	measured := s.Ticks - s.ColdStart
	return float64(enough) / float64(measured), float64(paid) / float64(measured*s.Target*skyDemand)
}

func least(x []int) int {
	m := x[0]
	for _, v := range x[1:] {
		m = min(m, v)
	}
	return m
}

// allocate adds what is missing to what each zone holds.
func (s *skyRun) allocate(policy string, want int) {
	missing := want
	for _, n := range s.held {
		missing -= n
	}
	zones := len(s.held)
	switch policy {
	case "even-spread":
		for level := 0; missing > 0; level++ {
			for i := 0; i < zones && missing > 0; i++ {
				if s.held[i] == level {
					s.held[i]++
					missing--
				}
			}
		}
	case "round-robin":
		for ; missing > 0; missing-- {
			s.held[s.nextRR]++
			s.nextRR = (s.nextRR + 1) % zones
		}
	case "spothedge":
		for ; missing > 0; missing-- {
			s.held[s.pick()]++
		}
		s.planned = append(s.planned[:0], s.held...)
	}
}

// observe keeps the two lists of zones: one that holds less than was planned for
// it a tick ago leaves the active list, one that holds what was planned returns.
func (s *skyRun) observe() {
	n := 0
	for i := range s.active {
		if len(s.planned) > 0 {
			switch {
			case s.planned[i] > s.held[i]:
				s.active[i] = false
			case s.planned[i] > 0:
				s.active[i] = true
			}
		}
		if s.active[i] {
			n++
		}
	}
	if n <= min(1, len(s.active)-3) {
		for i := range s.active {
			s.active[i] = true
		}
	}
}

// pick is an active zone at random, one without a machine if there is one.
func (s *skyRun) pick() int {
	for _, free := range []bool{true, false} {
		var from []int
		for i, a := range s.active {
			if a && (!free || s.held[i] == 0) {
				from = append(from, i)
			}
		}
		if len(from) > 0 {
			return from[s.random.IntN(len(from))]
		}
	}
	return 0
}
