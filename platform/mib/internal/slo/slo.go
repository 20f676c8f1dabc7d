// Package slo turns promises into Prometheus rules: for each, the share of bad events
// over several windows, and two alerts on the speed at which the error budget goes.
// An alert wants a long window, which says that much is being spent, and a short one,
// which says that it still is (Site Reliability Workbook, chapter 5).
package slo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A File is a list of promises. Parse returns only valid ones.
type File struct {
	Runbooks string `yaml:"runbooks"` // alerts link to pages below this address
	SLOs     []SLO  `yaml:"slos"`
}

// An SLO promises that a share of events is good, over 30 days.
type SLO struct {
	Name      string  `yaml:"name"`
	Promise   string  `yaml:"promise"`
	Objective float64 `yaml:"objective"` // a share, under 1

	// Counted: Bad of Total, both selectors of counters. The series are one event of
	// each kind, which tests of the rules feed.
	Total      string `yaml:"total"`
	Bad        string `yaml:"bad"`
	BadSeries  string `yaml:"badSeries"`
	GoodSeries string `yaml:"goodSeries"`

	// Measured: an event of the histogram is good if it took at most Within seconds,
	// which has to be one of the histogram's bounds.
	Histogram string  `yaml:"histogram"`
	Where     string  `yaml:"where"`   // which of its events: matchers of labels
	Example   string  `yaml:"example"` // labels of one that matches
	Within    float64 `yaml:"within"`
}

var (
	word   = regexp.MustCompile(`^[a-z]+$`)
	metric = regexp.MustCompile(`^[a-z_]+$`)
)

// Parse reads a file. Its errors name the promise and the field.
func Parse(data []byte) (File, error) {
	var f File
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return File{}, fmt.Errorf("slo file: %w", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return File{}, errors.New("slo file: it has more than one document")
	}
	if !strings.HasPrefix(f.Runbooks, "https://") {
		return File{}, errors.New("slo file: runbooks: want an https URL")
	}
	if len(f.SLOs) == 0 {
		return File{}, errors.New("slo file: slos: it promises nothing")
	}
	seen := make(map[string]bool)
	for i, s := range f.SLOs {
		if err := s.check(); err != nil {
			return File{}, fmt.Errorf("slo file: slos[%d] (%s): %w", i, s.Name, err)
		}
		if seen[s.Name] {
			return File{}, fmt.Errorf("slo file: slos[%d]: %s is there twice", i, s.Name)
		}
		seen[s.Name] = true
	}
	return f, nil
}

func (s SLO) check() error {
	counted := s.Total != "" || s.Bad != "" || s.BadSeries != "" || s.GoodSeries != ""
	measured := s.Histogram != "" || s.Within != 0 || s.Where != "" || s.Example != ""
	switch {
	case !word.MatchString(s.Name):
		return fmt.Errorf("name: %q is not one lower-case word", s.Name)
	case s.Promise == "":
		return errors.New("promise: missing")
	case !(s.Objective >= 0.5 && s.Objective < 1):
		return fmt.Errorf("objective: %v is not a share from 0.5 to less than 1", s.Objective)
	case counted == measured:
		return errors.New("want either total and bad, or histogram and within")
	case counted && (s.Total == "" || s.Bad == "" || s.BadSeries == "" || s.GoodSeries == ""):
		return errors.New("total, bad, badSeries, goodSeries: all four or none")
	case measured && (!metric.MatchString(s.Histogram) || !(s.Within > 0)):
		return errors.New("histogram, within: want the name of a metric and seconds")
	case (s.Where == "") != (s.Example == ""):
		return errors.New("where, example: both or none")
	case s.fastest() >= 1:
		return fmt.Errorf("objective: with %v nothing fails 14.4 times too often, so the fast alert could not fire", s.Objective)
	}
	return nil
}

// A burn is a pair of windows. Factor is the speed against that at which the budget
// lasts exactly 30 days.
type burn struct {
	name, long, short string
	factor            float64
	severity, hold    string
	spent             string
}

var burns = []burn{
	{"Fast", "1h", "5m", 14.4, "critical", "2m", "2 % of a month's error budget in an hour"},
	{"Slow", "6h", "30m", 6, "warning", "15m", "5 % of a month's error budget in six hours"},
}

func (s SLO) fastest() float64 { return burns[0].factor * (1 - s.Objective) }

// ratio returns the share of bad events over a window.
func (s SLO) ratio(window string) string {
	if s.Histogram != "" {
		// Prometheus 3 writes a whole bound as 5.0, older ones as 5.
		return fmt.Sprintf(`1 - sum(rate(%s_bucket{%s}[%s])) / sum(rate(%s_count{%s}[%s]))`,
			s.Histogram, list(s.Where, `le=~"`+s.bound()+`"`), window, s.Histogram, s.Where, window)
	}
	// Without a bad event there is no series of one: that is 0, not unknown.
	return fmt.Sprintf("(sum(rate(%s[%s])) or vector(0)) / sum(rate(%s[%s]))", s.Bad, window, s.Total, window)
}

// list joins matchers of labels.
func list(matchers ...string) string {
	return strings.Join(slices.DeleteFunc(matchers, func(m string) bool { return m == "" }), ",")
}

func (s SLO) bound() string {
	text := regexp.QuoteMeta(strconv.FormatFloat(s.Within, 'g', -1, 64))
	if !strings.Contains(text, ".") {
		text += `(\.0)?`
	}
	return strings.ReplaceAll(text, `\`, `\\`)
}

func (s SLO) record(window string) string {
	return "slo:mib_" + s.Name + "_errors:ratio_rate" + window
}

func (s SLO) alert(b burn) string {
	return "Mib" + strings.ToUpper(s.Name[:1]) + s.Name[1:] + "Burn" + b.name
}

// share writes a share as a percentage.
func share(x float64) string { return strconv.FormatFloat(100*x, 'g', 6, 64) + " %" }
