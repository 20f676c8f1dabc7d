// Package search finds documents by their words (BM25) and merges rankings by
// reciprocal rank. It keeps no documents, only numbers that its user gave them.
package search

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/kljensen/snowball/english"
)

// Words splits text into words in lower case, as they stand.
func Words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// terms are the stems of words, without those that stand in every text. Stemming
// is what takes the time, so stems are remembered in known, if there is one.
func terms(words []string, known map[string]string) []string {
	terms := make([]string, 0, len(words))
	for _, w := range words {
		stem, ok := known[w]
		if !ok {
			if !english.IsStopWord(w) {
				stem = english.Stem(w, false)
			}
			if known != nil && len(known) < maxKnown {
				known[w] = stem
			}
		}
		if stem != "" {
			terms = append(terms, stem)
		}
	}
	return terms
}

// maxKnown bounds the stems that are remembered.
const maxKnown = 1 << 17

// A Result is a document and how well it fits. Scores compare documents within one
// answer and mean nothing else.
type Result struct {
	Doc   uint32
	Score float64
}

// Usual parameters: how fast repetition stops to count, and how much longer texts
// are held back.
const (
	k1 = 1.2
	b  = 0.75
)

type posting struct {
	doc   uint32
	count uint32
}

// An Index is an inverted index. The zero value is empty. Searches may run side by
// side, but not beside Add or Remove.
type Index struct {
	postings map[string][]posting
	lengths  map[uint32]uint32 // in terms; of the documents that are there
	total    uint64            // sum of lengths
	dead     int               // removed, but still in postings
	stems    map[string]string // by word; empty for stop words
}

// Len returns how many documents there are.
func (x *Index) Len() int { return len(x.lengths) }

// Add adds a document. Its number must never have been used before.
func (x *Index) Add(doc uint32, text string) {
	if x.postings == nil {
		x.postings, x.lengths, x.stems = make(map[string][]posting), make(map[uint32]uint32), make(map[string]string)
	}
	counts := make(map[string]uint32)
	terms := terms(Words(text), x.stems)
	for _, t := range terms {
		counts[t]++
	}
	for t, n := range counts {
		x.postings[t] = append(x.postings[t], posting{doc, n})
	}
	x.lengths[doc] = uint32(len(terms))
	x.total += uint64(len(terms))
}

// Remove removes a document. Its postings go when they are as many as the others.
func (x *Index) Remove(doc uint32) {
	n, ok := x.lengths[doc]
	if !ok {
		return
	}
	delete(x.lengths, doc)
	x.total -= uint64(n)
	if x.dead++; x.dead <= len(x.lengths) {
		return
	}
	x.dead = 0
	for t, list := range x.postings {
		list = slices.DeleteFunc(list, func(p posting) bool { _, ok := x.lengths[p.doc]; return !ok })
		if len(list) == 0 {
			delete(x.postings, t)
			continue
		}
		x.postings[t] = slices.Clip(list)
	}
}

// Search returns at most k documents that have a word of the query and that keep
// lets through, the best first; among equals the smallest number.
func (x *Index) Search(query string, k int, keep func(doc uint32) bool) []Result {
	if len(x.lengths) == 0 || k <= 0 {
		return nil
	}
	average := max(1, float64(x.total)/float64(len(x.lengths)))
	scores := make(map[uint32]float64)
	queried := terms(Words(query), nil) // searches run side by side, so they write nothing
	slices.Sort(queried)
	for _, t := range slices.Compact(queried) {
		list := x.postings[t]
		live := 0
		for _, p := range list {
			if _, ok := x.lengths[p.doc]; ok {
				live++
			}
		}
		idf := math.Log(1 + (float64(len(x.lengths)-live)+0.5)/(float64(live)+0.5))
		for _, p := range list {
			length, ok := x.lengths[p.doc]
			if !ok || keep != nil && !keep(p.doc) {
				continue
			}
			n := float64(p.count)
			scores[p.doc] += idf * n * (k1 + 1) / (n + k1*(1-b+b*float64(length)/average))
		}
	}
	results := make([]Result, 0, len(scores))
	for doc, score := range scores {
		results = append(results, Result{doc, score})
	}
	return best(results, k)
}

// rankConstant damps the first ranks: being first in one ranking is worth no more
// than being well placed in two.
const rankConstant = 60

// Merge merges rankings by reciprocal rank: a document's score is the sum of
// 1/(60+rank) over the rankings that it is in. Their scores are not compared,
// because a BM25 score and a cosine have no common scale.
func Merge(k int, rankings ...[]Result) []Result {
	scores := make(map[uint32]float64)
	for _, ranking := range rankings {
		for i, r := range ranking {
			scores[r.Doc] += 1 / float64(rankConstant+i+1)
		}
	}
	results := make([]Result, 0, len(scores))
	for doc, score := range scores {
		results = append(results, Result{doc, score})
	}
	return best(results, k)
}

func best(results []Result, k int) []Result {
	slices.SortFunc(results, func(a, b Result) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Doc, b.Doc)) })
	return results[:min(k, len(results))]
}
