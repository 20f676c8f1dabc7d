package report

import (
	"fmt"
	"strings"
)

// A loadChart shows requests a second, and below it how long they took.
type loadChart struct {
	chart
	Sent   string // path of the area
	Failed []bar
	Rows   []loadRow // the same as a table
}

type bar struct{ X, Y, Width, Height, Title string }

type loadRow struct {
	From, To, Sent, Failed, P99 string
	Bad                         bool
}

func (t *Timeline) loadChart(id string) loadChart {
	const height = 120
	top := float64(6 + 13*lanes(t.reclaims()))
	c := loadChart{chart: t.newChart(id, "Requests sent and failed, each second", top, height)}
	axis := t.axis()
	most, sent, failed := 0, 0, 0
	for _, b := range t.Load {
		most = max(most, b.Sent)
		sent += b.Sent
		failed += b.Failed
	}
	scale := niceMax(float64(most))
	y := func(v float64) float64 { return top + height*(1-v/scale) }
	for _, v := range []float64{0, scale / 2, scale} {
		c.Values = append(c.Values, tick{px(y(v)), trimmed(v) + "/s"})
	}

	var path strings.Builder
	for i, b := range t.Load {
		if i == 0 {
			fmt.Fprintf(&path, "M%s %s", px(axis.x(b.At)), px(y(0)))
		}
		fmt.Fprintf(&path, "V%sH%s", px(y(float64(b.Sent))), px(axis.x(b.At+1)))
		if b.Failed > 0 {
			tall := max(height*float64(b.Failed)/scale, 4) // one failure in thousands must be seen
			c.Failed = append(c.Failed, bar{
				px(axis.x(b.At)), px(top + height - tall), px(max(axis.x(b.At+1)-axis.x(b.At), 2)), px(tall),
				fmt.Sprintf("at %.0f s: %s of %s requests failed", b.At, count(b.Failed), count(b.Sent)),
			})
		}
	}
	if path.Len() > 0 {
		fmt.Fprintf(&path, "V%sZ", px(y(0)))
	}
	c.Sent = path.String()
	c.Desc = fmt.Sprintf("%s requests were sent over %.0f seconds, up to %s in one of them; %s failed, in %s.",
		count(sent), t.Seconds, count(most), count(failed), plural(len(c.Failed), "second"))
	c.Rows = t.loadRows()
	return c
}

// loadRows sums the load up over stretches of ten seconds.
func (t *Timeline) loadRows() []loadRow {
	const stretch = 10
	var rows []loadRow
	for i := 0; i < len(t.Load); {
		from := float64(int(t.Load[i].At) / stretch * stretch)
		sent, failed, p99 := 0, 0, 0.0
		for ; i < len(t.Load) && t.Load[i].At < from+stretch; i++ {
			sent += t.Load[i].Sent
			failed += t.Load[i].Failed
			p99 = max(p99, t.Load[i].P99Ms)
		}
		rows = append(rows, loadRow{
			fmt.Sprintf("%.0f s", from), fmt.Sprintf("%.0f s", from+stretch),
			count(sent), count(failed), fmt.Sprintf("%.0f", p99), failed > 0,
		})
	}
	return rows
}

// A latencyChart shows the 99th percentile of each second.
type latencyChart struct {
	chart
	Line string
}

func (t *Timeline) latencyChart(id string) latencyChart {
	const height, top = 56, 8
	c := latencyChart{chart: t.newChart(id, "Latency of requests: 99th percentile of each second", top, height)}
	axis := t.axis()
	most := 0.0
	for _, b := range t.Load {
		most = max(most, b.P99Ms)
	}
	scale := niceMax(most)
	for _, v := range []float64{0, scale} {
		c.Values = append(c.Values, tick{px(top + height*(1-v/scale)), trimmed(v) + " ms"})
	}
	var line strings.Builder
	for i, b := range t.Load {
		cmd := "L"
		if i == 0 {
			cmd = "M"
		}
		fmt.Fprintf(&line, "%s%s %s", cmd, px(axis.x(b.At+0.5)), px(top+height*(1-b.P99Ms/scale)))
	}
	c.Line = line.String()
	c.Desc = fmt.Sprintf("The slowest second had a 99th percentile of %.0f milliseconds.", most)
	return c
}
