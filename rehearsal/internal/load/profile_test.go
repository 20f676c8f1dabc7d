package load

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func profile(t *testing.T, text string) *Profile {
	t.Helper()
	p, err := ParseProfile("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseProfileNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "steps: want 1 to 1000"},
		{"steps: [{rate: 1, speed: 2}]", "speed"},
		{"steps: [{}]", "steps[0]: want either rate, or from and to"},
		{"steps: [{rate: 1, from: 1}]", "steps[0]: want either"},
		{"steps: [{from: 1}]", "steps[0]: want either"},
		{"steps: [{from: 1, to: 2}]", "needs a time"},
		{"steps: [{rate: 1}, {rate: 2}]", `steps[0].for: ""`},
		{"steps: [{for: soon, rate: 1}]", `steps[0].for: "soon"`},
		{"steps: [{for: -1s, rate: 1}]", "more than 0"},
		{"steps: [{rate: -1}]", "-1 is neither 0 nor between"},
		{"steps: [{rate: 20001}]", "20001 is neither"},
		{"steps: [{rate: 0.0001}]", "0.0001 is neither"},
		{"steps: [{for: 5s, from: 5, to: 0}]", "must not be 0"},
		{"steps: [{for: 5s, rate: 0}]\nrepeat: true", "nothing is ever sent"},
		{"steps: [{rate: 1}]\nrepeat: true", `steps[0].for`},
		{"steps: [{rate: 1}]\npostShare: 2", "postShare"},
		{"steps: [{rate: 1}]\nnewConnShare: -0.1", "newConnShare"},
		{"steps: [{rate: 1}]\npaths: [{path: x, weight: 1}]", "paths[0].path"},
		{"steps: [{rate: 1}]\npaths: [{path: \"/a b\", weight: 1}]", "paths[0].path"},
		{"steps: [{rate: 1}]\npaths: [{path: /a}]", "paths[0].weight"},
		{"steps: [{rate: 1}]\nsymbols: [\"A B\"]", "symbols[0]"},
	} {
		if _, err := ParseProfile("test.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "test.yaml: ") {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestRateAt(t *testing.T) {
	const rising = "steps: [{for: 10s, rate: 100}, {for: 10s, from: 100, to: 300}, {for: 5s, rate: 0}, {rate: 50}]"
	const waves = "steps: [{for: 10s, from: 0, to: 100}, {for: 10s, from: 100, to: 0}]\nrepeat: true"
	for _, c := range []struct {
		text string
		at   time.Duration
		want float64
	}{
		{rising, 0, 100}, {rising, 9 * time.Second, 100}, {rising, 15 * time.Second, 200}, {rising, 22 * time.Second, 0}, {rising, 25 * time.Second, 50}, {rising, time.Hour, 50},
		{waves, 5 * time.Second, 50}, {waves, 15 * time.Second, 50}, {waves, 45 * time.Second, 50}, {waves, 30 * time.Second, 100},
	} {
		if got := profile(t, c.text).RateAt(c.at); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s at %v: %v, want %v", c.text, c.at, got, c.want)
		}
	}
}

// Arrivals follow the rate: in every second there are as many as its area says, give or
// take what a Poisson process does.
func TestArrivalsFollowTheRate(t *testing.T) {
	for _, text := range []string{
		"steps: [{for: 10s, rate: 2000}, {for: 10s, from: 2000, to: 8000}, {for: 5s, rate: 0}, {for: 5s, from: 0, to: 3000}, {rate: 500}]",
		"steps: [{for: 3s, from: 0, to: 6000}, {for: 4s, from: 6000, to: 0}]\nrepeat: true",
	} {
		cfg := Config{Profile: profile(t, text), Seed: 3}.withDefaults()
		counts := make([]float64, 40)
		draw := newArrivals(cfg)
		last := time.Duration(-1)
		for {
			a := draw.arrival()
			if a.at < last {
				t.Fatalf("an arrival at %v comes after one at %v", a.at, last)
			}
			last = a.at
			if i := int(a.at / time.Second); i < len(counts) {
				counts[i]++
			} else {
				break
			}
		}
		for i, got := range counts {
			var want float64
			for j := range 100 {
				want += cfg.Profile.RateAt(time.Duration(i)*time.Second+time.Duration(j)*10*time.Millisecond+5*time.Millisecond) / 100
			}
			if math.Abs(got-want) > 6*math.Sqrt(want)+1 {
				t.Errorf("%s: %v arrivals in second %d, want about %v", text, got, i, want)
			}
		}
	}
}

// A constant rate draws the same requests with a profile as without one.
func TestConstantProfileIsTheRate(t *testing.T) {
	draw := func(c Config) []arrival {
		s := newArrivals(c.withDefaults())
		out := make([]arrival, 1000)
		for i := range out {
			out[i] = s.arrival()
			out[i].at = out[i].at.Round(time.Microsecond) // the same but for rounding
		}
		return out
	}
	if a, b := draw(Config{Rate: 200, Seed: 7}), draw(Config{Profile: profile(t, "steps: [{rate: 200}]"), Seed: 7}); !reflect.DeepEqual(a, b) {
		t.Error("they differ")
	}
}

// What is asked is mixed as the weights say.
func TestProfileMix(t *testing.T) {
	cfg := Config{Seed: 1, Profile: profile(t, "steps: [{rate: 100}]\npostShare: 0.25\npaths: [{path: \"/a?s={symbol}\", weight: 3}, {path: /b, weight: 1}]\nsymbols: [WTI]")}.withDefaults()
	counts := make(map[string]float64)
	s := newArrivals(cfg)
	const n = 40_000
	for range n {
		a := s.arrival()
		counts[a.path]++
	}
	for path, want := range map[string]float64{"": 0.25, "/a?s=WTI": 0.75 * 0.75, "/b": 0.25 * 0.75} {
		if got := counts[path] / n; math.Abs(got-want) > 0.01 {
			t.Errorf("%q is %v of all, want about %v", path, got, want)
		}
	}
	if len(counts) != 3 {
		t.Errorf("asked were %v", counts)
	}
}

// The generator asks what the profile names.
func TestRunWithProfile(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]int)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.Method+" "+r.URL.String()]++
	}))
	defer srv.Close()
	ctx, stop := context.WithCancel(t.Context())
	g := New(Config{Target: srv.URL, Profile: profile(t, "steps: [{for: 10s, from: 100, to: 300}]\npostShare: 0\npaths: [{path: \"/v1/live?x={symbol}\", weight: 1}]\nsymbols: [GAS]")})
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); g.Live().Answered < 20; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("hung: no answers")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || asked["GET /v1/live?x=GAS"] < 20 {
		t.Errorf("asked was %v", asked)
	}
}

// The profiles of the examples are read, and the first is what the built-in scenario does.
func TestExampleProfiles(t *testing.T) {
	files, err := filepath.Glob("../../../examples/*/load/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if _, err := ReadProfile(file); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add("steps: [{for: 10s, from: 0, to: 100}, {for: 10ms, from: 100, to: 0}]\nrepeat: true\npostShare: 0.5", 0.5, int64(3))
	f.Add("steps: [{for: 1ns, rate: 0}, {rate: 0.001}]", 20.0, int64(1e9))
	f.Fuzz(func(t *testing.T, text string, n float64, from int64) {
		p, err := ParseProfile("x", []byte(text))
		if err != nil || !(n >= 0 && n < 1000) || from < 0 || from > int64(time.Hour) {
			return
		}
		if at := p.after(time.Duration(from), n); at < time.Duration(from) {
			t.Errorf("%v more arrivals after %v are due at %v", n, time.Duration(from), at)
		}
	})
}
