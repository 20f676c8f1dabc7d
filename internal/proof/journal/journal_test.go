package journal

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/proof"
)

// sink keeps lines, after having failed for a while.
type sink struct {
	mu    sync.Mutex
	fails int
	lines []proof.Line
}

func (s *sink) Append(_ context.Context, id string, line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return errors.New("disk full")
	}
	l, err := proof.Decode(line)
	if err != nil || l.Interruption != id {
		return errors.New("not a line")
	}
	s.lines = append(s.lines, l)
	return nil
}

func event(k drain.EventKind, instance string) drain.Event {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return drain.Event{Kind: k, At: noon, Node: "n", Reason: drain.NoticeReceived, Record: drain.Record{
		Notice: interruption.Notice{Instance: interruption.InstanceID(instance)}, Deadline: noon.Add(time.Minute), Stored: noon}}
}

func TestJournal(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fails int
		want  []proof.Outcome
		lost  int
	}{
		{"works", 0, []proof.Outcome{proof.Gone, proof.Unfinished}, 0},
		{"fails for a while", attempts - 1, []proof.Outcome{proof.Gone, proof.Unfinished}, 0},
		{"fails for good", 1000, nil, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				s := &sink{fails: tc.fails}
				j := New("", s, slog.New(slog.NewTextHandler(&log, nil)))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- j.Run(ctx) }()
				j.Observe(event(drain.EventNoticed, "i-a"))
				j.Observe(event(drain.EventNoticed, "i-b"))
				j.Observe(event(drain.EventClosed, "i-a"))
				time.Sleep(time.Minute)
				cancel()
				stopping := time.Now()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if took := time.Since(stopping); took > flush {
					t.Errorf("stopping took %v", took)
				}
				var got []proof.Outcome
				for _, l := range s.lines {
					got = append(got, l.Outcome)
				}
				if len(got) != len(tc.want) || len(got) > 0 && (got[0] != tc.want[0] || got[1] != tc.want[1]) {
					t.Errorf("wrote %v, want %v", got, tc.want)
				}
				// What could not be written stands in the log, whole.
				if n := strings.Count(log.String(), "could not be written"); n != tc.lost || strings.Count(log.String(), "evenkeel-interruption/1") != tc.lost {
					t.Errorf("%d lines in the log, want %d", n, tc.lost)
				}
			})
		})
	}
}

// TestWriter: one line is one write.
func TestWriter(t *testing.T) {
	var b bytes.Buffer
	if err := (Writer{&b}).Append(t.Context(), "i", []byte("{}\n")); err != nil || b.String() != "{}\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
