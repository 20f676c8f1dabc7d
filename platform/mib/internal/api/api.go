// Package api answers analysts over HTTP: JSON, and server-sent events for alerts.
//
// Every answer names sources and dates. A similarity compares texts within one
// answer; it is never called a prediction, and what prices did afterwards is counted,
// not forecast.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/history"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Limits of requests.
const (
	maxBody     = 64 << 10
	maxQuestion = 1000 // bytes
	maxResults  = 100
	maxDays     = 3650
	queryTime   = 5 * time.Second
)

// Server has what the answers are made of.
type Server struct {
	Lifecycle *lifecycle.Lifecycle // ends streams
	Sample    *market.Sample
	Store     *store.Store
	Embedder  embed.Embedder
	Hub       *Hub
	Producer  *kgo.Client // partitions by key
	Now       func() time.Time

	pasts history.Pasts
}

// Handler returns the routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ask", s.ask)
	mux.HandleFunc("GET /v1/series", s.series)
	mux.HandleFunc("GET /v1/similar", s.similar)
	mux.HandleFunc("GET /v1/live", s.live)
	mux.HandleFunc("GET /v1/prices", s.prices)
	mux.HandleFunc("GET /v1/readings", s.readings)
	mux.HandleFunc("GET /v1/alerts", s.alerts)
	mux.HandleFunc("POST /v1/ticks", s.post)
	return mux
}

// Answer is what Ask returns.
type Answer struct {
	Question  string    `json:"question"`
	Note      string    `json:"note"`
	Synthetic bool      `json:"synthetic"` // made of generated data
	Days      int       `json:"days"`
	Passages  []Passage `json:"passages"`
	// Summary counts the moves after the passages, once for each day that they are
	// counted from. Prices without any are left out.
	Summary []history.Summary `json:"summary"`
	Filings []Filing          `json:"filings"`
}

// A Passage is a text like the question, and what prices did after it.
type Passage struct {
	store.Hit
	// Counted says from when Moves are counted: where only the month of a text is
	// known, from its last day, so that nothing is counted that came before it.
	Counted time.Time      `json:"counted"`
	Moves   []history.Move `json:"moves"`
}

// A Filing is a filing whose form or company is like the question.
type Filing struct{ store.Hit }

func (s *Server) ask(w http.ResponseWriter, r *http.Request) {
	question := r.URL.Query().Get("q")
	if question == "" || len(question) > maxQuestion {
		fail(w, http.StatusBadRequest, "invalid_field", "q", fmt.Sprintf("must have 1 to %d bytes", maxQuestion))
		return
	}
	k, ok := number(w, r, "k", 5, 1, maxResults)
	if !ok {
		return
	}
	days, ok := number(w, r, "days", 60, 1, maxDays)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	vectors, err := s.Embedder.Embed(ctx, []string{question})
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "embedder_failed", "", "the question could not be embedded")
		return
	}
	answer := Answer{Question: question, Note: history.Note, Synthetic: s.Sample.Synthetic, Days: days, Passages: []Passage{}, Summary: []history.Summary{}, Filings: []Filing{}}
	passages, err := s.Store.Search(store.Query{Text: question, Vector: vectors[0], Kind: corpus.Passage, K: k})
	if err != nil {
		fail(w, http.StatusInternalServerError, "search_failed", "", err.Error())
		return
	}
	for _, h := range passages {
		p := Passage{Hit: h, Counted: h.Date, Moves: []history.Move{}}
		if !h.Exact {
			p.Counted = h.Date.AddDate(0, 1, -1)
		}
		for _, symbol := range history.Watched {
			if series, ok := s.Sample.Lookup(symbol); ok {
				if m, ok := history.After(series, p.Counted, days); ok {
					p.Moves = append(p.Moves, m)
				}
			}
		}
		answer.Passages = append(answer.Passages, p)
	}
	var moves []history.Move
	for _, p := range answer.Passages {
		moves = append(moves, p.Moves...)
	}
	for _, symbol := range history.Watched {
		if sum := history.SummarizeMoves(symbol, moves); sum.N > 0 {
			answer.Summary = append(answer.Summary, sum)
		}
	}
	// Of filings only the form and the company are known: a name that has a word of
	// the question is like it, a name whose letters mean something near is not.
	filings, err := s.Store.Search(store.Query{Text: question, Kind: corpus.Filing, K: k})
	if err != nil {
		fail(w, http.StatusInternalServerError, "search_failed", "", err.Error())
		return
	}
	for _, h := range filings {
		answer.Filings = append(answer.Filings, Filing{h})
	}
	reply(w, http.StatusOK, answer)
}

func (s *Server) series(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		Symbol market.Symbol `json:"symbol"`
		Name   string        `json:"name"`
		Unit   string        `json:"unit"`
		Source string        `json:"source"`
		First  time.Time     `json:"first"`
		Last   time.Time     `json:"last"`
		Count  int           `json:"count"`
	}
	list := []entry{}
	for _, x := range s.Sample.Series {
		if n := len(x.Points); n > 0 {
			list = append(list, entry{x.Symbol, x.Name, x.Unit, x.Source, x.Points[0].Date, x.Points[n-1].Date, n})
		}
	}
	reply(w, http.StatusOK, list)
}

// Likeness is what Similar returns.
type Likeness struct {
	Symbol       market.Symbol             `json:"symbol"`
	At           time.Time                 `json:"at"`
	Note         string                    `json:"note"`
	Source       string                    `json:"source"`
	Days         int                       `json:"days"`
	Episodes     []history.Episode         `json:"episodes"`
	Counted      int                       `json:"n"`    // episodes whose days after are known
	Rose         int                       `json:"rose"` // those of them after which the price was higher
	Median       float64                   `json:"median"`
	Low          float64                   `json:"low"`
	High         float64                   `json:"high"`
	Correlations map[market.Symbol]float64 `json:"correlations"` // of the last 60 common days
}

func (s *Server) similar(w http.ResponseWriter, r *http.Request) {
	series, ok := s.Sample.Lookup(market.Symbol(r.URL.Query().Get("symbol")))
	if !ok {
		fail(w, http.StatusNotFound, "unknown_symbol", "symbol", "is not a symbol of GET /v1/series")
		return
	}
	at := series.Points[len(series.Points)-1].Date
	if v := r.URL.Query().Get("at"); v != "" {
		var err error
		if at, err = time.Parse(time.DateOnly, v); err != nil {
			fail(w, http.StatusBadRequest, "invalid_field", "at", "must be a date like 2008-10-15")
			return
		}
	}
	k, ok := number(w, r, "k", 10, 1, maxResults)
	if !ok {
		return
	}
	days, ok := number(w, r, "days", 60, 1, maxDays)
	if !ok {
		return
	}
	like, err := history.Like(&s.pasts, s.Sample, series, at, k, days)
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_field", "at", err.Error())
		return
	}
	answer := Likeness{
		Symbol: series.Symbol, At: at, Note: history.Note, Source: series.Source, Days: days,
		Episodes: like.Episodes, Correlations: like.Correlations,
		Counted: like.N, Rose: like.Rose, Median: like.Median, Low: like.Low, High: like.High,
	}
	reply(w, http.StatusOK, answer)
}

func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, s.Hub.Latest(r.URL.Query().Get("feed")))
}

// alerts streams alerts. A client that was cut off says in Last-Event-ID what it had
// last, to this replica or to another, and gets what came after it. Without that
// the stream begins now, or after the number in the parameter after (-1 is before
// the first), or with as many of the last ones as the parameter recent says.
func (s *Server) alerts(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.Hub.CaughtUp():
	case <-r.Context().Done():
		return
	}
	recent, ok := number(w, r, "recent", 0, 0, keptAlerts)
	if !ok {
		return
	}
	last := s.Hub.Before(recent)
	for field, value := range map[string]string{"after": r.URL.Query().Get("after"), "Last-Event-ID": r.Header.Get("Last-Event-ID")} {
		if value == "" || field == "after" && r.Header.Get("Last-Event-ID") != "" {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			fail(w, http.StatusBadRequest, "invalid_field", field, "must be the id of an event")
			return
		}
		last = n
	}
	ctx, done := s.Lifecycle.Stream(r.Context())
	defer done()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	// A number at once: a client that is cut off before its first alert has to know
	// where it was. One that resumes knows.
	if r.Header.Get("Last-Event-ID") == "" {
		fmt.Fprintf(w, "event: from\nid: %d\ndata: {}\n\n", last)
	}
	flush := http.NewResponseController(w).Flush
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	for {
		alerts, gap, more := s.Hub.After(last)
		if gap {
			fmt.Fprint(w, "event: gap\ndata: {\"message\":\"older alerts are not kept here any more\"}\n\n")
		}
		for _, a := range alerts {
			b, err := json.Marshal(a.Alert)
			if err != nil {
				continue // unreachable: it was decoded
			}
			fmt.Fprintf(w, "event: alert\nid: %d\ndata: %s\n\n", a.Number, b)
			last = a.Number
		}
		if err := flush(); err != nil {
			return
		}
		select {
		case <-more:
		case <-beat.C:
			fmt.Fprint(w, ": still here\n\n")
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), lifecycle.ErrDraining) {
				fmt.Fprintf(w, "retry: %d\n\n", rand.IntN(1000)) // milliseconds; not all come back at once
				_ = flush()
			}
			return
		}
	}
}

// Receipt answers a tick that is in the topic.
type Receipt struct {
	ID        string `json:"id"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// post takes a tick. It answers 2xx once the broker has acknowledged it. Its id is
// that of the body, or the Idempotency-Key, or a new one. The same id again gets the
// answer of the first one when that has come back from the topic; if it has not yet,
// the tick is in the topic twice, and whoever reads it recognizes the id.
func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	var t stream.Tick
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		var tooLarge *http.MaxBytesError
		var wrongType *json.UnmarshalTypeError
		switch {
		case errors.As(err, &tooLarge):
			fail(w, http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("a tick has at most %d bytes", maxBody))
		case errors.As(err, &wrongType):
			fail(w, http.StatusBadRequest, "invalid_field", wrongType.Field, "must not be a "+wrongType.Value)
		default:
			fail(w, http.StatusBadRequest, "invalid_body", "", err.Error())
		}
		return
	}
	if key := r.Header.Get("Idempotency-Key"); t.ID == "" && key != "" {
		t.ID = key
	}
	if t.ID == "" {
		t.ID = stream.NewID(s.Now())
	}
	var wrong *stream.FieldError
	if err := t.Check(); errors.As(err, &wrong) {
		fail(w, http.StatusBadRequest, "invalid_field", wrong.Field, wrong.Problem)
		return
	}
	if before, ok := s.Hub.lookup(t.ID); ok {
		if !same(before.tick, t) {
			fail(w, http.StatusConflict, "id_used", "id", "belongs to another tick")
			return
		}
		w.Header().Set("Idempotency-Replayed", "true")
		reply(w, http.StatusCreated, Receipt{t.ID, before.partition, before.offset})
		return
	}
	record, err := t.Record()
	if err != nil {
		fail(w, http.StatusInternalServerError, "not_recorded", "", "the tick could not be encoded")
		return
	}
	// Not under the request's context: what is on its way to the broker when the
	// client goes is recorded or not, but never half.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), queryTime)
	defer cancel()
	if err := s.Producer.ProduceSync(ctx, record).FirstErr(); err != nil {
		fail(w, http.StatusServiceUnavailable, "not_recorded", "", "the broker did not acknowledge; send it again with the same id")
		return
	}
	reply(w, http.StatusCreated, Receipt{t.ID, record.Partition, record.Offset})
}

func same(a, b stream.Tick) bool {
	return a.Time.Equal(b.Time) && a.Feed == b.Feed && a.Symbol == b.Symbol && a.Price == b.Price && a.Source == b.Source
}

// number reads a parameter, and answers if it is wrong.
func number(w http.ResponseWriter, r *http.Request, field string, absent, least, most int) (int, bool) {
	v := r.URL.Query().Get(field)
	if v == "" {
		return absent, true
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		fail(w, http.StatusBadRequest, "invalid_field", field, fmt.Sprintf("must be a number from %d to %d", least, most))
		return 0, false
	}
	return n, true
}

// problem is the body of every answer that is an error.
type problem struct {
	Code    string `json:"code"`            // for programs; does not change
	Field   string `json:"field,omitempty"` // what in the request is wrong
	Message string `json:"message"`         // for people
}

func fail(w http.ResponseWriter, status int, code, field, message string) {
	reply(w, status, map[string]problem{"error": {code, field, message}})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone; nobody is left to tell
}
