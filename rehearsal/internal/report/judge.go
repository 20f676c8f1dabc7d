package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The verdicts.
const (
	Pass = "pass"
	Fail = "fail"
)

// The handlers that a rehearsal can run, in the order in which they are shown:
// from the least that can be done to the most.
const (
	None     = "none"     // machines just go
	Drain    = "drain"    // cordon and evict at once
	Evenkeel = "evenkeel" // replace each pod first
)

// Judge says whether the rehearsal passed, and gives one sentence for each thing
// that went wrong. If evenkeel was run it alone counts, the others are there to
// compare; otherwise every handler that was run counts.
//
// The bar is the same for all and has no thresholds: nothing may be lost but what
// no handler can keep (Handler.InherentLostSeconds). That nothing happened is no pass either: there must have been requests, and nodes
// that were interrupted.
func Judge(handlers map[string]*Handler) (verdict string, reasons []string) {
	counted := handlers
	if h, ok := handlers[Evenkeel]; ok {
		counted = map[string]*Handler{Evenkeel: h}
	}
	for _, name := range order(counted) {
		for _, reason := range counted[name].lost() {
			reasons = append(reasons, under(name)+", "+reason+".")
		}
	}
	if len(counted) == 0 {
		reasons = []string{"No handler was run."}
	}
	if len(reasons) > 0 {
		return Fail, reasons
	}
	return Pass, nil
}

// lost lists what a handler lost, each as the rest of a sentence.
func (h *Handler) lost() []string {
	var out []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	r, n := &h.Requests, &h.Nodes
	add(r.Sent <= 0, "no request was sent, so that none could be lost")
	add(n.Interrupted <= 0, "no node was interrupted, so that nothing was rehearsed")
	add(r.Failed != 0, "%s of %s requests failed%s", count(r.Failed), count(r.Sent), causes(r.FailedByCause))
	add(r.Doubled != 0, "%s %s done twice", plural(r.Doubled, "request"), wasWere(r.Doubled))
	// Not >: a value that is not a number is no proof of anything.
	add(!(h.avoidable() == 0), "%s ready-pod-seconds were lost: ready replicas fell below what was asked for", seconds(h.avoidable()))
	add(n.EmptiedBeforeDeadline != n.Interrupted, "%s of %s interrupted nodes still had pods when their machine went", count(n.Interrupted-n.EmptiedBeforeDeadline), count(n.Interrupted))
	add(h.PDBViolations != 0, "a disruption budget was violated %s", times(h.PDBViolations))
	add(h.Jobs.Done != h.Jobs.Units, "%s of %s units of Jobs were not done", count(h.Jobs.Units-h.Jobs.Done), count(h.Jobs.Units))
	add(h.Jobs.Doubled != 0, "%s of Jobs %s done twice", plural(h.Jobs.Doubled, "unit"), wasWere(h.Jobs.Doubled))
	return out
}

// avoidable is the capacity, in ready-pod-seconds, that was lost and need not have
// been. Both sums are rounded to milliseconds; less than half of one is what
// subtracting them leaves.
func (h *Handler) avoidable() float64 {
	if d := h.LostReadyPodSeconds - h.InherentLostSeconds; !(d < 0.0005) {
		return d
	}
	return 0
}

// order returns the names of handlers in the order in which they are shown.
func order(handlers map[string]*Handler) []string {
	known := []string{None, Drain, Evenkeel}
	names := slices.Sorted(maps.Keys(handlers))
	slices.SortStableFunc(names, func(a, b string) int { return slices.Index(known, a) - slices.Index(known, b) })
	return names
}

// causes lists causes of failure, the most frequent first.
func causes(by map[string]int) string {
	var parts []string
	for _, c := range causesInOrder(by) {
		parts = append(parts, c+" "+count(by[c]))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func causesInOrder(by map[string]int) []string {
	names := slices.Sorted(maps.Keys(by))
	slices.SortStableFunc(names, func(a, b string) int { return by[b] - by[a] })
	return slices.DeleteFunc(names, func(c string) bool { return by[c] == 0 })
}

// count writes a number with commas between thousands.
func count(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

func wasWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return count(n) + " times"
}

// seconds writes a duration with as many digits as tell something.
func seconds(v float64) string {
	switch {
	case v == math.Trunc(v):
		return count(int(v))
	case v < 0.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return count(int(v + 0.5))
}
