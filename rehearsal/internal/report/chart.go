package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// All charts of a handler share one time axis, so that what is above one another
// on the page happened at the same moment. Positions are in the units of the
// SVGs' viewBox.
const (
	chartWidth = 960
	plotLeft   = 132 // room for names and scales
	plotRight  = chartWidth - 22
)

// px writes a position. One digit after the point is finer than any screen.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// A timeAxis maps seconds of the rehearsal to positions.
type timeAxis struct{ seconds float64 }

func (a timeAxis) x(at float64) float64 {
	return plotLeft + (plotRight-plotLeft)*min(max(at, 0), a.seconds)/a.seconds
}

// A chart is what all charts have: a size, the time axis, and the notices behind.
type chart struct {
	ID            string // unique on the page
	Title, Desc   string // for those who cannot see it
	Width, Height int
	Left, Right   int
	Top, Bottom   string // of the plot
	TextY         string // baseline of the time axis's labels
	Times         []tick
	Values        []tick // of the vertical axis
	Bands         []band
}

type tick struct{ At, Label string }

// A band is the time of a notice, from its arrival until the machines go.
type band struct{ X, Width, Mid, LabelY, Label, Title string }

const axisHeight = 23

// newChart lays out a chart whose plot has a height.
func (t *Timeline) newChart(id, title string, top, height float64) chart {
	axis := t.axis()
	c := chart{
		ID: id, Title: title,
		Width: chartWidth, Height: int(top + height + axisHeight), Left: plotLeft, Right: plotRight,
		Top: px(top), Bottom: px(top + height), TextY: px(top + height + 16),
	}
	step := timeStep(axis.seconds)
	for at := 0.0; at <= axis.seconds; at += step {
		c.Times = append(c.Times, tick{px(axis.x(at)), fmt.Sprintf("%.0f s", at)})
	}
	for _, r := range t.reclaims() {
		c.Bands = append(c.Bands, band{
			X: px(axis.x(r.from)), Width: px(axis.x(r.to) - axis.x(r.from)),
			Mid: px((axis.x(r.from) + axis.x(r.to)) / 2), LabelY: px(float64(12 + 13*r.lane)),
			Label: r.zone + ": " + plural(r.nodes, "node"),
			Title: fmt.Sprintf("%s: notice for %s at %.1f s, gone at %.1f s", r.zone, plural(r.nodes, "node"), r.from, r.to),
		})
	}
	return c
}

func (t *Timeline) axis() timeAxis { return timeAxis{max(t.Seconds, 1)} }

// timeStep is the time between two labels: at most twelve of them.
func timeStep(total float64) float64 {
	for _, step := range []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600} {
		if total/step <= 12 {
			return step
		}
	}
	return math.Ceil(total/12/3600) * 3600
}

// niceMax rounds up to a number that halves well.
func niceMax(v float64) float64 {
	if !(v > 0) {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10} {
		if m*unit >= v {
			return m * unit
		}
	}
	return 10 * unit
}

// A reclaim is the nodes of one zone that got notice together.
type reclaim struct {
	zone     string
	from, to float64
	nodes    int
	lane     int // of its label: labels of reclaims at one time go below one another
}

// together is how far apart, in seconds, notices of one reclaim may arrive.
const together = 3

func (t *Timeline) reclaims() []reclaim {
	nodes := slices.Clone(t.Nodes)
	slices.SortStableFunc(nodes, func(a, b NodeBar) int {
		return cmp.Or(strings.Compare(a.Zone, b.Zone), cmp.Compare(a.Noticed, b.Noticed))
	})
	var out []reclaim
	for _, n := range nodes {
		if n.Noticed < 0 {
			continue
		}
		to := n.Gone
		if to < 0 {
			to = min(n.Noticed+t.NoticeLead, t.Seconds)
		}
		if last := len(out) - 1; last >= 0 && out[last].zone == n.Zone && n.Noticed-out[last].from <= together {
			out[last].nodes++
			out[last].to = max(out[last].to, to)
			continue
		}
		out = append(out, reclaim{zone: n.Zone, from: n.Noticed, to: to, nodes: 1})
	}
	slices.SortStableFunc(out, func(a, b reclaim) int { return cmp.Compare(a.from, b.from) })
	for i := range out {
		for slices.ContainsFunc(out[:i], func(r reclaim) bool { return r.lane == out[i].lane && r.to > out[i].from }) {
			out[i].lane++
		}
	}
	return out
}

// lanes is how many rows the labels of reclaims need.
func lanes(reclaims []reclaim) int {
	n := 1
	for _, r := range reclaims {
		n = max(n, r.lane+1)
	}
	return n
}
