// Package corpus makes of reports and filings the documents that are searched.
package corpus

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

// Kinds of documents.
const (
	Passage = "passage"
	Filing  = "filing"
)

// A Document is what is found: a few sentences of a report, or a filing.
type Document struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Date   time.Time `json:"date"`
	Exact  bool      `json:"exact"` // the day is known; if not, only the month
	Title  string    `json:"title"`
	Text   string    `json:"text"`
	Source string    `json:"source"`
}

// perPassage is how many sentences make a passage: enough to be understood alone,
// few enough to be about one thing. It was chosen by the queries that the sample
// comes with, of which 23 to 26 of 30 are answered with two to four sentences and
// different ways to tell where one ends.
const perPassage = 3

// Passages cuts a report into passages of whole sentences.
func Passages(r market.Report) []Document {
	var docs []Document
	for part := range slices.Chunk(sentences(r.Text), perPassage) {
		docs = append(docs, Document{
			ID: fmt.Sprintf("%s#%d", r.ID, len(docs)), Kind: Passage, Date: r.Month,
			Title: r.Month.Format("January 2006"), Text: strings.Join(part, " "), Source: r.Source,
		})
	}
	return docs
}

// sentences splits at a full stop that a space and a capital follow. It errs at
// abbreviations ("St. Louis"); knowing some of them did not help the search.
func sentences(text string) []string {
	var list []string
	text = strings.Join(strings.Fields(text), " ")
	begin := 0
	for i := 0; i+2 < len(text); i++ {
		if (text[i] == '.' || text[i] == '?' || text[i] == '!') && text[i+1] == ' ' && text[i+2] >= 'A' && text[i+2] <= 'Z' {
			list = append(list, text[begin:i+1])
			begin = i + 2
		}
	}
	if begin < len(text) {
		list = append(list, text[begin:])
	}
	return list
}

// Filed makes a document of a filing. Its words are the form and the company's name:
// the text of the filing is not in the sample.
func Filed(f market.Filing) Document {
	return Document{
		ID: "filing:" + f.Path + ":" + f.Form, Kind: Filing, Date: f.Date, Exact: true,
		Title: f.Form + " " + f.Company, Text: f.Form + " " + f.Company, Source: f.Source + ", " + f.Path,
	}
}

// Documents returns all documents of a sample.
func Documents(s *market.Sample) []Document {
	var docs []Document
	for _, r := range s.Reports {
		docs = append(docs, Passages(r)...)
	}
	for _, f := range s.Filings {
		docs = append(docs, Filed(f))
	}
	return docs
}

// Texts returns the texts of the passages among documents.
func Texts(docs []Document) []string {
	var list []string
	for _, d := range docs {
		if d.Kind == Passage {
			list = append(list, d.Text)
		}
	}
	return list
}
