// Package chart draws what simulations came to: SVG and PNG pictures, and a page
// that holds them all. It knows points, steps and bars, and nothing of what they
// mean elsewhere; the same data gives the same bytes.
package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a picture.
const (
	width  = 20 * vg.Centimeter
	height = 11 * vg.Centimeter
)

// Format is a kind of picture.
type Format string

// The kinds of pictures.
const (
	SVG Format = "svg"
	PNG Format = "png"
)

// Colours that also people tell apart who see few of them (Okabe and Ito).
var (
	blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	orange = color.RGBA{0xe6, 0x9f, 0x00, 0xff}
	green  = color.RGBA{0x00, 0x9e, 0x73, 0xff}
	red    = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	grey   = color.RGBA{0x99, 0x99, 0x99, 0xff}
)

// Drawing is a picture that is not drawn yet.
type Drawing struct {
	Title string
	plot  *plot.Plot
}

// Encode draws the picture.
func (d *Drawing) Encode(f Format) ([]byte, error) {
	var out bytes.Buffer
	switch f {
	case SVG:
		c := vgsvg.New(width, height)
		d.plot.Draw(draw.New(c))
		if _, err := c.WriteTo(&out); err != nil {
			return nil, fmt.Errorf("drawing %s: %w", d.Title, err)
		}
	case PNG:
		c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(144))}
		d.plot.Draw(draw.New(c))
		if _, err := c.WriteTo(&out); err != nil {
			return nil, fmt.Errorf("drawing %s: %w", d.Title, err)
		}
	default:
		return nil, fmt.Errorf("drawing %s: there is no format %q", d.Title, f)
	}
	return out.Bytes(), nil
}

func newDrawing(title, x, y string) *Drawing {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	p.Legend.Top = true
	for _, s := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.Legend.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label,
	} {
		s.Font.Variant = "Sans"
	}
	p.Add(plotter.NewGrid())
	return &Drawing{Title: title, plot: p}
}

// A Strategy is one way to buy machines, as a point of the frontier.
type Strategy struct {
	Name string
	// Cost and Bound are shares of all on demand: what it cost, and what it would
	// have cost somebody who knows the future.
	Cost, Bound float64
	Enough      float64 // share of time with enough machines ready
}

// leastMissing is where the axis of missing time ends: a strategy that was never
// short is drawn there.
const leastMissing = 1e-6

// Frontier draws cost against the share of time without enough machines, which
// has a logarithmic axis: down and to the left is better. Strategies on the
// frontier, which no other beats in both, are filled and joined; a line stands at
// the bound and one at the objective.
func Frontier(title string, all []Strategy, objective float64) (*Drawing, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("drawing %s: no strategies", title)
	}
	d := newDrawing(title, "cost, % of all on demand", "time without enough machines, %")
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b Strategy) int {
		switch {
		case a.Cost != b.Cost:
			return int(math.Copysign(1, a.Cost-b.Cost))
		case a.Enough != b.Enough:
			return int(math.Copysign(1, b.Enough-a.Enough))
		}
		return strings.Compare(a.Name, b.Name)
	})
	var best, others, labels plotter.XYs
	var names []string
	bound, most, top := math.Inf(1), 0.0, 1-objective
	enough := -1.0
	for _, s := range sorted {
		if !(s.Cost >= 0 && s.Cost < 1000) || !(s.Enough >= 0 && s.Enough <= 1) {
			return nil, fmt.Errorf("drawing %s: %s costs %v and has enough %v of the time", title, s.Name, s.Cost, s.Enough)
		}
		at := plotter.XY{X: 100 * s.Cost, Y: 100 * max(leastMissing, 1-s.Enough)}
		if s.Enough > enough {
			best, enough = append(best, at), s.Enough
		} else {
			others = append(others, at)
		}
		labels, names = append(labels, at), append(names, " "+s.Name)
		if s.Bound > 0 {
			bound = min(bound, s.Bound)
		}
		most, top = max(most, s.Cost), max(top, 1-s.Enough)
	}

	d.plot.Y.Scale, d.plot.Y.Tick.Marker = plot.LogScale{}, decades{}
	d.plot.Y.Min, d.plot.Y.Max = 100*leastMissing/2, 100*min(1, max(top*2, 1e-3))
	d.plot.X.Min, d.plot.X.Max = 0, 100*most*1.15

	line, err := plotter.NewLine(best)
	if err != nil {
		return nil, fmt.Errorf("drawing %s: %w", title, err)
	}
	line.Color, line.Width = blue, vg.Points(1)
	d.plot.Add(line)
	for _, set := range []struct {
		points plotter.XYs
		glyph  draw.GlyphDrawer
		color  color.Color
	}{{best, draw.CircleGlyph{}, blue}, {others, draw.RingGlyph{}, grey}} {
		if len(set.points) == 0 {
			continue
		}
		scatter, err := plotter.NewScatter(set.points)
		if err != nil {
			return nil, fmt.Errorf("drawing %s: %w", title, err)
		}
		scatter.Shape, scatter.Color, scatter.Radius = set.glyph, set.color, vg.Points(3)
		d.plot.Add(scatter)
	}
	if err := d.label(labels, names); err != nil {
		return nil, err
	}
	rule := func(name string, c color.Color, from, to plotter.XY) {
		l, _ := plotter.NewLine(plotter.XYs{from, to}) // two finite points cannot fail
		l.Color, l.Width, l.Dashes = c, vg.Points(1), []vg.Length{vg.Points(4), vg.Points(3)}
		d.plot.Add(l)
		d.plot.Legend.Add(name, l)
	}
	d.plot.Legend.Add("on the frontier", line)
	if !math.IsInf(bound, 1) {
		rule("bound: the future known", green, plotter.XY{X: 100 * bound, Y: d.plot.Y.Min}, plotter.XY{X: 100 * bound, Y: d.plot.Y.Max})
	}
	if missing := 100 * (1 - objective); missing > d.plot.Y.Min {
		rule("objective", red, plotter.XY{X: d.plot.X.Min, Y: missing}, plotter.XY{X: d.plot.X.Max, Y: missing})
	}
	return d, nil
}

// label writes names beside points, the higher the more names are in the way. The
// sizes of axes and letters are estimates: a name may touch another, not hide it.
func (d *Drawing) label(at plotter.XYs, names []string) error {
	const lineHeight, letter = 11, 6 // points
	type box struct{ x, y, width float64 }
	var placed []box
	for i, p := range at {
		b := box{
			x:     (p.X - d.plot.X.Min) / (d.plot.X.Max - d.plot.X.Min) * float64(width) * 0.9,
			y:     math.Log(p.Y/d.plot.Y.Min) / math.Log(d.plot.Y.Max/d.plot.Y.Min) * float64(height) * 0.6,
			width: float64(letter * len(names[i])),
		}
		offset := 0.0
		for slices.ContainsFunc(placed, func(o box) bool {
			return math.Abs(o.y-b.y-offset) < lineHeight && b.x < o.x+o.width && o.x < b.x+b.width
		}) {
			offset += lineHeight
		}
		b.y += offset
		placed = append(placed, b)
		text, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{p}, Labels: names[i : i+1]})
		if err != nil {
			return fmt.Errorf("drawing %s: %w", d.Title, err)
		}
		text.Offset = vg.Point{Y: vg.Points(offset)}
		text.TextStyle[0].Font.Variant, text.TextStyle[0].Font.Size = "Sans", vg.Points(9)
		d.plot.Add(text)
	}
	return nil
}

// decades marks powers of ten, in percent.
type decades struct{}

func (decades) Ticks(least, most float64) []plot.Tick {
	var out []plot.Tick
	for e := math.Floor(math.Log10(least)); e <= math.Ceil(math.Log10(most)); e++ {
		if v := math.Pow(10, e); v >= least && v <= most {
			out = append(out, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
		}
	}
	return out
}

// A Moment is how many machines there were from a time on.
type Moment struct {
	Day                   float64
	Ready, Spot, OnDemand int
}

// Capacity draws how many machines there were over time, and how many were
// wanted.
func Capacity(title string, moments []Moment, wanted int) (*Drawing, error) {
	if len(moments) == 0 {
		return nil, fmt.Errorf("drawing %s: no moments", title)
	}
	d := newDrawing(title, "days", "machines")
	most := float64(wanted)
	for _, s := range []struct {
		name  string
		color color.Color
		of    func(Moment) int
	}{
		{"spot", orange, func(m Moment) int { return m.Spot }},
		{"on demand", grey, func(m Moment) int { return m.OnDemand }},
		{"ready", blue, func(m Moment) int { return m.Ready }},
	} {
		points := make(plotter.XYs, len(moments))
		for i, m := range moments {
			points[i] = plotter.XY{X: m.Day, Y: float64(s.of(m))}
			most = max(most, points[i].Y)
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("drawing %s: %w", title, err)
		}
		line.StepStyle, line.Color, line.Width = plotter.PostStep, s.color, vg.Points(1)
		d.plot.Add(line)
		d.plot.Legend.Add(s.name, line)
	}
	want, err := plotter.NewLine(plotter.XYs{{X: moments[0].Day, Y: float64(wanted)}, {X: moments[len(moments)-1].Day, Y: float64(wanted)}})
	if err != nil {
		return nil, fmt.Errorf("drawing %s: %w", title, err)
	}
	want.Color, want.Dashes = red, []vg.Length{vg.Points(4), vg.Points(3)}
	d.plot.Add(want)
	d.plot.Legend.Add("wanted", want)
	d.plot.Y.Min, d.plot.Y.Max = 0, most*1.2+1
	return d, nil
}

// A Month is what machines cost in a month, and what they would have on demand.
type Month struct{ Cost, OnDemand float64 }

// Savings draws what was paid and what was saved, month by month: together they
// are what all on demand would have cost. A month that cost more saved nothing.
func Savings(title string, months []Month) (*Drawing, error) {
	if len(months) == 0 {
		return nil, fmt.Errorf("drawing %s: no months", title)
	}
	d := newDrawing(title, "month", "USD")
	var paid, saved plotter.Values
	var names []string
	for i, m := range months {
		paid, saved = append(paid, m.Cost), append(saved, max(0, m.OnDemand-m.Cost))
		names = append(names, fmt.Sprint(i+1))
	}
	barWidth := width / vg.Length(2*len(months)+2)
	below, err := plotter.NewBarChart(paid, barWidth)
	if err != nil {
		return nil, fmt.Errorf("drawing %s: %w", title, err)
	}
	above, err := plotter.NewBarChart(saved, barWidth)
	if err != nil {
		return nil, fmt.Errorf("drawing %s: %w", title, err)
	}
	below.Color, above.Color = grey, green
	below.LineStyle.Width, above.LineStyle.Width = 0, 0
	above.StackOn(below)
	d.plot.Add(below, above)
	d.plot.Legend.Add("paid", below)
	d.plot.Legend.Add("saved", above)
	d.plot.NominalX(names...)
	d.plot.Y.Min = 0
	d.plot.Y.Max *= 1.2
	return d, nil
}
