// Package quality measures how well a search finds what a person would have
// wanted, on queries in other words than the texts'. Thirty queries are a smoke
// test, not a benchmark.
package quality

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
)

// A Query is one question, and the months whose passages answer it.
type Query struct {
	Text        string
	First, Last time.Time // months
}

// ReadQueries reads text/eval-queries.tsv of the sample.
func ReadQueries(r io.Reader) ([]Query, error) {
	cr := csv.NewReader(r)
	cr.Comma, cr.FieldsPerRecord = '\t', 3
	rows, err := cr.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading queries: %w", err)
	}
	var queries []Query
	for i, row := range rows {
		if i == 0 {
			continue // the header
		}
		first, err := time.Parse("2006-01", row[1])
		if err != nil {
			return nil, fmt.Errorf("reading query %d: %w", i, err)
		}
		last, err := time.Parse("2006-01", row[2])
		if err != nil {
			return nil, fmt.Errorf("reading query %d: %w", i, err)
		}
		queries = append(queries, Query{row[0], first, last})
	}
	return queries, nil
}

// A Score is how well one way of searching did.
type Score struct {
	Way          string
	Queries      int
	First, Ten   int     // queries whose first, or one of whose first ten, is right
	MRR          float64 // mean of 1/rank of the first right one among ten
	Ranks        []int   // by query; 0: not among the first ten
	PerQueryMean time.Duration
}

// Evaluate searches by words, by meaning and by both.
func Evaluate(ctx context.Context, s *store.Store, e embed.Embedder, queries []Query) ([]Score, error) {
	var scores []Score
	for _, way := range []string{"words (BM25)", "meaning (vectors)", "both"} {
		score := Score{Way: way, Queries: len(queries)}
		begun := time.Now()
		for _, q := range queries {
			ask := store.Query{Text: q.Text, Kind: corpus.Passage, K: 10}
			if way != "words (BM25)" {
				v, err := e.Embed(ctx, []string{q.Text})
				if err != nil {
					return nil, err
				}
				ask.Vector = v[0]
			}
			if way == "meaning (vectors)" {
				ask.Text = ""
			}
			hits, err := s.Search(ask)
			if err != nil {
				return nil, err
			}
			score.add(rank(hits, q))
		}
		score.MRR /= float64(max(1, len(queries)))
		score.PerQueryMean = time.Since(begun) / time.Duration(max(1, len(queries)))
		scores = append(scores, score)
	}
	return scores, nil
}

func (s *Score) add(rank int) {
	s.Ranks = append(s.Ranks, rank)
	if rank == 0 {
		return
	}
	s.Ten++
	s.MRR += 1 / float64(rank)
	if rank == 1 {
		s.First++
	}
}

func rank(hits []store.Hit, q Query) int {
	for i, h := range hits {
		if !h.Date.Before(q.First) && !h.Date.After(q.Last) {
			return i + 1
		}
	}
	return 0
}
