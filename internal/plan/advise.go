package plan

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
)

// Candidate is one way to run a pool with this project's policy. Its own figures
// are those of the days that it was not chosen on.
type Candidate struct {
	Parameters provision.Parameters
	Text       string // what it is, for a person
	sim.Figures
	ChosenOn sim.Figures // of the days that it was chosen or rejected on
	Rejected Reason
	tried    int // place in the order of trials
}

// same is by how much two ways may differ in cost and come to the same.
const same = 1.0005

// Reason names why a candidate is not the advice. It is empty for the one that is.
type Reason string

// The reasons.
const (
	TooRarelyEnough Reason = "enough too rarely" // the low end of the interval is below the objective
	Dearer          Reason = "keeps the objective, costs more"
	Same            Reason = "comes to the same"
)

// Advice is how a pool should be run.
type Advice struct {
	Pool     string
	Nodes    int          // wanted
	Types    []TypeAdvice // those to have first, as the file orders them
	Services []ServiceAdvice
	Headroom int // machines to keep ready beyond those
	Floor    int // machines that are always on demand
	Chosen   Candidate
	Reached  bool // the objective is kept on the days of the choice and on the others, also at the low end of the interval
	// AllOnDemand is what a month of the machines costs on demand, as package bill
	// counts it: the mean of the pool's types.
	AllOnDemand price.Micros
	OnDemand    sim.Figures
	Candidates  []Candidate // all, the advice first, then by cost
	Notes       []string
}

// base are the ways that vary what matters most: all combinations.
func base() []Candidate {
	var out []Candidate
	for _, h := range headrooms {
		for _, share := range []float64{0.34, 0.5, 1} {
			for _, floor := range []float64{0, 0.25, 0.5} {
				out = append(out, candidate(provision.Parameters{Headroom: h, MaxShare: share, Floor: floor}))
			}
		}
	}
	return out
}

var headrooms = []provision.Headroom{provision.HeadroomAuto, provision.HeadroomNever, provision.HeadroomAlways}

// grid are the n ways that are tried: the base, and then the finer steps of a
// larger grid, one after another from its start, as far as they are others.
func grid(n int) []Candidate {
	out := base()
	for _, h := range headrooms {
		for _, share := range []float64{0.34, 0.5, 0.75, 1, 0.25} {
			for _, floor := range []float64{0, 0.1, 0.25, 0.5, 0.75} {
				for _, aversion := range []float64{0.05, 0.02, 0.2} {
					for _, save := range []float64{0.05, 0.02, 0.15} {
						for _, probe := range []provision.Time{30, 60, 120} {
							if len(out) >= n {
								return out[:n]
							}
							p := provision.Parameters{Headroom: h, MaxShare: share, Floor: floor, Aversion: aversion, Save: save, Probe: probe}
							if aversion == 0.05 && save == 0.05 && probe == 30 {
								p.Aversion, p.Save, p.Probe = 0, 0, 0 // the defaults
							}
							if c := candidate(p); !slices.ContainsFunc(out[:len(base())], func(o Candidate) bool { return o.Parameters == c.Parameters }) {
								out = append(out, c)
							}
						}
					}
				}
			}
		}
	}
	return out[:min(n, len(out))]
}

// MostCandidates is how many ways there are.
var MostCandidates = len(grid(math.MaxInt))

func candidate(p provision.Parameters) Candidate {
	text := map[provision.Headroom]string{
		provision.HeadroomAuto:   "spare machines as the error budget asks",
		provision.HeadroomNever:  "no spare machines",
		provision.HeadroomAlways: "always spare machines",
	}[p.Headroom]
	text += fmt.Sprintf(", at most %.0f %% in one pool, %.0f %% on demand", 100*p.MaxShare, 100*p.Floor)
	if p.Aversion != 0 {
		text += fmt.Sprintf(", %.0f %% more for what is lost apart, moved for %.0f %%, asked every %d s", 100*p.Aversion, 100*p.Save, p.Probe)
	}
	return Candidate{Parameters: p, Text: text}
}

// Advise tries many ways to run each pool and picks the cheapest whose share of
// time with enough machines is at least the objective at the low end of its
// interval. Where none is, it picks the one that comes nearest, and says so.
//
// The choice is made on the first half of the days of each history, and the
// figures are those of the second half, which had no part in it.
func Advise(ctx context.Context, cases []Case, o Options) ([]Advice, error) {
	o = o.withDefaults()
	o.halves = true
	var ways []way
	counts := make([]int, len(cases))
	tried := grid(o.Candidates)
	for i := range cases {
		first := len(ways)
		for _, c := range tried {
			ways = append(ways, way{&cases[i], c.Text, evenkeel(c.Parameters)})
		}
		ways = append(ways, way{&cases[i], "on-demand", provision.Strategies[0].New})
		if cases[i].narrow != nil {
			ways = append(ways, way{cases[i].narrow, "named types", evenkeel(tried[0].Parameters)})
		}
		counts[i] = len(ways) - first
	}
	outcomes, err := play(ctx, ways, o)
	if err != nil {
		return nil, err
	}
	var out []Advice
	for i := range cases {
		out = append(out, cases[i].advice(tried, outcomes[:counts[i]], o.Objective))
		outcomes = outcomes[counts[i]:]
	}
	return out, nil
}

func evenkeel(p provision.Parameters) func(uint64) provision.Policy {
	return func(uint64) provision.Policy { return provision.NewEvenkeel(p) }
}

// advice makes an advice of what the candidates, everything on demand, and the
// named types alone, if others were considered, came to.
func (c *Case) advice(tried []Candidate, outcomes []Outcome, objective float64) Advice {
	all := outcomes[len(tried)]
	a := Advice{Pool: c.Pool, Nodes: c.Nodes, Notes: c.Notes, OnDemand: all.judgedOn, AllOnDemand: c.AllOnDemand}
	uses := make(map[string]map[string]float64)
	for j, t := range tried {
		t.Figures, t.ChosenOn = outcomes[j].judgedOn, outcomes[j].chosenOn
		uses[t.Text] = outcomes[j].use
		a.Candidates = append(a.Candidates, t)
	}
	a.Candidates = append(a.Candidates, Candidate{
		Parameters: provision.Parameters{Floor: 1}, Text: "everything on demand", Figures: all.judgedOn, ChosenOn: all.chosenOn,
	})
	named := tried[0].Text + ", the named types only"
	if c.narrow != nil {
		o := outcomes[len(tried)+1]
		uses[named] = o.use
		a.Candidates = append(a.Candidates, Candidate{Parameters: tried[0].Parameters, Text: named, Figures: o.judgedOn, ChosenOn: o.chosenOn})
	}
	a.choose(objective)
	a.Types = advised(c.types, c.named, c.rejected, uses[a.Chosen.Text])
	a.Floor = int(math.Ceil(a.Chosen.Parameters.Floor * float64(a.Nodes)))
	if extra := a.Chosen.Machines - float64(a.Nodes); extra > 0.02*float64(a.Nodes) {
		a.Headroom = int(math.Ceil(extra))
	}
	a.Services = services(c.platform, c.Pool, a.Replicas)
	return a
}

// choose orders the candidates and picks the first, on the days of the choice. Of
// several that come to the same it picks the one that was tried first: the grid begins
// with the plainest.
func (a *Advice) choose(objective float64) {
	for i := range a.Candidates {
		a.Candidates[i].tried = i
	}
	keeps := func(c Candidate) bool { return c.ChosenOn.Enough.Low >= objective }
	month := func(c Candidate) float64 { return c.ChosenOn.USD / c.ChosenOn.Days }
	slices.SortStableFunc(a.Candidates, func(x, y Candidate) int {
		if kx, ky := keeps(x), keeps(y); kx != ky {
			if kx {
				return -1
			}
			return 1
		} else if !kx {
			return cmp.Or(cmp.Compare(y.ChosenOn.Enough.Low, x.ChosenOn.Enough.Low), cmp.Compare(month(x), month(y)))
		}
		return cmp.Compare(month(x), month(y))
	})
	if keeps(a.Candidates[0]) {
		plainest := 0
		for i, c := range a.Candidates {
			if keeps(c) && month(c) < same*month(a.Candidates[0]) && c.tried < a.Candidates[plainest].tried {
				plainest = i
			}
		}
		c := a.Candidates[plainest]
		copy(a.Candidates[1:], a.Candidates[:plainest])
		a.Candidates[0] = c
	}
	a.Chosen = a.Candidates[0]
	a.Reached = keeps(a.Chosen) && a.Chosen.Enough.Low >= objective
	for i := range a.Candidates[1:] {
		c := &a.Candidates[i+1]
		switch {
		case !keeps(*c):
			c.Rejected = TooRarelyEnough
		case month(*c) < same*month(a.Chosen):
			c.Rejected = Same
		default:
			c.Rejected = Dearer
		}
	}
}

// Replicas is how many replicas of a service a pool needs so that as many as are
// declared remain when the spare machines are lost.
func (a *Advice) Replicas(declared int) int {
	return int(math.Ceil(float64(declared) * float64(a.Nodes+a.Headroom) / float64(a.Nodes)))
}
