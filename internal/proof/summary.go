package proof

import (
	"math"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// Summary says what many interruptions amount to.
type Summary struct {
	Interruptions int             `json:"interruptions"`
	Outcomes      map[Outcome]int `json:"outcomes"`
	// InTime is how many nodes were empty before their deadline, of those for which
	// that can be said: not of cancelled and unfinished ones.
	InTime int `json:"emptiedBeforeDeadline"`
	Of     int `json:"ofThoseWithADeadline"`
	// Cordon and Empty are from the time of the event.
	Cordon Quantiles `json:"noticeToCordonSeconds"`
	Empty  Quantiles `json:"noticeToEmptySeconds"`
	Lost   float64   `json:"lostReadyPodSeconds"`
	// Pods are those that were asked to stop, by how: handoff, evict, delete.
	Pods map[string]int `json:"pods"`
	// Escalations are pods for which waiting had come to its end, by reason.
	Escalations map[drain.Reason]int `json:"escalations"`
	// Budgets are how often each budget refused an eviction.
	Budgets map[string]int `json:"blockedByBudget,omitempty"`
	// Resumed are interruptions of which the beginning is known only from the Record.
	Resumed int `json:"resumed,omitempty"`
}

// Quantiles are of a number of durations, by nearest rank, in seconds.
type Quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// Summarize adds Lines up.
func Summarize(lines []Line) Summary {
	s := Summary{
		Outcomes: make(map[Outcome]int), Pods: make(map[string]int),
		Escalations: make(map[drain.Reason]int), Budgets: make(map[string]int),
	}
	var cordon, empty []time.Duration
	for _, l := range lines {
		s.Interruptions++
		s.Outcomes[l.Outcome]++
		s.Lost += l.Lost
		if !l.ResumedAt.IsZero() {
			s.Resumed++
		}
		switch l.Outcome {
		case Emptied:
			s.InTime++
			s.Of++
		case Missed, Gone:
			s.Of++
		}
		if !l.Notice.Sent.IsZero() {
			if !l.Cordoned.IsZero() {
				cordon = append(cordon, l.Cordoned.Sub(l.Notice.Sent))
			}
			if !l.Emptied.IsZero() {
				empty = append(empty, l.Emptied.Sub(l.Notice.Sent))
			}
		}
		for _, step := range l.Steps {
			s.step(step)
		}
	}
	s.Cordon, s.Empty = quantiles(cordon), quantiles(empty)
	return s
}

func (s *Summary) step(step Step) {
	if step.Event != drain.EventPod {
		return
	}
	if step.Outcome == drain.Blocked && step.Budget != "" {
		s.Budgets[step.Budget]++
	}
	if step.Outcome != drain.Done {
		return
	}
	method := drain.Method(step.Effect, step.Reason)
	if method == "" {
		return
	}
	s.Pods[method]++
	if method == drain.MethodDelete || step.Reason == drain.LatestStart {
		s.Escalations[step.Reason]++
	}
}

func quantiles(d []time.Duration) Quantiles {
	if len(d) == 0 {
		return Quantiles{}
	}
	slices.Sort(d)
	at := func(q float64) float64 { return d[max(int(math.Ceil(q*float64(len(d)))), 1)-1].Seconds() }
	return Quantiles{len(d), at(0.5), at(0.99), at(1)}
}
