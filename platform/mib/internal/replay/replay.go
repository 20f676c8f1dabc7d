// Package replay plays history as if it happened now.
package replay

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Ticks are the prices from one time to another, without the latter, in the order
// of their time. Played twice in one feed, they are the same events.
func Ticks(s *market.Sample, feed string, from, to time.Time) []stream.Tick {
	var ticks []stream.Tick
	for _, series := range s.Series {
		for _, p := range series.Points {
			if p.Date.Before(from) || !p.Date.Before(to) {
				continue
			}
			ticks = append(ticks, stream.Tick{
				ID:   fmt.Sprintf("%s/%s/%s", feed, series.Symbol, p.Date.Format(time.DateOnly)),
				Feed: feed, Symbol: string(series.Symbol), Time: p.Date, Price: p.Close, Source: series.Source,
			})
		}
	}
	slices.SortStableFunc(ticks, func(a, b stream.Tick) int { return a.Time.Compare(b.Time) })
	return ticks
}

// A Speed is how many times faster than real time; 0 is as fast as possible.
type Speed float64

// ParseSpeed reads "5000x" or "max".
func ParseSpeed(s string) (Speed, error) {
	if s == "max" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "x"), 64)
	if err != nil || !(v > 0) || v > 1e12 {
		return 0, fmt.Errorf("%q is no speed: write 5000x, or max", s)
	}
	return Speed(v), nil
}

// batch is how many ticks are sent at once when there is no pace to keep.
const batch = 500

// Play sends ticks at a speed, those of one time together.
func Play(ctx context.Context, ticks []stream.Tick, speed Speed, send func(context.Context, []stream.Tick) error) error {
	if speed == 0 {
		for part := range slices.Chunk(ticks, batch) {
			if err := send(ctx, part); err != nil {
				return err
			}
		}
		return nil
	}
	begun := time.Now()
	for len(ticks) > 0 {
		n := 1
		for n < len(ticks) && ticks[n].Time.Equal(ticks[0].Time) {
			n++
		}
		if err := send(ctx, ticks[:n]); err != nil {
			return err
		}
		if n == len(ticks) {
			return nil
		}
		// Reckoned from the begin, so that what sending takes does not add up.
		due := begun.Add(time.Duration(float64(ticks[n].Time.Sub(ticks[0].Time)) / float64(speed)))
		begun = due
		t := time.NewTimer(time.Until(due))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		ticks = ticks[n:]
	}
	return nil
}
