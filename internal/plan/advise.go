package plan

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
)

// Candidate is one way to run a pool with this project's policy.
type Candidate struct {
	Parameters provision.Parameters
	Text       string // what it is, for a person
	sim.Figures
	Rejected Reason
}

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
	Pool       string
	Nodes      int // wanted
	Types      []string
	Headroom   int // machines to keep ready beyond those
	Floor      int // machines that are always on demand
	Chosen     Candidate
	Reached    bool // the objective is kept, also at the low end of the interval
	OnDemand   sim.Figures
	Candidates []Candidate // all, the advice first, then by cost
	Notes      []string
}

// grid are the ways that are tried.
func grid() []Candidate {
	var out []Candidate
	for _, h := range []struct {
		mode provision.Headroom
		text string
	}{
		{provision.HeadroomAuto, "spare machines as the error budget asks"},
		{provision.HeadroomNever, "no spare machines"},
		{provision.HeadroomAlways, "always spare machines"},
	} {
		for _, share := range []float64{0.34, 0.5, 1} {
			for _, floor := range []float64{0, 0.25, 0.5} {
				out = append(out, Candidate{
					Parameters: provision.Parameters{Headroom: h.mode, MaxShare: share, Floor: floor},
					Text:       fmt.Sprintf("%s, at most %.0f %% in one pool, %.0f %% on demand", h.text, 100*share, 100*floor),
				})
			}
		}
	}
	return out
}

// Advise tries many ways to run each pool and picks the cheapest whose share of
// time with enough machines is at least the objective at the low end of its
// interval. Where none is, it picks the one that comes nearest, and says so.
func Advise(ctx context.Context, cases []Case, o Options) ([]Advice, error) {
	o = o.withDefaults()
	tried := grid()
	var ways []way
	for i := range cases {
		for _, c := range tried {
			ways = append(ways, way{&cases[i], c.Text, func(uint64) provision.Policy { return provision.NewEvenkeel(c.Parameters) }})
		}
		ways = append(ways, way{&cases[i], "on-demand", provision.Strategies[0].New})
	}
	outcomes, err := play(ctx, ways, o)
	if err != nil {
		return nil, err
	}
	var out []Advice
	for i := range cases {
		own := outcomes[i*(len(tried)+1) : (i+1)*(len(tried)+1)]
		a := Advice{Pool: cases[i].Pool, Nodes: cases[i].Nodes, Types: cases[i].types, Notes: cases[i].Notes, OnDemand: own[len(tried)].Figures}
		for j, c := range tried {
			c.Figures = own[j].Figures
			a.Candidates = append(a.Candidates, c)
		}
		a.Candidates = append(a.Candidates, Candidate{
			Parameters: provision.Parameters{Floor: 1}, Text: "everything on demand", Figures: a.OnDemand,
		})
		a.choose(o.Objective)
		a.Floor = int(math.Ceil(a.Chosen.Parameters.Floor * float64(a.Nodes)))
		if extra := a.Chosen.Machines - float64(a.Nodes); extra > 0.02*float64(a.Nodes) {
			a.Headroom = int(math.Ceil(extra))
		}
		out = append(out, a)
	}
	return out, nil
}

// choose orders the candidates and picks the first.
func (a *Advice) choose(objective float64) {
	keeps := func(c Candidate) bool { return c.Enough.Low >= objective }
	slices.SortStableFunc(a.Candidates, func(x, y Candidate) int {
		if kx, ky := keeps(x), keeps(y); kx != ky {
			if kx {
				return -1
			}
			return 1
		} else if !kx {
			return cmp.Or(cmp.Compare(y.Enough.Low, x.Enough.Low), cmp.Compare(x.USD, y.USD))
		}
		return cmp.Compare(x.USD, y.USD)
	})
	a.Chosen, a.Reached = a.Candidates[0], keeps(a.Candidates[0])
	for i := range a.Candidates[1:] {
		c := &a.Candidates[i+1]
		switch {
		case !keeps(*c):
			c.Rejected = TooRarelyEnough
		case c.USD < 1.0005*a.Chosen.USD:
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
