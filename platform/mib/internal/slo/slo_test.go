package slo

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway"
)

var update = flag.Bool("update", false, "write rules.yaml and rules_test.yaml anew")

// The rules that are committed are those of the promises. That Prometheus accepts them,
// and that each alert fires when it should, rendertest checks, which has Prometheus.
func TestRulesAreThoseOfThePromises(t *testing.T) {
	data, err := os.ReadFile("../../slo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for name, render := range map[string]func(File) ([]byte, error){"../../rules.yaml": Rules, "../../rules_test.yaml": Tests} {
		want, err := render(f)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name, want, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what slo.yaml makes (%v); -update writes it anew", name, err)
		}
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	const (
		top      = "runbooks: https://x\nslos:\n"
		counted  = "- {name: a, promise: p, objective: 0.999, total: t, bad: b, badSeries: b, goodSeries: g}\n"
		measured = "- {name: b, promise: p, objective: 0.99, histogram: h, within: 5}\n"
	)
	if _, err := Parse([]byte(top + counted + measured)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no promises":      {"runbooks: https://x\n", "it promises nothing"},
		"no address":       {"slos:\n" + counted, "runbooks: want an https URL"},
		"unknown field":    {top + "- {nam: a}\n", "nam"},
		"two documents":    {top + counted + "---\n{}\n", "more than one document"},
		"twice":            {top + counted + counted, "slos[1]: a is there twice"},
		"name":             {top + strings.Replace(counted, "name: a", "name: A-b", 1), "slos[0] (A-b): name"},
		"no promise":       {top + strings.Replace(counted, "promise: p, ", "", 1), "promise: missing"},
		"all of them":      {top + strings.Replace(counted, "0.999", "1", 1), "objective: 1 is not a share"},
		"not a number":     {top + strings.Replace(counted, "0.999", ".nan", 1), "objective: NaN"},
		"too low to alert": {top + strings.Replace(counted, "0.999", "0.9", 1), "the fast alert could not fire"},
		"both":             {top + strings.Replace(counted, "total: t", "total: t, histogram: h", 1), "want either"},
		"neither":          {top + "- {name: a, promise: p, objective: 0.99}\n", "want either"},
		"half":             {top + strings.Replace(counted, "bad: b, ", "", 1), "all four or none"},
		"where to feed":    {top + strings.Replace(measured, "within: 5", "within: 5, where: x", 1), "both or none"},
		"no bound":         {top + strings.Replace(measured, ", within: 5", "", 1), "histogram, within"},
	} {
		if _, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// heard is a registry that only remembers what metrics there are.
type heard struct {
	prometheus.Registerer
	names map[string]bool
}

func (h heard) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	for d := range ch {
		name, _, _ := strings.Cut(strings.TrimPrefix(d.String(), `Desc{fqName: "`), `"`)
		h.names[name] = true
	}
	return nil
}

func (h heard) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = h.Register(c)
	}
}

// Promises are about metrics that the services have.
func TestMetricsAreThere(t *testing.T) {
	data, err := os.ReadFile("../../slo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	h := heard{names: make(map[string]bool)}
	gateway.NewMetrics(h)
	h.MustRegister(analytics.NewMetrics())
	for _, s := range f.SLOs {
		total, _, _ := strings.Cut(s.Total, "{")
		if name := total + s.Histogram; !h.names[name] {
			t.Errorf("%s: no service has %s", s.Name, name)
		}
	}
	// What a histogram counts under a bound that it has not, nobody knows.
	reg := prometheus.NewRegistry()
	reg.MustRegister(analytics.NewMetrics())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, s := range f.SLOs {
			if s.Histogram != family.GetName() {
				continue
			}
			if !slices.ContainsFunc(family.GetMetric()[0].GetHistogram().GetBucket(), func(b *dto.Bucket) bool { return b.GetUpperBound() == s.Within }) {
				t.Errorf("%s: %s has no bound %v", s.Name, s.Histogram, s.Within)
			}
		}
	}
}
