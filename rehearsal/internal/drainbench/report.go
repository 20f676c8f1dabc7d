package drainbench

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Report is what a run found.
type Report struct {
	KubernetesVersion string     `json:"kubernetesVersion"`
	Started           string     `json:"started"`
	Seconds           float64    `json:"seconds"`
	Seed              uint64     `json:"seed"`
	Cases             []Measured `json:"cases"`
}

// Bar is a figure that must be reached.
type Bar struct {
	Name string
	// Limit is the largest value that passes, in Unit.
	Limit float64
	Unit  string
	Value func(*Measured) float64
}

// Judged is a bar and what was measured.
type Judged struct {
	Name  string  `json:"name"`
	Limit float64 `json:"limit"`
	Unit  string  `json:"unit,omitempty"`
	Value float64 `json:"value"`
	Pass  bool    `json:"pass"`
}

func judge(bars []Bar, m *Measured) []Judged {
	var out []Judged
	for _, b := range bars {
		v := b.Value(m)
		out = append(out, Judged{b.Name, b.Limit, b.Unit, v, v <= b.Limit})
	}
	return out
}

// Pass reports whether every bar was reached.
func (r *Report) Pass() bool {
	for _, c := range r.Cases {
		if c.Error != "" {
			return false
		}
		for _, b := range c.Bars {
			if !b.Pass {
				return false
			}
		}
	}
	return true
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tNODES\tPODS\tCORDON p50/p99/max\tEMPTY p50/p99/max\tLOST pod-s\tRSS MiB\tCPU s\tWHOLE s\t")
	for _, c := range r.Cases {
		rss, cpu := "-", "-"
		if c.PeakRSSMiB > 0 {
			rss, cpu = fmt.Sprintf("%.1f", c.PeakRSSMiB), fmt.Sprintf("%.2f", c.CPUSeconds)
		}
		fmt.Fprintf(t, "%s\t%d of %d\t%d\t%.2f / %.2f / %.2f s\t%.1f / %.1f / %.1f s\t%.1f\t%s\t%s\t%.1f\t\n",
			c.Case, c.Reclaimed, c.Nodes, c.Pods, c.ToCordon.P50, c.ToCordon.P99, c.ToCordon.Max,
			c.ToEmpty.P50, c.ToEmpty.P99, c.ToEmpty.Max, c.LostReadyPodSeconds, rss, cpu, c.WholeSeconds)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range r.Cases {
		if c.Error != "" {
			fmt.Fprintf(w, "\n%s\n  FAIL  not measured: %s\n", c.Title, c.Error)
			continue
		}
		if len(c.Bars) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", c.Title)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, b := range c.Bars {
			word := "pass"
			if !b.Pass {
				word = "FAIL"
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t(at most %s)\n", word, b.Name, number(b.Value, b.Unit), number(b.Limit, b.Unit))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	verdict := "pass"
	if !r.Pass() {
		verdict = "FAIL"
	}
	_, err := fmt.Fprintf(w, "\n%s: Kubernetes %s, seed %d, %.0f s\n", verdict, r.KubernetesVersion, r.Seed, r.Seconds)
	return err
}

func number(v float64, unit string) string {
	s := fmt.Sprintf("%.3g", v)
	if v >= 100 {
		s = fmt.Sprintf("%.0f", v)
	}
	if unit != "" {
		s += " " + unit
	}
	return s
}
