package metrics_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/metrics"
)

var update = flag.Bool("update", false, "write docs/guides/metrics.md anew")

const (
	page  = "../../docs/guides/metrics.md"
	begin = "<!-- Generated from internal/metrics: go test ./internal/metrics -update -->\n"
	end   = "<!-- End of the generated part -->\n"
)

// TestPage keeps the generated part of the page what the catalogue says.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no generated part", page)
	}
	want := before + begin + generated() + end + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s is not what the catalogue says; go test -update writes it anew", page)
	}
}

func generated() string {
	var b strings.Builder
	for _, m := range metrics.Catalog {
		fmt.Fprintf(&b, "\n### %s\n\n", m.Name)
		fmt.Fprintf(&b, "A %s", m.Type)
		if len(m.Labels) > 0 {
			fmt.Fprintf(&b, " by `%s`", strings.Join(m.Labels, "`, `"))
		}
		fmt.Fprintf(&b, ". %s\n\n%s\n", m.Help, m.Meaning)
	}
	b.WriteByte('\n')
	return b.String()
}

// TestCatalogIsComplete: no metric without a word on what it means.
func TestCatalogIsComplete(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range metrics.Catalog {
		if seen[m.Name] || m.Help == "" || m.Meaning == "" || (m.Type == metrics.Histogram) != (m.Buckets != nil) {
			t.Errorf("%s is there twice, or lacks its help, meaning or buckets", m.Name)
		}
		seen[m.Name] = true
		for _, l := range m.Labels {
			if l == "pod" || l == "instance" || l == "node" {
				t.Errorf("%s has the label %s, of which there is no end", m.Name, l)
			}
		}
	}
}
