package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/chart"
	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
)

// plotSamples is how many moments of a run a picture of its capacity shows: one
// for about each of its pixels.
const plotSamples = 1200

// plotFormat is what a file is to hold, by its name.
func plotFormat(path string) (string, error) {
	switch f := strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), "."); f {
	case "svg", "png", "html":
		return f, nil
	}
	return "", fmt.Errorf("--plot %s: want a file that ends in .svg, .png or .html", path)
}

// writePlot draws a simulation: cost against availability as a picture, or a page
// with that, the capacity over time and the savings of each month, pool by pool.
func writePlot(path string, r *simulation, cases []plan.Case, outcomes []plan.Outcome, objective float64) error {
	format, err := plotFormat(path)
	if err != nil {
		return err
	}
	var data []byte
	if format == "html" {
		data, err = simulationPage(r, cases, outcomes, objective)
	} else {
		var d *chart.Drawing
		if d, err = chart.Frontier("All spot pools: cost and availability", frontier(r.Together), objective); err == nil {
			data, err = d.Encode(chart.Format(format))
		}
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func frontier(figures []sim.Figures) []chart.Strategy {
	var out []chart.Strategy
	for _, f := range figures {
		s := chart.Strategy{Name: f.Strategy, Cost: f.Cost.Value, Enough: f.Enough.Value}
		if f.Bound > 0 {
			s.Bound = f.Cost.Value / f.Bound
		}
		out = append(out, s)
	}
	return out
}

func simulationPage(r *simulation, cases []plan.Case, outcomes []plan.Outcome, objective float64) ([]byte, error) {
	if len(cases) == 0 || len(outcomes)%len(cases) != 0 {
		return nil, errors.New("drawing a simulation: there are not as many outcomes for each pool")
	}
	page := chart.Page{
		Title: "What spot costs, and how often it is short",
		About: fmt.Sprintf("Each strategy was played against histories of spot capacity. Cost is a share of the same machines on demand; the objective is %g %% of the time with enough machines ready.", 100*objective),
		Notes: r.Notes,
	}
	if len(r.Pools) > 1 {
		d, err := chart.Frontier("All pools together: cost and availability", frontier(r.Together), objective)
		if err != nil {
			return nil, err
		}
		page.Sections = append(page.Sections, chart.Section{Title: "All pools together", Columns: figureColumns, Rows: figureRows(r.Together), Drawings: []*chart.Drawing{d}})
	}
	perPool := len(outcomes) / len(cases)
	for i, p := range r.Pools {
		s := chart.Section{
			Title:   fmt.Sprintf("Pool %s: %d machines, %d histories, %.0f days", p.Pool, p.Machines, p.Histories, p.Figures[0].Days),
			Columns: figureColumns, Rows: figureRows(p.Figures),
		}
		d, err := chart.Frontier(p.Pool+": cost and availability", frontier(p.Figures), objective)
		if err != nil {
			return nil, err
		}
		s.Drawings = append(s.Drawings, d)
		for _, o := range outcomes[i*perPool : (i+1)*perPool] {
			if o.Strategy != shown(p.Figures) {
				continue
			}
			more, err := ofOneStrategy(o, p)
			if err != nil {
				return nil, err
			}
			s.Drawings = append(s.Drawings, more...)
		}
		page.Sections = append(page.Sections, s)
	}
	return page.HTML()
}

// shown is the strategy whose course is drawn: ours if it was played, else the
// last one.
func shown(figures []sim.Figures) string {
	for _, f := range figures {
		if f.Strategy == "evenkeel" {
			return f.Strategy
		}
	}
	return figures[len(figures)-1].Strategy
}

// ofOneStrategy draws the capacity of the first history and the savings of all.
func ofOneStrategy(o plan.Outcome, p simulatedPool) ([]*chart.Drawing, error) {
	var out []*chart.Drawing
	var moments []chart.Moment
	for _, s := range o.Result.Capacity {
		moments = append(moments, chart.Moment{Day: float64(s.At) / 86_400, Ready: int(s.Ready), Spot: int(s.Spot), OnDemand: int(s.OnDemand)})
	}
	if len(moments) > 0 {
		d, err := chart.Capacity(fmt.Sprintf("%s: capacity with %s, first history", p.Pool, o.Strategy), moments, p.Machines)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	d, err := chart.Savings(fmt.Sprintf("%s: paid and saved with %s, by 30 days", p.Pool, o.Strategy), months(o.Result.Days, p.Histories))
	if err != nil {
		return nil, err
	}
	return append(out, d), nil
}

// months adds up thirty days at a time and averages over the histories, whose days
// follow each other in a merged result.
func months(days []sim.Day, histories int) []chart.Month {
	each := len(days) / max(1, histories)
	if each == 0 {
		return nil
	}
	out := make([]chart.Month, (each+29)/30)
	for i, d := range days {
		m := &out[min(i%each/30, len(out)-1)]
		m.Cost += d.Cost.Dollars() / float64(histories)
		m.OnDemand += d.OnDemand.Dollars() / float64(histories)
	}
	return out
}

var figureColumns = []string{"strategy", "cost %", "to bound", "enough %", "95 % of histories", "worst day %", "longest short", "reclaims/day", "moves"}

func figureRows(figures []sim.Figures) [][]string {
	var out [][]string
	for _, f := range figures {
		out = append(out, []string{
			f.Strategy, fmt.Sprintf("%.1f", 100*f.Cost.Value), fmt.Sprintf("%.3f", f.Bound), fmt.Sprintf("%.3f", 100*f.Enough.Value),
			fmt.Sprintf("%.3f-%.3f", 100*f.Enough.Low, 100*f.Enough.High), fmt.Sprintf("%.1f", 100*f.WorstDay),
			(time.Duration(f.Longest) * time.Second).String(), fmt.Sprintf("%.4f", f.Reclaims), fmt.Sprint(f.Moves),
		})
	}
	return out
}
