package lifecycle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurns(t *testing.T) {
	phase := 10 * time.Second // told within 8 s
	for _, tt := range []struct {
		total   int
		elapsed time.Duration
		want    int
	}{
		{0, 0, 0},
		{0, time.Hour, 0},
		{3, 0, 1},
		{3, 10 * time.Millisecond, 3}, // few need no spreading
		{1000, time.Second, 201},
		{8000, time.Second, 1000},
		{8000, 4 * time.Second, 4000},
		{8000, 8 * time.Second, 8000},
		{8000, time.Hour, 8000},
	} {
		if got := turns(tt.total, tt.elapsed, phase); got != tt.want {
			t.Errorf("%d streams after %s: %d, want %d", tt.total, tt.elapsed, got, tt.want)
		}
	}
	if got := turns(5, 0, 0); got != 5 {
		t.Errorf("a phase without time: %d", got)
	}
}

// Streams end in the discourage phase, one after the other, and the phase lasts
// until the last one has been told.
func TestStreamsEndInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3000
		l := New(Options{Grace: 100 * time.Second, TerminationLog: "none"})
		_, done := start(t.Context(), l)
		begun := time.Now()
		ends := make(chan time.Duration, n)
		for range n {
			go func() {
				ctx, over := l.Stream(t.Context())
				defer over()
				<-ctx.Done()
				if context.Cause(ctx) != ErrDraining || l.Phase() < Discourage {
					t.Errorf("ended in %s: %v", l.Phase(), context.Cause(ctx))
				}
				ends <- time.Since(begun)
			}()
		}
		synctest.Wait()
		ended, over := l.Stream(t.Context())
		over()
		if !errors.Is(context.Cause(ended), context.Canceled) {
			t.Errorf("a stream that is over: %v", context.Cause(ended))
		}
		l.Drain()
		perSecond := map[time.Duration]int{}
		for range n {
			perSecond[(<-ends).Truncate(time.Second)]++
		}
		for at, n := range perSecond {
			if n > 260 { // 3,000 in 12 s (80 % of 15 %)
				t.Errorf("%d streams ended in the second at %s", n, at)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s := l.Stats().Streams; s.HandedOver != n || s.Ended != 1 || s.Open != 0 {
			t.Errorf("%+v", s)
		}
		late, over := l.Stream(t.Context())
		defer over()
		if context.Cause(late) != ErrDraining {
			t.Errorf("a stream opened too late: %v", context.Cause(late))
		}
	})
}
