package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/indicator"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

const (
	keptAlerts = 10_000
	keptEvents = 10_000 // for idempotency
	keptPrices = 1_000
	warmUp     = 1_000 // ticks of each partition that are read again at the start
)

// A Numbered is an alert and its offset in the topic. The first of those with the
// same ID counts; every replica reads the topic from its beginning, so all of them
// number alike, and a client may go on at another.
type Numbered struct {
	Number int64        `json:"number"`
	Alert  stream.Alert `json:"alert"`
}

// Latest is a price and what is known of it.
type Latest struct {
	Feed   string `json:"feed"`
	Symbol string `json:"symbol"`
	Time   string `json:"time"`
	Source string `json:"source"`
	indicator.Reading
}

// A Hub keeps what the topics said lately. It is safe for concurrent use.
type Hub struct {
	mu      sync.Mutex
	alerts  []Numbered // the last ones, in their order
	dropped int64      // alerts up to this number are not kept any more; -1: none
	seen    map[string]bool
	order   []string      // of seen
	changed chan struct{} // closed when there are more alerts
	end     int64         // where the topic of alerts ended when Run began
	caught  chan struct{} // closed when everything before end has been read

	prices map[string]*price
	oldest []string // keys of prices, the one that was quiet for longest first
	events map[string]accepted
	ids    []string // of events, in their order

	news          []Latest // a ring of the last readings of all prices
	told          int64    // how many there have been
	moved         bool     // since pricesChanged was closed
	pricesChanged chan struct{}
}

type price struct {
	live     *indicator.Live
	tick     stream.Tick
	latest   Latest
	readings []Latest // the last ones, the oldest first
}

// accepted is an event that is in the topic.
type accepted struct {
	tick      stream.Tick
	partition int32
	offset    int64
}

// NewHub returns an empty hub.
func NewHub() *Hub {
	return &Hub{dropped: -1, seen: make(map[string]bool), changed: make(chan struct{}), caught: make(chan struct{}), pricesChanged: make(chan struct{}), prices: make(map[string]*price), events: make(map[string]accepted)}
}

// Run reads the topics until ctx ends.
func (h *Hub) Run(ctx context.Context, brokers []string, log *slog.Logger) error {
	offsets := map[string]map[int32]kgo.Offset{
		stream.Alerts: {0: kgo.NewOffset().AtStart()},
		stream.Ticks:  {},
	}
	for p := range int32(stream.Partitions) {
		offsets[stream.Ticks][p] = kgo.NewOffset().AtEnd().Relative(-warmUp)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(offsets))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := h.findEnd(ctx, client); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			log.Warn("reading", "topic", e.Topic, "partition", e.Partition, "err", e.Err)
		}
		h.take(fetches.Records(), log)
	}
}

// findEnd finds out what has to be read before anything is new.
func (h *Hub) findEnd(ctx context.Context, client *kgo.Client) error {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, stream.Alerts)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("finding the first alert: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, stream.Alerts)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("finding the last alert: %w", err)
	}
	start, _ := starts.Lookup(stream.Alerts, 0)
	end, _ := ends.Lookup(stream.Alerts, 0)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.end = end.Offset; start.Offset == end.Offset {
		close(h.caught)
	}
	return nil
}

// CaughtUp returns a channel that is closed when Run has read what was there when
// it began: before that, an old alert looks like a new one.
func (h *Hub) CaughtUp() <-chan struct{} { return h.caught }

func (h *Hub) take(records []*kgo.Record, log *slog.Logger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := false
	for _, r := range records {
		if r.Topic == stream.Ticks {
			t, err := stream.DecodeTick(r.Value)
			if err != nil {
				continue // analytics has said so
			}
			h.price(t)
			h.event(accepted{t, r.Partition, r.Offset})
			continue
		}
		if r.Offset == h.end-1 {
			close(h.caught)
		}
		var a stream.Alert
		if err := json.Unmarshal(r.Value, &a); err != nil || a.ID == "" {
			log.Warn("leaving out a record", "topic", r.Topic, "offset", r.Offset, "err", err)
			continue
		}
		if h.seen[a.ID] {
			continue
		}
		h.seen[a.ID] = true
		h.order = append(h.order, a.ID)
		if len(h.order) > 4*keptAlerts {
			delete(h.seen, h.order[0])
			h.order = h.order[1:]
		}
		h.alerts = append(h.alerts, Numbered{r.Offset, a})
		if len(h.alerts) > keptAlerts {
			h.dropped = h.alerts[0].Number
			h.alerts = h.alerts[1:]
		}
		news = true
	}
	if news {
		close(h.changed)
		h.changed = make(chan struct{})
	}
	if h.moved {
		close(h.pricesChanged)
		h.pricesChanged, h.moved = make(chan struct{}), false
	}
}

func (h *Hub) price(t stream.Tick) {
	p := h.prices[t.Key()]
	if p == nil {
		p = &price{live: indicator.NewLive()}
		h.prices[t.Key()] = p
	} else {
		if !t.Time.After(p.tick.Time) {
			return // repeated, or too late for averages
		}
		h.oldest = slices.DeleteFunc(h.oldest, func(k string) bool { return k == t.Key() })
	}
	h.oldest = append(h.oldest, t.Key())
	if len(h.oldest) > keptPrices {
		delete(h.prices, h.oldest[0])
		h.oldest = h.oldest[1:]
	}
	p.tick = t
	p.latest = Latest{t.Feed, t.Symbol, t.Time.UTC().Format("2006-01-02T15:04:05Z07:00"), t.Source, p.live.Add(t.Time, t.Price)}
	h.heard(p)
}

func (h *Hub) event(a accepted) {
	if _, ok := h.events[a.tick.ID]; ok {
		return // the first one is the one that was acknowledged
	}
	h.events[a.tick.ID] = a
	h.ids = append(h.ids, a.tick.ID)
	if len(h.ids) > keptEvents {
		delete(h.events, h.ids[0])
		h.ids = h.ids[1:]
	}
}

func (h *Hub) lookup(id string) (accepted, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, ok := h.events[id]
	return a, ok
}

// Latest returns the prices of a feed, or of all, by feed and symbol.
func (h *Hub) Latest(feed string) []Latest {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []Latest{}
	for _, p := range h.prices {
		if feed == "" || p.tick.Feed == feed {
			list = append(list, p.latest)
		}
	}
	slices.SortFunc(list, func(a, b Latest) int {
		return cmp.Or(cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.Symbol, b.Symbol))
	})
	return list
}

// After returns the alerts with higher numbers, whether some of them are not kept
// any more, and a channel that is closed when there are others.
func (h *Hub) After(number int64) (alerts []Numbered, gap bool, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearchFunc(h.alerts, number, func(a Numbered, n int64) int {
		if a.Number <= n {
			return -1
		}
		return 1
	})
	return slices.Clone(h.alerts[i:]), number < h.dropped, h.changed
}

// Before returns the number after which the last n alerts come, or -1.
func (h *Hub) Before(n int) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n >= len(h.alerts) {
		return h.dropped
	}
	return h.alerts[len(h.alerts)-1-n].Number
}

// Quietest returns the latest prices of a feed, or of all, the one that was quiet for
// longest first: the last one's feed is the one that is played now.
func (h *Hub) Quietest(feed string) []Latest {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []Latest{}
	for _, k := range h.oldest {
		if p := h.prices[k]; feed == "" || p.tick.Feed == feed {
			list = append(list, p.latest)
		}
	}
	return list
}
