// Package texts has what flows through the topic of texts: documents that came or
// were replaced, and ids of those that were deleted. The id of a document is the key
// of its record, so what is sent twice is the same document, and a compacted topic
// keeps the last state of each.
package texts

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// A Change is a document that came or was replaced, or, without one, the id of one
// that was deleted.
type Change struct {
	ID       string
	Document *corpus.Document

	// Vector is that of the document's text, if whoever sent it had one, by the
	// embedder with this id. Readers that embed by another make their own.
	Embedder string
	Vector   []float32
}

// Limits of a document, in bytes.
const (
	maxID   = 512
	maxKind = 64
	maxName = 1024
	maxText = 64 << 10
	maxDim  = 4096
)

// Check returns a *stream.FieldError if the document cannot be one.
func Check(d corpus.Document) error {
	for _, f := range []struct {
		name, value string
		least, most int
	}{{"id", d.ID, 1, maxID}, {"kind", d.Kind, 1, maxKind}, {"title", d.Title, 0, maxName}, {"text", d.Text, 0, maxText}, {"source", d.Source, 0, maxName}} {
		if len(f.value) < f.least || len(f.value) > f.most {
			return &stream.FieldError{Field: f.name, Problem: fmt.Sprintf("must have %d to %d bytes", f.least, f.most)}
		}
		if !utf8.ValidString(f.value) {
			return &stream.FieldError{Field: f.name, Problem: "must be UTF-8"}
		}
	}
	if d.Date.Year() < 1000 || d.Date.Year() > 9999 {
		return &stream.FieldError{Field: "date", Problem: "must be between the years 1000 and 9999"}
	}
	return nil
}

// written is the value of a record.
type written struct {
	corpus.Document
	Embedder string `json:"embedder,omitempty"`
	Vector   []byte `json:"vector,omitempty"` // float32, little-endian
}

// Record makes a record of a change.
func (c Change) Record() (*kgo.Record, error) {
	r := &kgo.Record{Topic: stream.Texts, Key: []byte(c.ID)}
	if c.Document == nil {
		return r, nil
	}
	w := written{Document: *c.Document, Embedder: c.Embedder}
	for _, x := range c.Vector {
		w.Vector = binary.LittleEndian.AppendUint32(w.Vector, math.Float32bits(x))
	}
	var err error
	r.Value, err = json.Marshal(w)
	return r, err
}

// Decode decodes a record and checks it.
func Decode(r *kgo.Record) (Change, error) {
	c := Change{ID: string(r.Key)}
	if c.ID == "" || len(c.ID) > maxID {
		return Change{}, errors.New("decoding a text: its key is no id")
	}
	if r.Value == nil {
		return c, nil
	}
	var w written
	if err := json.Unmarshal(r.Value, &w); err != nil {
		return Change{}, fmt.Errorf("decoding a text: %w", err)
	}
	switch err := Check(w.Document); {
	case err != nil:
		return Change{}, fmt.Errorf("decoding a text: %w", err)
	case w.ID != c.ID:
		return Change{}, fmt.Errorf("decoding a text: it has the id %q and the key %q", w.ID, c.ID)
	case len(w.Vector)%4 != 0 || len(w.Vector) > 4*maxDim:
		return Change{}, fmt.Errorf("decoding a text: %d bytes are no vector", len(w.Vector))
	}
	c.Document, c.Embedder = &w.Document, w.Embedder
	for b := w.Vector; len(b) > 0; b = b[4:] {
		x := math.Float32frombits(binary.LittleEndian.Uint32(b))
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return Change{}, errors.New("decoding a text: its vector has an element that is no number")
		}
		c.Vector = append(c.Vector, x)
	}
	return c, nil
}
