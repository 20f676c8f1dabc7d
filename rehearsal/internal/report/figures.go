package report

import (
	"fmt"
	"slices"
)

// A grade says how a figure is to be read.
type grade int

const (
	plain grade = iota
	good
	bad
)

// A figure is one row of the table of figures, which the terminal and the page
// share: the same names, the same rounding, the same judgement.
type figure struct {
	Group string // set on the first row of a group
	Label string
	Sub   bool // part of the row above
	Term  string
	Cells []cell // one per handler, in order
}

type cell struct {
	Text  string
	Grade grade
}

// figures returns the table's rows for the handlers in order.
func (r *Report) figures() []figure {
	names := order(r.Handlers)
	var rows []figure
	group := ""
	row := func(label string, value func(h *Handler) cell) *figure {
		f := figure{Group: group, Label: label}
		group = ""
		for _, name := range names {
			f.Cells = append(f.Cells, value(r.Handlers[name]))
		}
		rows = append(rows, f)
		return &rows[len(rows)-1]
	}

	group = "Requests"
	row("sent", func(h *Handler) cell { return cell{Text: count(h.Requests.Sent)} })
	row("failed", func(h *Handler) cell { return zeroIsGood(h.Requests.Failed) }).Term = "failed"
	for _, cause := range r.allCauses() {
		row(cause, func(h *Handler) cell { return cell{Text: blankZero(h.Requests.FailedByCause[cause])} }).Sub = true
	}
	row("done twice", func(h *Handler) cell { return zeroIsGood(h.Requests.Doubled) }).Term = "doubled"
	row("latency, ms p50/p99", func(h *Handler) cell {
		q := h.Requests.LatencyMillis
		if q.Count == 0 {
			return cell{Text: "-"}
		}
		return cell{Text: fmt.Sprintf("%.0f/%.0f", q.P50, q.P99)}
	})

	group = "Nodes"
	row("interrupted", func(h *Handler) cell {
		return cell{Text: fmt.Sprintf("%s of %s", count(h.Nodes.Interrupted), count(h.Nodes.Total))}
	})
	row("emptied before the deadline", func(h *Handler) cell {
		return graded(count(h.Nodes.EmptiedBeforeDeadline), h.Nodes.EmptiedBeforeDeadline == h.Nodes.Interrupted)
	}).Term = "emptied"
	row("cordoned after, s p50/p99/max", func(h *Handler) cell { return quantiles(h.NoticeToCordonSeconds) }).Term = "cordon"
	row("emptied after, s p50/p99/max", func(h *Handler) cell { return quantiles(h.NoticeToEmptySeconds) })

	group = "Capacity"
	row("lost ready-pod-seconds", func(h *Handler) cell {
		return graded(seconds(h.LostReadyPodSeconds), h.avoidable() == 0)
	}).Term = "lost"
	if slices.ContainsFunc(names, func(n string) bool { return r.Handlers[n].InherentLostSeconds > 0 }) {
		f := row("of StatefulSets, unavoidable", func(h *Handler) cell { return cell{Text: seconds(h.InherentLostSeconds)} })
		f.Sub, f.Term = true, "inherent"
	}
	row("lowest share of replicas ready", func(h *Handler) cell {
		return graded(fmt.Sprintf("%.0f %%", 100*h.MinReadyRatio), h.MinReadyRatio >= 1 || h.avoidable() == 0)
	})
	row("disruption budgets violated", func(h *Handler) cell { return zeroIsGood(h.PDBViolations) }).Term = "pdb"
	row("handoffs", func(h *Handler) cell { return cell{Text: count(h.Handoffs)} }).Term = "handoff"
	row("escalations", func(h *Handler) cell { return cell{Text: count(h.Escalations)} }).Term = "escalation"
	if slices.ContainsFunc(names, func(n string) bool { return r.Handlers[n].ControllerRestarts > 0 }) {
		row("controller restarts", func(h *Handler) cell { return cell{Text: count(h.ControllerRestarts)} })
	}

	if slices.ContainsFunc(names, func(n string) bool { return r.Handlers[n].Jobs.Units > 0 }) {
		group = "Jobs"
		row("units done", func(h *Handler) cell {
			return graded(fmt.Sprintf("%s of %s", count(h.Jobs.Done), count(h.Jobs.Units)), h.Jobs.Done == h.Jobs.Units)
		}).Term = "unit"
		row("done twice", func(h *Handler) cell { return zeroIsGood(h.Jobs.Doubled) }).Term = "unit"
		row("pods left to finish", func(h *Handler) cell { return cell{Text: count(h.Jobs.LeftToFinish)} }).Term = "unit"
		row("pods begun again", func(h *Handler) cell { return cell{Text: count(h.Jobs.BegunAgain)} }).Term = "unit"
	}

	group = "Cost, USD"
	row("paid", func(h *Handler) cell { return cell{Text: fmt.Sprintf("%.4f", h.Cost.Spot)} }).Term = "cost"
	row("all on demand", func(h *Handler) cell { return cell{Text: fmt.Sprintf("%.4f", h.Cost.OnDemand)} })
	row("saved", func(h *Handler) cell {
		percent, ok := h.Cost.saving()
		if !ok {
			return cell{Text: "-"}
		}
		return cell{Text: fmt.Sprintf("%.0f %%", percent)}
	})
	return rows
}

// allCauses returns every cause that any handler has, the most frequent first.
func (r *Report) allCauses() []string {
	sum := map[string]int{}
	for _, h := range r.Handlers {
		for cause, n := range h.Requests.FailedByCause {
			sum[cause] += n
		}
	}
	return causesInOrder(sum)
}

func graded(text string, ok bool) cell {
	if ok {
		return cell{text, good}
	}
	return cell{text, bad}
}

func zeroIsGood(n int) cell { return graded(count(n), n == 0) }

func blankZero(n int) string {
	if n == 0 {
		return "-"
	}
	return count(n)
}

// quantiles writes p50/p99/max, or a dash if there is nothing to rank.
func quantiles(q Quantiles) cell {
	if q.Count == 0 {
		return cell{Text: "-"}
	}
	return cell{Text: fmt.Sprintf("%s/%s/%s", short(q.P50), short(q.P99), short(q.Max))}
}

// short writes seconds in at most four characters below a thousand, so that
// three of them fit a column.
func short(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
