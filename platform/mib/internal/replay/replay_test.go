package replay

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

func TestTicks(t *testing.T) {
	s := market.Generate(1)
	from, to := time.Date(2008, 8, 1, 0, 0, 0, 0, time.UTC), time.Date(2008, 9, 1, 0, 0, 0, 0, time.UTC)
	ticks := Ticks(s, "f", from, to)
	if len(ticks) != 21*3 || ticks[0].Time != from || ticks[0].ID != "f/WTI/2008-08-01" || ticks[0].Source != s.Series[0].Source {
		t.Errorf("%d ticks, the first %+v", len(ticks), ticks[0])
	}
	for i, tick := range ticks {
		if err := tick.Check(); err != nil || i > 0 && tick.Time.Before(ticks[i-1].Time) {
			t.Errorf("%+v: %v", tick, err)
		}
	}
}

// A text comes when it could be read: of a Beige Book that is after its month.
func TestTextsCome(t *testing.T) {
	day := func(y, m, d int) time.Time { return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC) }
	docs := []corpus.Document{{ID: "month", Date: day(2020, 1, 1)}, {ID: "day", Date: day(2020, 1, 15), Exact: true}, {ID: "later", Date: day(2020, 2, 1)}}
	got := Between(docs, day(2020, 1, 15), day(2020, 3, 1))
	if len(got) != 2 || got[0].ID != "month" || got[1].ID != "day" {
		t.Errorf("%v", got)
	}
	events := Events([]stream.Tick{{ID: "price", Time: day(2020, 1, 20)}}, got)
	var order []string
	for _, e := range events {
		if e.Tick != nil {
			order = append(order, e.Tick.ID)
		} else {
			order = append(order, e.Text.ID)
		}
	}
	if !slices.Equal(order, []string{"day", "price", "month"}) {
		t.Errorf("%v", order)
	}
}

func TestParseSpeed(t *testing.T) {
	for s, want := range map[string]Speed{"5000x": 5000, "0.5": 0.5, "max": 0} {
		if got, err := ParseSpeed(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "0x", "-5x", "fast", "NaN", "Inf"} {
		if got, err := ParseSpeed(s); err == nil {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestPlayKeepsThePace(t *testing.T) {
	day := func(i int) time.Time { return time.Date(2008, 8, i, 0, 0, 0, 0, time.UTC) }
	events := Events(
		[]stream.Tick{{ID: "a", Time: day(1)}, {ID: "b", Time: day(1)}, {ID: "d", Time: day(4)}},
		[]corpus.Document{{ID: "c", Date: day(2), Exact: true}},
	)
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		err := Play(t.Context(), events, 86400, func(_ context.Context, part []Event) error {
			at = append(at, time.Since(begun))
			time.Sleep(300 * time.Millisecond) // what sending takes
			return nil
		})
		if err != nil || len(at) != 3 || at[1] != time.Second || at[2] != 3*time.Second {
			t.Errorf("%v %v", at, err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		sent := 0
		err = Play(ctx, events, 86400, func(_ context.Context, part []Event) error { sent += len(part); return nil })
		if !errors.Is(err, context.DeadlineExceeded) || sent != 3 {
			t.Errorf("given up: %v, %d sent", err, sent)
		}
	})
}
