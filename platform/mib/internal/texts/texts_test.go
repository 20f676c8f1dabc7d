package texts

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

func document() corpus.Document {
	return corpus.Document{ID: "a#1", Kind: corpus.Passage, Date: time.Date(2008, 9, 1, 0, 0, 0, 0, time.UTC), Title: "September 2008", Text: "Wells were shut in.", Source: "a test"}
}

func TestRecord(t *testing.T) {
	d := document()
	for _, c := range []Change{
		{ID: d.ID, Document: &d},
		{ID: d.ID, Document: &d, Embedder: "words", Vector: []float32{0.5, -1, 0}},
		{ID: d.ID},
	} {
		r, err := c.Record()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(r); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v became %+v: %v", c, got, err)
		}
		if c.Document == nil && r.Value != nil {
			t.Error("a deletion has a value: compaction would keep it for a document")
		}
	}
}

func TestCheck(t *testing.T) {
	if err := Check(document()); err != nil {
		t.Error(err)
	}
	for field, change := range map[string]func(*corpus.Document){
		"id":     func(d *corpus.Document) { d.ID = "" },
		"kind":   func(d *corpus.Document) { d.Kind = strings.Repeat("k", 65) },
		"date":   func(d *corpus.Document) { d.Date = time.Time{} },
		"title":  func(d *corpus.Document) { d.Title = "\xff" },
		"text":   func(d *corpus.Document) { d.Text = strings.Repeat("t", maxText+1) },
		"source": func(d *corpus.Document) { d.Source = strings.Repeat("s", maxName+1) },
	} {
		d := document()
		change(&d)
		var fe *stream.FieldError
		if err := Check(d); !errors.As(err, &fe) || fe.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	d := document()
	r, err := Change{ID: d.ID, Document: &d, Embedder: "words", Vector: []float32{1, 2}}.Record()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Key, r.Value)
	f.Add([]byte("a"), []byte(`{"id":"a","vector":"AAA="}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c, err := Decode(&kgo.Record{Key: key, Value: value})
		if err != nil {
			return
		}
		r, err := c.Record()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Decode(r); err != nil || again.ID != c.ID || len(again.Vector) != len(c.Vector) {
			t.Errorf("%+v became %+v: %v", c, again, err)
		}
	})
}
