package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

var (
	//go:embed page.gohtml
	pageText string
	//go:embed page.css
	pageCSS string
)

// page is what page.gohtml shows.
type page struct {
	CSS       template.CSS
	Title     string
	Passed    bool
	Headline  string
	Sentences []string
	Reasons   []string
	Facts     []fact
	Cards     []card
	Sections  []section
	Handlers  []string
	Columns   int // of the table of figures
	Figures   []figure
	Terms     []glossaryTerm
}

type fact struct{ Name, Value string }

// A card is one handler at a glance.
type card struct {
	Name, About string
	Lost        bool
	Figures     []cardFigure
}

type cardFigure struct {
	Value, Label string
	Grade        grade
}

// A section is one handler in detail.
type section struct {
	Name, About, Outcome string
	Load                 loadChart
	Latency              latencyChart
	Apps                 []appChart
	Nodes                nodesChart
	Events               []eventRow
}

type eventRow struct{ At, Kind, Node, Text string }

// Good and Bad let the template ask.
func (g grade) Good() bool { return g == good }

// Bad reports whether the figure counts against its handler.
func (g grade) Bad() bool { return g == bad }

// WriteHTML writes the report as one page that needs nothing else: no script, no
// network. The handler that the rehearsal is about comes first.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("parsing the page's template: %w", err)
	}
	var b bytes.Buffer // a page that ends in the middle is worse than none
	if err := t.Execute(&b, r.page()); err != nil {
		return fmt.Errorf("rendering the page: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

func (r *Report) page() *page {
	p := &page{
		CSS:       template.CSS(pageCSS),
		Title:     "Rehearsal of " + r.Scenario + ": " + r.Verdict,
		Passed:    r.Verdict == Pass,
		Headline:  r.headline(),
		Sentences: r.sentences(),
		Facts:     r.facts(),
		Handlers:  order(r.Handlers),
		Figures:   r.figures(),
		Terms:     glossary(),
	}
	if !p.Passed {
		p.Reasons = r.Reasons
	}
	subject := r.subject()
	p.Columns = 1 + len(p.Handlers)
	for _, name := range p.Handlers {
		h := r.Handlers[name]
		p.Cards = append(p.Cards, h.card(name))
		s := h.section(name)
		if name == subject {
			p.Sections = append([]section{s}, p.Sections...)
		} else {
			p.Sections = append(p.Sections, s)
		}
	}
	return p
}

func (r *Report) facts() []fact {
	out := []fact{
		{"Scenario", r.Scenario},
		{"Reclaims", r.reclaimsFrom()},
		{"Seed", fmt.Sprint(r.Seed)},
		{"Time scale", trimmed(r.TimeScale)},
		{"Kubernetes", r.KubernetesVersion},
		{"Started", r.Started},
		{"Took", seconds(r.DurationSeconds) + " s"},
	}
	for _, f := range r.Faults {
		out = append(out, fact{"Fault", f})
	}
	return out
}

func (h *Handler) card(name string) card {
	c := card{Name: name, About: about(name), Lost: len(h.lost()) > 0}
	c.Figures = []cardFigure{
		{count(h.Requests.Failed), "requests failed of " + count(h.Requests.Sent), gradeOf(h.Requests.Failed == 0)},
		{seconds(h.LostReadyPodSeconds), "ready-pod-seconds lost", gradeOf(h.avoidable() == 0)},
		{fmt.Sprintf("%s/%s", count(h.Nodes.EmptiedBeforeDeadline), count(h.Nodes.Interrupted)), "nodes emptied in time", gradeOf(h.Nodes.EmptiedBeforeDeadline == h.Nodes.Interrupted)},
	}
	if percent, ok := h.Cost.saving(); ok {
		c.Figures = append(c.Figures, cardFigure{fmt.Sprintf("%.0f %%", percent), "saved against on demand", plain})
	}
	return c
}

func gradeOf(ok bool) grade {
	if ok {
		return good
	}
	return bad
}

func (h *Handler) section(name string) section {
	t := &h.Timeline
	s := section{
		Name: name, About: about(name), Outcome: h.outcome(name),
		Load:    t.loadChart(name + "-load"),
		Latency: t.latencyChart(name + "-latency"),
		Nodes:   t.nodesChart(name + "-nodes"),
	}
	for i, app := range t.Apps {
		s.Apps = append(s.Apps, t.appChart(fmt.Sprintf("%s-app-%d", name, i), app))
	}
	for _, e := range t.Events {
		s.Events = append(s.Events, eventRow{moment(max(e.At, 0)), e.Kind, e.Node, e.Text})
	}
	return s
}
