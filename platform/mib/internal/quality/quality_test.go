package quality

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
)

// The gate on real texts: both ways together find at least 25 of the 30, as many
// as were found when the way was chosen (BM25 alone: 22).
func TestSearchQuality(t *testing.T) {
	root := os.Getenv("EVENKEEL_DATA")
	if root == "" {
		t.Skip("EVENKEEL_DATA does not name a folder with the market sample: no real texts to search")
	}
	sample, err := market.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(root, "market/text/eval-queries.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	queries, err := ReadQueries(f)
	if err != nil {
		t.Fatal(err)
	}
	docs := corpus.Documents(sample)
	var passages, texts []string
	for _, d := range docs {
		texts = append(texts, d.Text)
		if d.Kind == corpus.Passage {
			passages = append(passages, d.Text)
		}
	}
	e := embed.NewWords(sample.Vectors, passages)
	vectors, err := e.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir(), e.Dim())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var items []store.Item
	for i, d := range docs {
		items = append(items, store.Item{Document: d, Vector: vectors[i]})
	}
	if err := s.Upsert(items...); err != nil {
		t.Fatal(err)
	}
	scores, err := Evaluate(t.Context(), s, e, queries)
	if err != nil {
		t.Fatal(err)
	}
	for _, score := range scores {
		t.Logf("%-18s hit@10 %d of %d, hit@1 %d, MRR@10 %.3f", score.Way, score.Ten, score.Queries, score.First, score.MRR)
	}
	if both := scores[2]; both.Ten < 25 || both.Queries != 30 {
		t.Errorf("hit@10 is %d of %d", both.Ten, both.Queries)
	}
}

func TestReadQueries(t *testing.T) {
	q, err := ReadQueries(strings.NewReader("query\tfirst_month\tlast_month\nvirus\t2020-03\t2020-05\n"))
	if err != nil || len(q) != 1 || q[0].Text != "virus" || q[0].Last.Month() != 5 {
		t.Errorf("got %v, %v", q, err)
	}
	for _, bad := range []string{"h\th\th\nvirus\t2020-3\t2020-05\n", "h\th\th\nvirus\t2020-03\n"} {
		if q, err := ReadQueries(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: read %v", bad, q)
		}
	}
}
