package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/indicator"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

const (
	keptReadings = 300  // of each price
	keptNews     = 4096 // of all prices together
	gather       = 100 * time.Millisecond
)

// Readings is a price and its indicators over time, the oldest first.
type Readings struct {
	Feed     string   `json:"feed"` // empty: what the sample says, not what came as ticks
	Symbol   string   `json:"symbol"`
	Readings []Latest `json:"readings"`
}

// Readings returns what is kept of one price of a feed, at most the last n.
func (h *Hub) Readings(feed, symbol string, n int) []Latest {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.prices[feed+"/"+symbol]
	if p == nil {
		return nil
	}
	return append([]Latest(nil), p.readings[max(0, len(p.readings)-n):]...)
}

// heard keeps a reading for charts and for those who follow. The caller holds mu.
func (h *Hub) heard(p *price) {
	if len(p.readings) == keptReadings {
		copy(p.readings, p.readings[1:])
		p.readings = p.readings[:keptReadings-1]
	}
	p.readings = append(p.readings, p.latest)
	if h.news == nil {
		h.news = make([]Latest, keptNews)
	}
	h.news[h.told%keptNews] = p.latest
	h.told++
	h.moved = true
}

// NewsAfter returns the readings that came after the first n ones, how many there
// have been in all, whether some of those asked for are not kept any more, and a
// channel that is closed when there are others. The count is this replica's own: it
// is no token for another one.
func (h *Hub) NewsAfter(n int64) (news []Latest, told int64, gap bool, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gap = n < h.told-keptNews
	for i := max(n, h.told-keptNews, 0); i < h.told; i++ {
		news = append(news, h.news[i%keptNews])
	}
	return news, h.told, gap, h.pricesChanged
}

// readings answers with one price and its indicators over time: of a feed, or, without
// one, of the sample up to a date.
func (s *Server) readings(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, ok := number(w, r, "n", keptReadings, 1, keptReadings)
	if !ok {
		return
	}
	feed, symbol := q.Get("feed"), q.Get("symbol")
	if feed != "" {
		list := s.Hub.Readings(feed, symbol, n)
		if list == nil {
			fail(w, http.StatusNotFound, "unknown_symbol", "symbol", "has no price in this feed; see GET /v1/live")
			return
		}
		reply(w, http.StatusOK, Readings{feed, symbol, list})
		return
	}
	series, ok := s.Sample.Lookup(market.Symbol(symbol))
	if !ok {
		fail(w, http.StatusNotFound, "unknown_symbol", "symbol", "is not a symbol of GET /v1/series")
		return
	}
	to := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if v := q.Get("to"); v != "" {
		var err error
		if to, err = time.Parse(time.DateOnly, v); err != nil {
			fail(w, http.StatusBadRequest, "invalid_field", "to", "must be a date like 2008-10-15")
			return
		}
	}
	points := series.Points
	for len(points) > 0 && points[len(points)-1].Date.After(to) {
		points = points[:len(points)-1]
	}
	answer := Readings{Symbol: symbol, Readings: []Latest{}}
	live := indicator.NewLive()
	for i, p := range points {
		reading := live.Add(p.Date, p.Close)
		if i >= len(points)-n {
			answer.Readings = append(answer.Readings, Latest{Symbol: symbol, Time: p.Date.UTC().Format(time.RFC3339), Source: series.Source, Reading: reading})
		}
	}
	reply(w, http.StatusOK, answer)
}

// prices streams readings as they come: first "latest" with the last one of every
// price, the one that was quiet for longest first, then "prices" with all that came since, together if they come fast, and
// "gap" where they came faster than they could be kept.
func (s *Server) prices(w http.ResponseWriter, r *http.Request) {
	feed := r.URL.Query().Get("feed")
	ctx, done := s.Lifecycle.Stream(r.Context())
	defer done()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, told, _, _ := s.Hub.NewsAfter(1 << 62)
	send := func(event string, list []Latest) {
		b, err := json.Marshal(list)
		if err == nil { // prices are numbers: it cannot fail
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, b)
		}
	}
	send("latest", s.Hub.Quietest(feed))
	flush := http.NewResponseController(w).Flush
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	for {
		news, now, gap, more := s.Hub.NewsAfter(told)
		told = now
		if gap {
			fmt.Fprint(w, "event: gap\ndata: {\"message\":\"prices came faster than they are kept\"}\n\n")
		}
		chosen := news[:0]
		for _, l := range news {
			if feed == "" || l.Feed == feed {
				chosen = append(chosen, l)
			}
		}
		if len(chosen) > 0 {
			send("prices", chosen)
		}
		if err := flush(); err != nil {
			return
		}
		select {
		case <-more:
			wait(ctx, gather)
		case <-beat.C:
			fmt.Fprint(w, ": still here\n\n")
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			if errors.Is(context.Cause(ctx), lifecycle.ErrDraining) {
				fmt.Fprintf(w, "retry: %d\n\n", rand.IntN(1000)) // milliseconds; not all come back at once
				_ = flush()
			}
			return
		}
	}
}

// wait waits for a while, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
