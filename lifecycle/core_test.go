package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// epoch is when the tables begin; their times are seconds after it.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func sec(s float64) time.Time { return epoch.Add(time.Duration(s * float64(time.Second))) }

// describe says what happened: "0s unready SIGTERM, 2.6s discourage quiet".
func describe(at time.Time, effects []effect) string {
	var parts []string
	for _, f := range effects {
		parts = append(parts, fmt.Sprintf("%s %s (%s)", at.Sub(epoch), f.enter, f.why))
	}
	return strings.Join(parts, "; ")
}

func TestStep(t *testing.T) {
	type row struct {
		at   float64
		o    observation
		want string
	}
	grace10 := policy{grace: 10 * time.Second, floor: 2 * time.Second, saves: true}
	busy := func(n, idle int, last float64, u urgency) observation {
		return observation{urgency: u, trigger: ReasonSignal, used: true, busy: n, idle: idle, lastArrival: sec(last), meanGap: 5 * time.Millisecond}
	}
	begin := "noticed (SIGTERM); 0s unready (SIGTERM); 0s propagate (at once)"

	for _, tt := range []struct {
		name string
		p    policy
		rows []row
	}{
		{"traffic stops before the floor", grace10, []row{
			{-1, busy(3, 5, -1, calm), ""},
			{0, busy(3, 5, 0, asked), "0s " + begin},
			{1, busy(1, 5, 1, asked), ""},
			{1.9, busy(0, 5, 1, asked), ""}, // quiet, but the floor holds
			{2, busy(0, 5, 1, asked), "2s discourage (quiet)"},
			{2.5, busy(0, 2, 1, asked), ""},
			{2.7, busy(1, 0, 1, asked), "2.7s finish (no idle connections)"},
			{2.8, busy(0, 0, 1, asked), "2.8s save (drained)"},
			{2.9, observation{urgency: asked, saved: true}, "2.9s cut (drained)"},
			{3.0, observation{urgency: asked, saved: true}, ""},
		}},
		{"floor passed but not quiet: the cap ends it", grace10, []row{
			{0, busy(3, 5, 0, asked), "0s " + begin},
			{2.5, busy(3, 5, 2, asked), ""}, // 500 ms are less than the least quiet window
			{3.9, busy(3, 5, 3.9, asked), ""},
			{4, busy(3, 5, 4, asked), "4s discourage (time)"},
			{5.4, busy(3, 5, 4, asked), ""},
			{5.5, busy(3, 5, 4, asked), "5.5s finish (time)"},
			{7.9, busy(3, 0, 4, asked), ""},
			{8, busy(3, 0, 4, asked), "8s save (time)"}, // 10 - 0.5 - 15 %
			{9.4, busy(3, 0, 4, asked), ""},
			{9.5, busy(3, 0, 4, asked), "9.5s cut (time)"},
		}},
		{"a pause at a low rate is not the end of traffic", grace10, []row{
			{0, observation{urgency: asked, trigger: ReasonSignal, used: true, lastArrival: sec(0), meanGap: 250 * time.Millisecond}, "0s " + begin},
			{3, observation{urgency: asked, used: true, lastArrival: sec(0.1), meanGap: time.Hour}, ""}, // the rate of the start counts
			{3.1, observation{urgency: asked, used: true, lastArrival: sec(0.1)}, "3.1s discourage (quiet); 3.1s finish (no idle connections); 3.1s save (drained)"},
		}},
		{"nothing in flight, but a server still takes leave of its clients", grace10, []row{
			{0, observation{urgency: hurried, trigger: ReasonSignal, used: true, open: 2}, "0s " + begin +
				"; 0s discourage (hurried); 0s finish (hurried)"},
			{0.1, observation{urgency: hurried, open: 1}, ""},
			{0.2, observation{urgency: hurried}, "200ms save (drained)"},
		}},
		{"never ready, never asked", grace10, []row{
			{0, observation{urgency: asked, trigger: ReasonSignal}, "0s " + begin +
				"; 0s discourage (unused); 0s finish (no idle connections); 0s save (drained)"},
		}},
		{"a cap of the owner's", policy{grace: 10 * time.Second, floor: 2 * time.Second, most: 3 * time.Second}, []row{
			{0, busy(3, 5, 0, asked), "0s " + begin},
			{2.9, busy(3, 5, 2.9, asked), ""},
			{3, busy(3, 5, 3, asked), "3s discourage (time)"},
		}},
		{"a cap below the floor", policy{grace: 10 * time.Second, floor: 2 * time.Second, most: time.Second}, []row{
			{0, busy(3, 5, 0, asked), "0s " + begin},
			{1.9, busy(3, 5, 1.9, asked), ""},
			{2, busy(3, 5, 2, asked), "2s discourage (time)"},
		}},
		{"second signal ends the waiting, not the work", grace10, []row{
			{0, busy(2, 2, 0, asked), "0s " + begin},
			{0.5, busy(2, 2, 0.5, hurried), "500ms discourage (hurried); 500ms finish (hurried)"},
			{7, busy(2, 0, 0.5, hurried), ""},
			{7.1, busy(2, 0, 0.5, now), "7.1s save (hurried)"},
			{7.2, busy(2, 0, 0.5, now), ""}, // state is saved all the same
			{7.3, observation{urgency: now, busy: 2, saved: true}, "7.3s cut (hurried)"},
		}},
		{"nothing to save: finish gets the reserve but for the time to react", policy{grace: 10 * time.Second}, []row{
			{0, busy(1, 0, 0, hurried), "0s " + begin + "; 0s discourage (hurried); 0s finish (hurried)"},
			{8.9, busy(1, 0, 0, hurried), ""},
			{9, busy(1, 0, 0, hurried), "9s save (time)"},
			{9.4, observation{urgency: hurried, busy: 1, saved: true}, ""},
			{9.5, observation{urgency: hurried, busy: 1, saved: true}, "9.5s cut (time)"},
		}},
		{"notice, then SIGTERM with less than the grace period left", grace10, []row{
			{0, observation{nodeDeadline: sec(120)}, "0s noticed (notice)"},
			{100, observation{nodeDeadline: sec(120)}, ""},
			{116, observation{nodeDeadline: sec(120), urgency: asked, trigger: ReasonSignal, used: true, busy: 1, lastArrival: sec(116)},
				"1m56s unready (SIGTERM); 1m56s propagate (at once)"},
			{117.5, observation{nodeDeadline: sec(120), urgency: asked, used: true, busy: 1, lastArrival: sec(117.5)}, ""},
			{117.6, observation{nodeDeadline: sec(120), urgency: asked, used: true, busy: 1, lastArrival: sec(117.5)},
				"1m57.6s discourage (time); 1m57.6s finish (no idle connections)"}, // 40 % of 4 s
			{119.6, observation{nodeDeadline: sec(120), urgency: asked, used: true, busy: 1},
				"1m59.6s save (time); 1m59.6s cut (time)"}, // a late tick passes through both
		}},
		{"notice and nobody comes: latest start", grace10, []row{
			{0, observation{nodeDeadline: sec(30)}, "0s noticed (notice)"},
			{19.9, observation{nodeDeadline: sec(30)}, ""},
			{20, observation{nodeDeadline: sec(30), used: true, lastArrival: sec(20)}, "20s unready (latest start); 20s propagate (at once)"},
		}},
		{"a notice taken back starts nothing", grace10, []row{
			{0, observation{nodeDeadline: sec(30)}, "0s noticed (notice)"},
			{25, observation{}, ""},
		}},
		{"a deadline in the past is no deadline", grace10, []row{
			{0, observation{nodeDeadline: sec(-1)}, ""},
			{1, observation{nodeDeadline: sec(-1), urgency: asked, trigger: ReasonSignal, used: true, busy: 1, lastArrival: sec(1)},
				"1s noticed (SIGTERM); 1s unready (SIGTERM); 1s propagate (at once)"},
			{2, observation{nodeDeadline: sec(-1), urgency: asked, used: true, busy: 1, lastArrival: sec(1)}, ""},
		}},
		{"an earlier deadline in the middle of the ending", grace10, []row{
			{0, busy(1, 0, 0, hurried), "0s " + begin + "; 0s discourage (hurried); 0s finish (hurried)"},
			{1, observation{nodeDeadline: sec(4), urgency: hurried, used: true, busy: 1}, ""},
			{3, observation{urgency: hurried, used: true, busy: 1}, "3s save (time)"}, // 4 - 0.4 - 15 %; kept though the file is gone
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s state
			for _, r := range tt.rows {
				var effects []effect
				s, effects = step(tt.p, s, sec(r.at), r.o)
				if got := describe(sec(r.at), effects); got != r.want {
					t.Fatalf("at %vs: got %q, want %q", r.at, got, r.want)
				}
			}
		})
	}
}

// Whatever is observed, phases go up one at a time, the deadline only comes
// nearer, and the process is cut before it.
func TestStepAlwaysEndsInTime(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := policy{
			grace: minGrace + time.Duration(r.Int64N(int64(time.Minute))),
			floor: time.Duration(r.Int64N(int64(time.Minute))),
			most:  time.Duration(r.Int64N(int64(time.Minute))),
			saves: r.IntN(2) == 0,
		}
		const tick = 10 * time.Millisecond
		var s state
		at, begun := epoch, time.Time{}
		for s.phase != Cut {
			o := observation{
				urgency: urgency(r.IntN(4)), trigger: ReasonSignal, used: r.IntN(2) == 0,
				busy: r.IntN(3), idle: r.IntN(3), untold: r.IntN(2), saved: r.IntN(2) == 0,
				lastArrival: at.Add(-time.Duration(r.Int64N(int64(time.Second)))),
				meanGap:     time.Duration(r.Int64N(int64(time.Hour))),
			}
			if r.IntN(4) == 0 {
				o.nodeDeadline = at.Add(time.Duration(r.Int64N(int64(4*time.Minute))) - time.Minute)
			}
			if begun.IsZero() {
				o.urgency = urgency(r.IntN(2))
			} else if seed%2 == 0 { // the stubborn case: nothing ever gets done
				o = observation{urgency: asked, used: true, busy: 1, idle: 1, untold: 1, lastArrival: at, nodeDeadline: o.nodeDeadline}
			}
			before := s
			var effects []effect
			s, effects = step(p, s, at, o)
			for i, f := range effects {
				if f.enter != before.phase+Phase(i)+1 {
					t.Fatalf("seed %d: entered %s after %s", seed, f.enter, before.phase)
				}
				if f.why == "" {
					t.Fatalf("seed %d: no reason for %s", seed, f.enter)
				}
			}
			if before.phase >= Unready && s.deadline.After(before.deadline) {
				t.Fatalf("seed %d: deadline moved from %s to %s", seed, before.deadline, s.deadline)
			}
			if begun.IsZero() && s.phase >= Unready {
				begun = at
			}
			if !begun.IsZero() && at.Sub(begun) > p.grace {
				t.Fatalf("seed %d: still %s at %s of %s", seed, s.phase, at.Sub(begun), p.grace)
			}
			at = at.Add(tick)
		}
	}
}

// Whatever the rate and the lag of the balancer, hardly a request comes when the
// port is closed, and a process with much traffic does not wait much longer than
// the balancer needs. Arrivals are Poisson; nobody has a connection to keep.
func TestPropagationWaitsForTheEvidence(t *testing.T) {
	const trials = 2000
	p := policy{grace: 30 * time.Second, floor: 2 * time.Second}
	for _, tt := range []struct {
		rate float64 // requests per second to this process
		lag  float64 // seconds until the balancer sends no more
		wait float64 // seconds, at most, on average
	}{
		{0.02, 5, 12.1},
		{0.2, 5, 12.1},
		{1.33, 1, 11}, {1.33, 5, 12}, // 4 per second over three
		{4, 1, 4.5}, {4, 5, 8.5},
		{133, 1, 2.1}, {133, 5, 5.7},
		{667, 1, 2.1}, {667, 5, 5.7},
	} {
		n := trials
		if tt.rate > 100 {
			n = 30
		}
		sent, lost, waited := 0, 0, 0.0
		for seed := range uint64(n) {
			r := rand.New(rand.NewPCG(seed, uint64(tt.rate*100)))
			var before int
			for at := r.ExpFloat64() / tt.rate; at < 60; at += r.ExpFloat64() / tt.rate {
				before++
			}
			o := observation{urgency: asked, trigger: ReasonSignal, used: true, lastArrival: sec(-r.ExpFloat64() / tt.rate)}
			o.meanGap = time.Minute / time.Duration(max(1, before)) // as meanGap does
			next := r.ExpFloat64() / tt.rate
			var s state
			at := 0.0
			for ; s.phase < Finish; at += 0.01 {
				for ; next <= at && next < tt.lag; next += r.ExpFloat64() / tt.rate {
					sent++
					o.lastArrival = sec(next)
				}
				s, _ = step(p, s, sec(at), o)
			}
			waited += at
			for ; next < tt.lag; next += r.ExpFloat64() / tt.rate {
				sent++
				lost++
			}
		}
		mean := waited / float64(n)
		t.Logf("%v/s, lag %vs: %d lost of %d, waited %.1fs", tt.rate, tt.lag, lost, sent, mean)
		if allowed := max(sent/5000, 1); lost > allowed {
			t.Errorf("%v/s, lag %vs: %d of %d requests lost, more than %d", tt.rate, tt.lag, lost, sent, allowed)
		}
		if mean > tt.wait {
			t.Errorf("%v/s, lag %vs: waited %.1fs", tt.rate, tt.lag, mean)
		}
	}
}
