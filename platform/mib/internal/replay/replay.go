// Package replay plays history as if it happened now.
package replay

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
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

// An Event is a price, or a text, that came at a time.
type Event struct {
	Time time.Time
	Tick *stream.Tick
	Text *corpus.Document
}

// Events puts prices and texts into the order in which they came. A text of which only
// the month is known comes when the month is over: nobody could read it before.
func Events(ticks []stream.Tick, texts []corpus.Document) []Event {
	events := make([]Event, 0, len(ticks)+len(texts))
	for i := range ticks {
		events = append(events, Event{Time: ticks[i].Time, Tick: &ticks[i]})
	}
	for i := range texts {
		events = append(events, Event{Time: Came(texts[i]), Text: &texts[i]})
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return events
}

// Came is when a text could be read first.
func Came(d corpus.Document) time.Time {
	if d.Exact {
		return d.Date
	}
	return d.Date.AddDate(0, 1, 0)
}

// Between are the texts that came from one time to another, without the latter.
func Between(docs []corpus.Document, from, to time.Time) []corpus.Document {
	var list []corpus.Document
	for _, d := range docs {
		if at := Came(d); !at.Before(from) && at.Before(to) {
			list = append(list, d)
		}
	}
	return list
}

// batch is how many events are sent at once when there is no pace to keep.
const batch = 500

// Play sends events at a speed, those of one time together.
func Play(ctx context.Context, events []Event, speed Speed, send func(context.Context, []Event) error) error {
	if speed == 0 {
		for part := range slices.Chunk(events, batch) {
			if err := send(ctx, part); err != nil {
				return err
			}
		}
		return nil
	}
	begun := time.Now()
	for len(events) > 0 {
		n := 1
		for n < len(events) && events[n].Time.Equal(events[0].Time) {
			n++
		}
		if err := send(ctx, events[:n]); err != nil {
			return err
		}
		if n == len(events) {
			return nil
		}
		// Reckoned from the begin, so that what sending takes does not add up.
		due := begun.Add(time.Duration(float64(events[n].Time.Sub(events[0].Time)) / float64(speed)))
		begun = due
		t := time.NewTimer(time.Until(due))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		events = events[n:]
	}
	return nil
}
