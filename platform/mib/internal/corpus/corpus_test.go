package corpus

import (
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

func TestPassages(t *testing.T) {
	r := market.Report{ID: "r", Month: time.Date(2020, 4, 1, 0, 0, 0, 0, time.UTC), Source: "a test",
		Text: "One is 3.5 percent.  Two\nfollows. Is it three? Four! Five ends"}
	got := Passages(r)
	if len(got) != 2 || got[0].Text != "One is 3.5 percent. Two follows. Is it three?" || got[1].Text != "Four! Five ends" ||
		got[1].ID != "r#1" || got[1].Title != "April 2020" || got[1].Exact || got[1].Source != "a test" {
		t.Errorf("got %+v", got)
	}
	if got := Passages(market.Report{}); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// Nothing of a text is lost.
func TestPassagesHaveTheWholeText(t *testing.T) {
	ids := make(map[string]bool)
	s := market.Generate(1)
	for _, r := range s.Reports {
		var parts []string
		for _, p := range Passages(r) {
			parts = append(parts, p.Text)
			if ids[p.ID] {
				t.Fatalf("two passages %s", p.ID)
			}
			ids[p.ID] = true
		}
		if strings.Join(parts, " ") != r.Text {
			t.Fatalf("%s is not the same", r.ID)
		}
	}
	if n := len(Documents(s)); n != len(ids)+len(s.Filings) {
		t.Errorf("%d documents", n)
	}
}
