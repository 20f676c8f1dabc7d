package conform

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// Report is the outcome of a run.
type Report struct {
	Command      []string      `json:"command"`
	Level        Level         `json:"level_asked"`
	NoStreams    bool          `json:"no_streams,omitempty"`
	NoRequests   bool          `json:"no_requests,omitempty"`
	GraceSeconds float64       `json:"grace_seconds"`
	Started      time.Time     `json:"started"`
	Stages       []StageResult `json:"stages"`
	Levels       []LevelResult `json:"levels"`
	Pass         bool          `json:"pass"` // every level up to the one that was asked for
}

// StageResult is what happened under one set of conditions.
type StageResult struct {
	Name       string   `json:"name"`
	Balancer   Balancer `json:"balancer"`
	Protocol   string   `json:"protocol"`
	Rate       float64  `json:"requests_per_second"`
	LagSeconds float64  `json:"endpoint_lag_seconds"`
	Notice     bool     `json:"notice"` // copies got a notice and no SIGTERM
	Seconds    float64  `json:"seconds"`

	Exits []Exit `json:"terminations"`

	Sent     int            `json:"sent"`
	Answered int            `json:"answered"`
	Failed   int            `json:"failed"` // with those that were lost
	Causes   map[string]int `json:"failed_by_cause,omitempty"`
	InFlight int            `json:"in_flight_at_termination"` // requests that a copy had when it was told to end
	Cut      int            `json:"cut"`                      // of those, the ones that failed
	Later    int            `json:"failed_later"`             // failed otherwise: sent to a copy that was ending, or to nobody
	NotSent  int            `json:"not_sent"`                 // due, but the test had no room for them

	Recorded bool `json:"ledger"`  // the command writes a ledger, so that the next two mean something
	Lost     int  `json:"lost"`    // answered with success and recorded by no copy
	Doubled  int  `json:"doubled"` // recorded more than once

	LatencyMs report.Quantiles        `json:"latency_ms"`
	Streams   map[string]StreamResult `json:"streams,omitempty"`
}

// Exit is how one copy ended.
type Exit struct {
	Copy       int     `json:"copy"`
	Code       int     `json:"code"`
	Seconds    float64 `json:"seconds"`
	Killed     bool    `json:"killed"`     // by us, at the end of the grace period
	Unexpected bool    `json:"unexpected"` // it ended before it was told to
}

// StreamResult is what became of long streams of one kind.
type StreamResult struct {
	Clean   int            `json:"clean"`
	Broken  int            `json:"broken"`
	Causes  map[string]int `json:"broken_by_cause,omitempty"`
	Resumed int            `json:"resumed"`
	Gaps    int            `json:"gaps"`
}

// LevelResult says whether the command reaches a level. One that asks nothing of such
// a command passes without having been tested.
type LevelResult struct {
	Level  Level  `json:"level"`
	Text   string `json:"text"`
	Pass   bool   `json:"pass"`
	Tested bool   `json:"tested"`
	Why    string `json:"why"`
}

// result adds up the stage. It is called when everything has ended.
func (s *stage) result() StageResult {
	r := StageResult{
		Name: s.sc.String(), Balancer: s.sc.balancer, Protocol: string(s.sc.protocol),
		Rate: s.sc.rate, LagSeconds: s.sc.lag.Seconds(), Notice: s.sc.notice,
		Seconds: time.Since(s.started).Seconds(), Exits: s.exits,
		Sent: len(s.records.list), NotSent: s.overload, Causes: make(map[string]int),
	}
	recorded := make(map[string]int)
	for _, p := range s.table.all {
		for id, n := range p.ledger {
			recorded[id] += n
		}
	}
	r.Recorded = len(recorded) > 0

	var ms []float64
	for _, rec := range s.records.list {
		var told time.Time // when its copy was told to end
		if rec.process != nowhere {
			told = s.table.all[rec.process].termination
		}
		inFlight := !told.IsZero() && rec.sent.Before(told) && rec.sent.Add(rec.took).After(told)
		if inFlight {
			r.InFlight++
		}
		if r.Recorded && rec.kind != get {
			switch n := recorded[requestID(s.index, rec.seq)]; {
			case n > 1:
				r.Doubled++
			case n == 0 && rec.cause == "":
				r.Lost++
				rec.cause = "lost"
			}
		}
		switch {
		case rec.cause == "":
			r.Answered++
			ms = append(ms, float64(rec.took)/float64(time.Millisecond))
		case rec.cause == "overload":
			r.NotSent++
			r.Sent--
		default:
			r.Failed++
			r.Causes[rec.cause]++
			if inFlight {
				r.Cut++
			} else {
				r.Later++
			}
		}
	}
	r.LatencyMs = report.QuantilesOf(ms)
	if len(s.streams) > 0 {
		r.Streams = make(map[string]StreamResult)
	}
	for name, st := range s.streams {
		r.Streams[name] = StreamResult{Clean: st.clean, Broken: st.broken, Causes: st.causes, Resumed: st.resumed, Gaps: st.gaps}
	}
	return r
}

// Bound says what the number of failures shows about their rate: none among n only
// shows that it is below 3/n, with 95 % confidence.
func (r StageResult) Bound() string { return bound(r.Failed, r.Sent) }

func bound(failed, sent int) string {
	switch {
	case sent == 0:
		return "nothing was sent"
	case failed == 0:
		return fmt.Sprintf("below %.3g %% (95 %%)", 300/float64(sent))
	}
	return fmt.Sprintf("%.3g %%", 100*float64(failed)/float64(sent))
}

// judge says which levels were reached.
func (r *Report) judge() {
	r.Pass = true
	for level := C0; level <= r.Level; level++ {
		l := LevelResult{Level: level, Text: levelTexts[level]}
		l.Tested, l.Pass, l.Why = r.reaches(level)
		r.Levels = append(r.Levels, l)
		r.Pass = r.Pass && l.Pass
	}
}

// reaches says of one level whether it was tested and reached, and why.
func (r *Report) reaches(level Level) (tested, pass bool, why string) {
	stages := r.Stages
	keep := func(f func(StageResult) bool) {
		stages = slices.DeleteFunc(slices.Clone(stages), func(s StageResult) bool { return !f(s) })
	}
	notSent := 0
	for _, s := range stages {
		notSent += s.NotSent
	}
	if notSent > 0 && level > C0 {
		return true, false, fmt.Sprintf("%d requests could not be sent: this machine is too small for the load", notSent)
	}
	if r.NoRequests && level > C0 && level < C5 {
		return false, true, "the command answers no requests, says --no-requests"
	}
	switch level {
	case C0:
		keep(func(s StageResult) bool { return !s.Notice })
		return exitsInTime(stages)
	case C1:
		keep(func(s StageResult) bool { return !s.Notice })
		inFlight, cut := 0, 0
		for _, s := range stages {
			inFlight += s.InFlight
			cut += s.Cut
		}
		if inFlight == 0 {
			return false, false, "no request was in flight at any termination: a higher rate or slower requests are needed"
		}
		return true, cut == 0, fmt.Sprintf("%d of %d requests in flight were cut", cut, inFlight)
	case C2:
		keep(func(s StageResult) bool { return s.Balancer == L7 })
		if len(stages) > 0 {
			return losesNothing(stages)
		}
		// Only gRPC: whoever loses nothing without a balancer that helps loses nothing
		// with one.
		stages = r.Stages
		keep(func(s StageResult) bool { return !s.Notice })
		tested, pass, why = losesNothing(stages)
		return tested, pass, why + ", on layer 4"
	case C3:
		keep(func(s StageResult) bool { return s.Balancer == L4 && !s.Notice })
		return losesNothing(stages)
	case C4:
		if r.NoStreams {
			return false, true, "the service has no streams, says --no-streams"
		}
		return endsStreams(stages)
	case C5:
		keep(func(s StageResult) bool { return s.Notice })
		tested, pass, why = exitsInTime(stages)
		if !tested || !pass || r.NoRequests {
			return tested, pass, why
		}
		_, pass, lost := losesNothing(stages)
		return tested, pass, why + "; " + lost
	}
	return false, false, "unknown level" // unreachable: ParseLevel made it
}

func exitsInTime(stages []StageResult) (tested, pass bool, why string) {
	n, killed, unexpected, slowest := 0, 0, 0, 0.0
	for _, s := range stages {
		for _, e := range s.Exits {
			n++
			slowest = max(slowest, e.Seconds)
			switch {
			case e.Unexpected:
				unexpected++
			case e.Killed || e.Code == 137:
				killed++
			}
		}
	}
	switch {
	case n == 0:
		return false, false, "nothing was terminated"
	case unexpected > 0:
		return true, false, fmt.Sprintf("%d copies ended before they were told to", unexpected)
	case killed > 0:
		return true, false, fmt.Sprintf("%d of %d had to be killed (137)", killed, n)
	}
	return true, true, fmt.Sprintf("%d of %d by themselves, the slowest after %.1f s", n, n, slowest)
}

func losesNothing(stages []StageResult) (tested, pass bool, why string) {
	sent, failed, doubled := 0, 0, 0
	for _, s := range stages {
		sent += s.Sent
		failed += s.Failed
		doubled += s.Doubled
	}
	if sent == 0 {
		return false, false, "nothing was sent"
	}
	why = fmt.Sprintf("%d of %d requests failed: %s", failed, sent, bound(failed, sent))
	if doubled > 0 {
		why += fmt.Sprintf("; %d were done twice", doubled)
	}
	return true, failed == 0 && doubled == 0, why
}

func endsStreams(stages []StageResult) (tested, pass bool, why string) {
	var parts []string
	pass = true
	for _, s := range stages {
		for _, name := range sortedKeys(s.Streams) {
			st := s.Streams[name]
			if st.Clean+st.Broken > 0 {
				tested = true
			}
			pass = pass && st.Broken == 0 && st.Gaps == 0
			parts = append(parts, fmt.Sprintf("%s: %d ended cleanly, %d broken, %d resumed, %d with a gap", name, st.Clean, st.Broken, st.Resumed, st.Gaps))
		}
	}
	if !tested {
		return false, false, "no stream was open: name one with --sse, --websocket, --grpc or --only-grpc, or say --no-streams"
	}
	return true, pass, strings.Join(parts, "; ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
