package report

import (
	"fmt"
	"slices"
	"strings"
)

// headline says the verdict in a few words.
func (r *Report) headline() string {
	if r.Verdict == Pass {
		if h := r.Handlers[r.subject()]; h != nil && h.LostReadyPodSeconds > 0 {
			return "Passed: nothing was lost that could be kept"
		}
		return "Passed: nothing was lost"
	}
	if h, ok := r.Handlers[r.subject()]; !ok || h.Requests.Sent == 0 || h.Nodes.Interrupted == 0 {
		return "Failed: nothing was rehearsed"
	}
	return "Failed: something was lost that must not be"
}

// subject is the handler that the rehearsal is about: evenkeel, or the last one
// in order if evenkeel was not run. Empty if none was.
func (r *Report) subject() string {
	names := order(r.Handlers)
	if len(names) == 0 {
		return ""
	}
	if slices.Contains(names, Evenkeel) {
		return Evenkeel
	}
	return names[len(names)-1]
}

// sentences say what happened to somebody who was not there: first what was
// done to the platform, then what came of it under each handler, the one that
// it is about first.
func (r *Report) sentences() []string {
	subject := r.subject()
	if subject == "" {
		return []string{"No handler was run."}
	}
	h := r.Handlers[subject]
	out := []string{h.whatWasDone(r.TimeScale), h.outcome(subject)}
	for _, name := range order(r.Handlers) {
		if name != subject {
			out = append(out, r.Handlers[name].outcome(name))
		}
	}
	return out
}

func (h *Handler) whatWasDone(scale float64) string {
	zones := map[string]bool{}
	for _, n := range h.Timeline.Nodes {
		if n.Noticed >= 0 {
			zones[n.Zone] = true
		}
	}
	in := ""
	if len(zones) > 0 {
		in = " in " + plural(len(zones), "zone")
	}
	notice := ""
	if lead := h.Timeline.NoticeLead; lead > 0 {
		notice = fmt.Sprintf(", %s s after a notice", seconds(lead))
		if scale != 0 && scale != 1 {
			notice += fmt.Sprintf(" (%s s of cloud time, played %s times as fast)", seconds(lead*scale), trimmed(scale))
		}
	}
	return fmt.Sprintf("%s%s %s taken away while %s were sent%s.",
		upperFirst(plural(h.Nodes.Interrupted, "spot node")), in, wasWere(h.Nodes.Interrupted), plural(h.Requests.Sent, "request"), notice)
}

// outcome is one sentence on what was lost.
func (h *Handler) outcome(name string) string {
	var parts []string
	switch {
	case h.Requests.Failed == 0 && h.Requests.Doubled == 0:
		parts = append(parts, "no request failed and none was done twice")
	case h.Requests.Doubled == 0:
		parts = append(parts, plural(h.Requests.Failed, "request")+" failed")
	default:
		parts = append(parts, fmt.Sprintf("%s failed and %s %s done twice", plural(h.Requests.Failed, "request"), count(h.Requests.Doubled), wasWere(h.Requests.Doubled)))
	}
	if h.LostReadyPodSeconds == 0 {
		parts = append(parts, "no capacity was lost")
	} else {
		part := seconds(h.LostReadyPodSeconds) + " ready-pod-seconds of capacity were lost"
		switch {
		case h.avoidable() == 0:
			part += " by StatefulSets, whose replicas can only be replaced one after the other"
		case h.InherentLostSeconds > 0:
			part += fmt.Sprintf(" (%s of them by StatefulSets, whose replicas can only be replaced one after the other)", seconds(h.InherentLostSeconds))
		}
		parts = append(parts, part)
	}
	if left := h.Nodes.Interrupted - h.Nodes.EmptiedBeforeDeadline; left == 0 {
		parts = append(parts, "every node was empty before its machine went")
	} else {
		parts = append(parts, fmt.Sprintf("%s of %s nodes went with pods still on them", count(left), count(h.Nodes.Interrupted)))
	}
	if h.PDBViolations > 0 {
		parts = append(parts, "a disruption budget was violated "+times(h.PDBViolations))
	}
	if j := h.Jobs; j.Units > 0 {
		part := fmt.Sprintf("%s of %s of Jobs %s done", count(j.Done), plural(j.Units, "unit"), wasWere(j.Done))
		if j.Doubled > 0 {
			part += ", " + count(j.Doubled) + " of them twice"
		}
		parts = append(parts, part)
	}
	return under(name) + ", " + strings.Join(parts[:len(parts)-1], ", ") + ", and " + parts[len(parts)-1] + "."
}

// under begins a sentence about what happened under a handler.
func under(handler string) string {
	switch handler {
	case None:
		return "Without a handler"
	case Evenkeel:
		return "With Evenkeel"
	}
	return "With " + handler
}

// about says in a sentence what a handler does.
func about(handler string) string {
	switch handler {
	case None:
		return "Nobody reads the notices. The machines go with whatever runs on them."
	case Drain:
		return "At the notice the node is cordoned and all of its pods are evicted at once, as common handlers do. Replacements start after the old pods have begun to stop."
	case Evenkeel:
		return "At the notice the node is cordoned and each pod gets a replacement elsewhere. The old pod serves on until the replacement is Ready, and only then is it evicted."
	}
	return ""
}

// saving is the share of the on-demand cost that was not paid, in percent.
func (c Cost) saving() (percent float64, ok bool) {
	if !(c.OnDemand > 0) {
		return 0, false
	}
	return 100 * (1 - c.Spot/c.OnDemand), true
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func trimmed(v float64) string { return fmt.Sprintf("%.4g", v) }
