package report

import (
	"fmt"
	"slices"
	"strings"
)

// An appChart shows the ready replicas of one app against its demand.
type appChart struct {
	chart
	App     string
	Slot    int // of its colour
	Ready   string
	Desired string
	Missing []bar
	Rows    []missingRow // when replicas were missing, as a table
	Worst   string
}

type missingRow struct{ From, To, Ready, Desired string }

func (t *Timeline) appChart(id string, app AppLine) appChart {
	const height, top = 52, 8
	c := appChart{chart: t.newChart(id, "Ready replicas of "+app.App+" against the number asked for", top, height), App: app.App, Slot: t.slot(app.App)}
	axis := t.axis()
	most, wanted, worst, worstOf := 1, 0, 0, 0
	for _, s := range app.Steps {
		most = max(most, s.Ready, s.Desired)
		wanted = max(wanted, s.Desired)
	}
	y := func(v int) float64 { return top + height*(1-float64(v)/(float64(most)*1.15)) }
	c.Values = []tick{{px(y(0)), "0"}, {px(y(wanted)), count(wanted)}}

	var ready, desired strings.Builder
	lost := 0.0
	for i, s := range app.Steps {
		end := t.Seconds
		if i+1 < len(app.Steps) {
			end = app.Steps[i+1].At
		}
		from := "V"
		if i == 0 {
			from = "M" + px(axis.x(s.At)) + " "
		}
		ready.WriteString(from + px(y(s.Ready)) + "H" + px(axis.x(end)))
		desired.WriteString(from + px(y(s.Desired)) + "H" + px(axis.x(end)))
		if missing := s.Desired - s.Ready; missing > 0 && end > s.At {
			lost += float64(missing) * (end - s.At)
			if missing > worst {
				worst, worstOf = missing, s.Desired
			}
			c.Missing = append(c.Missing, bar{
				px(axis.x(s.At)), px(y(s.Desired)), px(max(axis.x(end)-axis.x(s.At), 1.5)), px(y(s.Ready) - y(s.Desired)),
				fmt.Sprintf("%s: %d of %d replicas ready from %.1f s to %.1f s", app.App, s.Ready, s.Desired, s.At, end),
			})
			c.Rows = append(c.Rows, missingRow{fmt.Sprintf("%.1f s", s.At), fmt.Sprintf("%.1f s", end), count(s.Ready), count(s.Desired)})
		}
	}
	c.Ready, c.Desired = ready.String(), desired.String()
	c.Worst = "never below demand"
	if worst > 0 {
		c.Worst = fmt.Sprintf("down to %d of %d", worstOf-worst, worstOf)
	}
	c.Desc = fmt.Sprintf("%s: %s; %s ready-pod-seconds lost.", app.App, c.Worst, seconds(lost))
	return c
}

// apps returns the names of the apps, those that are measured first.
func (t *Timeline) apps() []string {
	var out []string
	for _, a := range t.Apps {
		out = append(out, a.App)
	}
	var others []string
	for _, p := range t.Pods {
		if !slices.Contains(out, p.App) && !slices.Contains(others, p.App) {
			others = append(others, p.App)
		}
	}
	slices.Sort(others)
	return append(out, others...)
}

// slots is how many colours the page has for apps.
const slots = 6

func (t *Timeline) slot(app string) int { return slices.Index(t.apps(), app) % slots }
