// Package stream has what flows between the services: ticks and alerts, the topics
// that they are in, and how a repeated event is recognized.
package stream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topics.
const (
	Ticks  = "ticks"           // keyed by Tick.Key
	Alerts = "alerts"          // one partition, so that its offsets order them
	State  = "analytics-state" // compacted; partition i has the state of partition i of Ticks
	Texts  = "texts"           // compacted, one partition; keyed by the document's id, without a value if it was deleted
)

// Partitions is how many Ticks and State have, and so how many consumers can share
// the work.
const Partitions = 6

// A Tick is a price. Several feeds can have prices of one symbol: the live one, and
// replays of history, each of which is a world of its own.
type Tick struct {
	ID     string    `json:"id"` // of the event: who sends it again gives it the same
	Feed   string    `json:"feed"`
	Symbol string    `json:"symbol"`
	Time   time.Time `json:"time"` // when it was the price
	Price  float64   `json:"price"`
	Source string    `json:"source"`
}

// Key puts the ticks of one price into one partition, in their order.
func (t Tick) Key() string { return t.Feed + "/" + t.Symbol }

// A FieldError says what is wrong with a value, and with which.
type FieldError struct{ Field, Problem string }

func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

const maxName = 128

// Check returns a *FieldError if the tick is none.
func (t Tick) Check() error {
	for _, f := range []struct{ name, value string }{{"id", t.ID}, {"feed", t.Feed}, {"symbol", t.Symbol}} {
		if f.value == "" || len(f.value) > maxName || strings.ContainsFunc(f.value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return &FieldError{f.name, fmt.Sprintf("must have 1 to %d bytes and no spaces", maxName)}
		}
	}
	switch {
	case len(t.Source) > maxName:
		return &FieldError{"source", fmt.Sprintf("must have at most %d bytes", maxName)}
	case t.Time.Year() < 1900 || t.Time.Year() > 2200:
		return &FieldError{"time", "must be between 1900 and 2200"}
	case math.IsNaN(t.Price) || math.IsInf(t.Price, 0) || math.Abs(t.Price) > 1e12:
		return &FieldError{"price", "must be a number, and not beyond 1e12"}
	}
	return nil
}

// DecodeTick decodes a record and checks it. Who has many of them uses a Decoder.
func DecodeTick(b []byte) (Tick, error) { return new(Decoder).Tick(b) }

// Record makes a record of a tick. Its timestamp is when it is sent, not when it was
// the price: brokers delete by it, and what is replayed would be gone at once.
func (t Tick) Record() (*kgo.Record, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return &kgo.Record{Topic: Ticks, Key: []byte(t.Key()), Value: b}, nil
}

// An Alert says that something unusual happened. Its ID follows from what happened
// alone: an analytics process that does its work again after a crash gives the same
// alert the same ID.
type Alert struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Feed    string    `json:"feed"`
	Symbol  string    `json:"symbol"`
	Time    time.Time `json:"time"` // of the event
	Price   float64   `json:"price"`
	Value   float64   `json:"value"` // what was unusual: a score, a ratio, a change
	Message string    `json:"message"`
	Source  string    `json:"source"`
}

// Record makes a record of an alert.
func (a Alert) Record() (*kgo.Record, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return &kgo.Record{Topic: Alerts, Key: []byte(a.ID), Value: b}, nil
}

// NewID returns an identifier that sorts by time: a ULID.
func NewID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	var id [26]byte
	for i := len(id) - 1; i >= 0; i-- { // 5 bits each, from the right
		id[i] = digits[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(id[:])
}

// Seen remembers the last N events. The zero value remembers nothing; its fields
// are exported for JSON.
type Seen struct {
	N    int
	Ring []uint64 // hashes; 64 bits, so among thousands no two events are taken for one
	Next int

	set map[uint64]struct{}
}

// Again reports whether the event is among the last N, and remembers it.
func (s *Seen) Again(id string) bool {
	if s.set == nil {
		s.set = make(map[uint64]struct{}, s.N)
		for _, h := range s.Ring {
			s.set[h] = struct{}{}
		}
	}
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	if _, ok := s.set[h]; ok {
		return true
	}
	if len(s.Ring) < s.N {
		s.Ring = append(s.Ring, h)
	} else {
		delete(s.set, s.Ring[s.Next])
		s.Ring[s.Next] = h
	}
	s.Next = (s.Next + 1) % s.N
	s.set[h] = struct{}{}
	return false
}

// CreateTopics creates the topics that are missing.
func CreateTopics(ctx context.Context, client *kgo.Client, replicas int16) error {
	admin := kadm.NewClient(client)
	compact, ever := "compact", "3153600000000" // ms: 100 years
	for _, t := range []struct {
		name       string
		partitions int32
		config     map[string]*string
	}{
		{Ticks, Partitions, nil},
		{Alerts, 1, nil},
		{State, Partitions, map[string]*string{"cleanup.policy": &compact}},
		// That a document was deleted is kept: a new replica begins with the texts of
		// the sample and has to learn which of them are not wanted.
		{Texts, 1, map[string]*string{"cleanup.policy": &compact, "delete.retention.ms": &ever}},
	} {
		r, err := admin.CreateTopic(ctx, t.partitions, replicas, t.config, t.name)
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("creating the topic %s: %w", t.name, err)
		}
	}
	return nil
}
