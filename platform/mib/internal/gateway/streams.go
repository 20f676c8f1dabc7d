package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/rest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

const (
	beatEvery = 15 * time.Second
	writeTime = 10 * time.Second // a client that takes nothing for so long has gone
)

// An event of a stream of alerts: an alert, a gap before the next one, or nothing
// but the number at which the stream is.
type event struct {
	number int64
	alert  *stream.Alert
	gap    bool
}

// follow calls send with the alerts that come after those that the request names,
// until ctx ends or send fails. The first event says where the stream begins.
func (g *gateway) follow(ctx context.Context, q *mibv1.StreamAlertsRequest, send func(event) error) error {
	select {
	case <-g.Hub.CaughtUp():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	last := g.Hub.Before(int(q.GetRecent()))
	if q.After != nil {
		last = q.GetAfter()
	}
	if err := send(event{number: last}); err != nil {
		return err
	}
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		alerts, gap, more := g.Hub.After(last)
		if gap {
			if err := send(event{number: last, gap: true}); err != nil {
				return err
			}
		}
		for _, a := range alerts {
			last = a.Number
			if err := send(event{number: last, alert: &a.Alert}); err != nil {
				return err
			}
		}
		select {
		case <-more:
		case <-beat.C:
			if err := send(event{number: last}); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leaving is what a stream ends with when the gateway does.
func leaving() error {
	return problem.New(connect.CodeUnavailable, "draining", "", "this replica ends; resume at another").Connect()
}

func (in intel) StreamAlerts(ctx context.Context, r *connect.Request[mibv1.StreamAlertsRequest], s *connect.ServerStream[mibv1.StreamAlertsResponse]) error {
	if err := problem.Validate(r.Msg); err != nil {
		return asConnect(err)
	}
	ctx, done := in.Lifecycle.Stream(ctx)
	defer done()
	err := in.follow(ctx, r.Msg, func(e event) error {
		m := &mibv1.StreamAlertsResponse{Number: e.number}
		switch {
		case e.alert != nil:
			a := e.alert
			m.Event = &mibv1.StreamAlertsResponse_Alert{Alert: &mibv1.Alert{
				Id: a.ID, Kind: a.Kind, Feed: a.Feed, Symbol: a.Symbol, Time: timestamppb.New(a.Time), Price: a.Price, Value: a.Value, Message: a.Message, Source: a.Source,
			}}
		case e.gap:
			m.Event = &mibv1.StreamAlertsResponse_Gap{Gap: true}
		default:
			m.Event = &mibv1.StreamAlertsResponse_Beat{Beat: true}
		}
		return s.Send(m)
	})
	if errors.Is(err, lifecycle.ErrDraining) {
		return leaving()
	}
	return asConnect(err)
}

func asConnect(err error) error {
	if e, ok := problem.Of(err); ok {
		return e.Connect()
	}
	return err
}

// socket streams alerts over a WebSocket: {"event":"alert","id":7,"data":{...}},
// with the same events and numbers as the server-sent ones. Browsers cannot send
// Last-Event-ID here: a client resumes with ?after=.
func (g *gateway) socket(w http.ResponseWriter, r *http.Request) {
	q := &mibv1.StreamAlertsRequest{}
	err := rest.Query(q, r.URL.RawQuery)
	if err == nil {
		err = problem.Validate(q)
	}
	if err != nil {
		rest.Fail(w, "alerts", err, g.Log)
		return
	}
	// A page of another origin is refused.
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 10)
	ctx, done := g.Lifecycle.Stream(c.CloseRead(r.Context()))
	defer done()
	err = g.follow(ctx, q, func(e event) error {
		m := struct {
			Event string `json:"event"`
			ID    int64  `json:"id"`
			Data  any    `json:"data,omitempty"`
		}{Event: "from", ID: e.number}
		switch {
		case e.alert != nil:
			m.Event, m.Data = "alert", e.alert
		case e.gap:
			m.Event, m.Data = "gap", map[string]string{"message": "older alerts are not kept here any more"}
		}
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, writeTime)
		defer cancel()
		return c.Write(ctx, websocket.MessageText, b)
	})
	if errors.Is(err, lifecycle.ErrDraining) {
		_ = c.Close(websocket.StatusGoingAway, "this replica ends; resume at another")
	}
}

// How a broken stream of the engine is taken up again.
const (
	resumeFirst  = 50 * time.Millisecond
	resumeMost   = 2 * time.Second
	resumeWithin = 20 * time.Second // without a message
)

// signals calls send with what the engine streams. When that stream breaks it is
// taken up again where it was, at another replica if there is one; clients see no
// more than a pause.
func (g *gateway) signals(ctx context.Context, q *mibv1.StreamSignalsRequest, send func(*mibv1.StreamSignalsResponse) error) error {
	q = &mibv1.StreamSignalsRequest{Feed: q.GetFeed(), Symbols: q.GetSymbols(), ResumeToken: q.GetResumeToken()}
	wait, heard := resumeFirst, g.Now()
	for {
		ended, err := g.signalsOnce(ctx, q, send, func() { wait, heard = resumeFirst, g.Now() })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !ended {
			return err // the client does not take it
		}
		if connect.IsWireError(err) && connect.CodeOf(err) != connect.CodeUnavailable || g.Now().Sub(heard) > resumeWithin {
			return g.Engine.Problem(ctx, err)
		}
		g.Metrics.streams.WithLabelValues("engine").Inc()
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
		wait = min(2*wait, resumeMost)
	}
}

// signalsOnce reads one stream, and keeps in q where it came to. It reports whether
// the stream ended by itself.
func (g *gateway) signalsOnce(ctx context.Context, q *mibv1.StreamSignalsRequest, send func(*mibv1.StreamSignalsResponse) error, heard func()) (ended bool, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := g.Engine.Stable().StreamSignals(ctx, connect.NewRequest(q))
	if err != nil {
		return true, err
	}
	defer func() { _ = s.Close() }()
	for s.Receive() {
		heard()
		if err := send(s.Msg()); err != nil {
			return false, err
		}
		q.ResumeToken = s.Msg().GetResumeToken()
	}
	if err := s.Err(); err != nil {
		return true, err
	}
	return true, connect.NewError(connect.CodeUnavailable, errors.New("the stream ended"))
}

func (e engine) StreamSignals(ctx context.Context, r *connect.Request[mibv1.StreamSignalsRequest], s *connect.ServerStream[mibv1.StreamSignalsResponse]) error {
	if err := problem.Validate(r.Msg); err != nil {
		return asConnect(err)
	}
	ctx, done := e.Lifecycle.Stream(ctx)
	defer done()
	err := e.signals(ctx, r.Msg, s.Send)
	if errors.Is(err, lifecycle.ErrDraining) {
		return leaving()
	}
	return asConnect(err)
}

// prices streams what the engine does as server-sent events: first "latest" with the
// last reading of every price, then "prices" with those that come, and "gap" where
// some are not kept. The id of an event is the engine's resume token.
func (g *gateway) prices(w http.ResponseWriter, r *http.Request) {
	q := &mibv1.StreamSignalsRequest{}
	err := rest.Query(q, r.URL.RawQuery)
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		q.ResumeToken = id
	}
	if err == nil {
		err = problem.Validate(q)
	}
	if err != nil {
		rest.Fail(w, "prices", err, g.Log)
		return
	}
	ctx, done := g.Lifecycle.Stream(r.Context())
	defer done()
	controller := http.NewResponseController(w)
	begun := false
	begin := func() {
		if !begun {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
			begun = true
		}
	}
	err = g.signals(ctx, q, func(m *mibv1.StreamSignalsResponse) error {
		begin()
		name, data := "", []byte("{}")
		switch e := m.GetEvent().(type) {
		case *mibv1.StreamSignalsResponse_Latest:
			name, data = "latest", readings(e.Latest)
		case *mibv1.StreamSignalsResponse_Prices:
			name, data = "prices", readings(e.Prices)
		case *mibv1.StreamSignalsResponse_Gap:
			name, data = "gap", []byte(`{"message":"prices came faster than they are kept"}`)
		}
		if name == "" {
			fmt.Fprint(w, ": still here\n\n")
		} else {
			fmt.Fprintf(w, "event: %s\nid: %s\ndata: %s\n\n", name, m.GetResumeToken(), data)
		}
		return controller.Flush()
	})
	switch {
	case errors.Is(err, lifecycle.ErrDraining):
		begin()
		fmt.Fprintf(w, "retry: %d\n\n", rand.IntN(1000)) // milliseconds; not all come back at once
		_ = controller.Flush()
	case !begun && ctx.Err() == nil:
		rest.Fail(w, "prices", err, g.Log)
	}
}

// readings is the JSON of the readings alone.
func readings(m *mibv1.LivePrices) []byte {
	b, err := rest.Marshal(m)
	if err != nil {
		return []byte("[]") // unreachable: it came over the wire
	}
	var fields struct{ Prices json.RawMessage }
	if err := json.Unmarshal(b, &fields); err != nil {
		return []byte("[]")
	}
	return fields.Prices
}
