package load

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// A Profile says how the rate of requests goes over a run, and what is asked. Its times
// are real. Parse and Read return only valid ones.
type Profile struct {
	Steps  []Step // at least one; the last one's rate lasts, unless Repeat
	Repeat bool   // begin again after the last step

	Posts, NewConns *float64 // shares; nil: what the Config says
	Paths           []Path   // of GETs; without any, /v1/quote?symbol={symbol}
	Symbols         []string // stand for {symbol}; without any, some shares of companies
}

// A Step lasts For, while the rate goes from From to To requests a second, evenly.
type Step struct {
	For      time.Duration
	From, To float64
}

// A Path is what a GET asks for, as often as its Weight among the others.
type Path struct {
	Path   string  `json:"path"`
	Weight float64 `json:"weight"`
}

// Bounds of a profile.
const (
	maxSteps   = 1000
	minRate    = 0.001 // but for pauses: the next request has to have a time
	maxRate    = 20_000
	maxPaths   = 100
	maxStep    = 24 * time.Hour
	maxPathLen = 2000
)

type rawProfile struct {
	Steps []struct {
		For  string   `json:"for"`
		Rate *float64 `json:"rate"`
		From *float64 `json:"from"`
		To   *float64 `json:"to"`
	} `json:"steps"`
	Repeat       bool     `json:"repeat"`
	PostShare    *float64 `json:"postShare"`
	NewConnShare *float64 `json:"newConnShare"`
	Paths        []Path   `json:"paths"`
	Symbols      []string `json:"symbols"`
}

// quotes is what is asked for without a profile.
var quotes = []Path{{"/v1/quote?symbol={symbol}", 1}}

// Gets is what the profile asks for, with a symbol in its place: what must be answered
// before the load begins. A nil profile asks for quotes.
func (p *Profile) Gets() []string {
	paths, symbol := quotes, "WTI"
	if p != nil && len(p.Paths) > 0 {
		paths = p.Paths
	}
	if p != nil && len(p.Symbols) > 0 {
		symbol = p.Symbols[0]
	}
	var out []string
	for _, path := range paths {
		out = append(out, strings.ReplaceAll(path.Path, "{symbol}", symbol))
	}
	return out
}

// ReadProfile reads a profile from a file.
func ReadProfile(file string) (*Profile, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a load profile: %w", err)
	}
	return ParseProfile(file, data)
}

// ParseProfile reads a profile. The name stands for the file in errors, which name the
// field.
func ParseProfile(name string, data []byte) (*Profile, error) {
	wrong := func(format string, args ...any) (*Profile, error) {
		return nil, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
	var raw rawProfile
	if err := yaml.UnmarshalStrict(data, &raw); err != nil {
		return wrong("%v", err)
	}
	p := &Profile{Repeat: raw.Repeat, Posts: raw.PostShare, NewConns: raw.NewConnShare, Paths: raw.Paths, Symbols: raw.Symbols}
	if n := len(raw.Steps); n == 0 || n > maxSteps {
		return wrong("steps: want 1 to %d, not %d", maxSteps, n)
	}
	for i, s := range raw.Steps {
		last := i == len(raw.Steps)-1 && !raw.Repeat
		step := Step{}
		switch {
		case s.Rate != nil && (s.From != nil || s.To != nil), s.Rate == nil && (s.From == nil || s.To == nil):
			return wrong("steps[%d]: want either rate, or from and to", i)
		case s.Rate != nil:
			step.From, step.To = *s.Rate, *s.Rate
		default:
			step.From, step.To = *s.From, *s.To
		}
		for _, r := range []float64{step.From, step.To} {
			if !(r == 0 || r >= minRate && r <= maxRate) {
				return wrong("steps[%d]: %v is neither 0 nor between %v and %d requests a second", i, r, minRate, maxRate)
			}
		}
		if s.For == "" && last {
			if step.From != step.To {
				return wrong("steps[%d].for: a rate that changes needs a time to do it in", i)
			}
		} else {
			d, err := time.ParseDuration(s.For)
			if err != nil || d <= 0 || d > maxStep {
				return wrong(`steps[%d].for: %q is not a time like "30s", more than 0 and at most %v`, i, s.For, maxStep)
			}
			step.For = d
		}
		if last && step.To == 0 {
			return wrong("steps[%d]: the last rate lasts, and must not be 0", i)
		}
		p.Steps = append(p.Steps, step)
	}
	if p.Repeat && p.area() < minRate*p.whole().Seconds() {
		return wrong("steps: nearly nothing is ever sent, less than %v requests a second", minRate)
	}
	for field, share := range map[string]*float64{"postShare": p.Posts, "newConnShare": p.NewConns} {
		if share != nil && !(*share >= 0 && *share <= 1) {
			return wrong("%s: %v is not a share from 0 to 1", field, *share)
		}
	}
	if len(p.Paths) > maxPaths {
		return wrong("paths: %d are more than %d", len(p.Paths), maxPaths)
	}
	for i, path := range p.Paths {
		switch {
		case !strings.HasPrefix(path.Path, "/") || len(path.Path) > maxPathLen || strings.ContainsFunc(path.Path, func(r rune) bool { return r <= ' ' || r > '~' }):
			return wrong("paths[%d].path: %q is not a path as it stands in a request", i, path.Path)
		case !(path.Weight > 0 && path.Weight <= 1e6):
			return wrong("paths[%d].weight: %v is not more than 0 and at most 1000000", i, path.Weight)
		}
	}
	for i, s := range p.Symbols {
		if s == "" || len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-') }) {
			return wrong("symbols[%d]: %q is not one in capitals, digits and hyphens", i, s)
		}
	}
	return p, nil
}

// area is how many requests one pass of the steps has, on average.
func (p *Profile) area() float64 {
	var sum float64
	for _, s := range p.Steps {
		sum += (s.From + s.To) / 2 * s.For.Seconds()
	}
	return sum
}

// whole is how long one pass of the steps takes.
func (p *Profile) whole() time.Duration {
	var sum time.Duration
	for _, s := range p.Steps {
		sum += s.For
	}
	return sum
}

// RateAt returns the rate at a time since the start, in requests a second.
func (p *Profile) RateAt(at time.Duration) float64 {
	s, into := p.step(at)
	if s.For == 0 {
		return s.To
	}
	return s.From + (s.To-s.From)*into.Seconds()/s.For.Seconds()
}

// step returns the step of a time and how far into it that is. Beyond the last one of
// a profile that does not repeat, it is one that has no end.
func (p *Profile) step(at time.Duration) (s Step, into time.Duration) {
	if p.Repeat {
		at %= p.whole()
	}
	for _, s := range p.Steps {
		if at < s.For {
			return s, at
		}
		at -= s.For
	}
	last := p.Steps[len(p.Steps)-1].To
	return Step{From: last, To: last}, at
}

// after returns when so many requests more are due on average than until from: the
// time of the next arrival of a Poisson process of this rate, if n is drawn from an
// exponential distribution of mean 1.
func (p *Profile) after(from time.Duration, n float64) time.Duration {
	if p.Repeat { // whole passes at once: a rate may be low
		if all := p.area(); n >= all {
			passes := math.Floor(n / all)
			from += time.Duration(passes) * p.whole()
			n -= passes * all
		}
	}
	for {
		s, into := p.step(from)
		rate := p.RateAt(from)
		if s.For == 0 {
			return from + seconds(n/rate)
		}
		left := (s.For - into).Seconds()
		if area := (rate + s.To) / 2 * left; area <= n {
			n -= area
			from += s.For - into
			continue
		}
		slope := (s.To - s.From) / s.For.Seconds()
		// rate*t + slope/2*t*t = n, in the form that is exact for small slopes, too.
		t := 2 * n / (rate + math.Sqrt(max(0, rate*rate+2*slope*n)))
		return from + seconds(min(t, left))
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
