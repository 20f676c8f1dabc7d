package upstream

import (
	"testing"
	"time"
)

func TestCanaryReturns(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type run struct {
		n      int
		canary bool
		fails  int // every so many-th; 0: none
		over   time.Duration
	}
	for _, c := range []struct {
		name string
		o    CanaryOptions
		runs []run
		want bool
	}{
		{"nothing fails", CanaryOptions{}, []run{{1000, false, 0, time.Second}, {1000, true, 0, time.Second}}, false},
		{"one of fifty is too many", CanaryOptions{}, []run{{1000, false, 0, time.Second}, {1000, true, 50, time.Second}}, true},
		{"one of 150 is not, for a minute", CanaryOptions{}, []run{{1000, false, 0, time.Second}, {1000, true, 150, time.Second}}, false},
		{"two are chance", CanaryOptions{}, []run{{40, true, 20, time.Second}}, false},
		{"too few to judge", CanaryOptions{}, []run{{19, true, 1, time.Second}}, false},
		{"both fail alike", CanaryOptions{}, []run{{1000, false, 5, time.Second}, {1000, true, 5, time.Second}}, false},
		{"the stable one fails, the canary much more", CanaryOptions{}, []run{{1000, false, 20, time.Second}, {1000, true, 2, time.Second}}, true},
		{"what was long ago does not count", CanaryOptions{}, []run{{19, true, 1, time.Second}, {1, false, 0, 2 * time.Minute}, {1000, true, 0, time.Second}}, false},
		{"another objective", CanaryOptions{Objective: 0.5, Burn: 1.5}, []run{{100, true, 2, time.Second}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s CanaryState
			at, returned := begin, 0
			for _, r := range c.runs {
				for i := range r.n {
					at = at.Add(r.over / time.Duration(r.n))
					var back bool
					s, back = s.Step(c.o, Outcome{at, r.canary, r.fails > 0 && i%r.fails == 0})
					if back {
						returned++
					}
				}
			}
			if s.Returned != c.want || returned > 1 || c.want != (returned == 1) {
				t.Errorf("returned %v, told %d times", s.Returned, returned)
			}
			if w := s.Weight(CanaryOptions{Weight: 0.1}); (w == 0) != c.want {
				t.Errorf("weight %v", w)
			}
		})
	}
}

// Outcomes may come late, and in any order.
func TestCanaryLateOutcomes(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s CanaryState
	s, _ = s.Step(CanaryOptions{}, Outcome{At: begin})
	before := s
	s, _ = s.Step(CanaryOptions{}, Outcome{At: begin.Add(-time.Hour), Canary: true, Failed: true})
	if s != before {
		t.Error("an outcome of an hour ago was counted")
	}
	s, _ = s.Step(CanaryOptions{}, Outcome{At: begin.Add(-30 * time.Second)})
	if s == before {
		t.Error("an outcome of half a minute ago was not counted")
	}
}
