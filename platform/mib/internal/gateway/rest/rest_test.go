package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

// service answers what it was asked.
type service struct {
	got proto.Message
	err error
}

func (s *service) similar(_ context.Context, r *connect.Request[mibv1.FindSimilarRequest]) (*connect.Response[mibv1.FindSimilarResponse], error) {
	s.got = r.Msg
	return connect.NewResponse(&mibv1.FindSimilarResponse{
		Symbol: r.Msg.GetSymbol(), Median: 0.25, Episodes: []*mibv1.Episode{{Date: timestamppb.New(time.Date(2008, 10, 10, 0, 0, 0, 0, time.UTC))}},
	}), s.err
}

func (s *service) live(_ context.Context, r *connect.Request[mibv1.ListLiveRequest]) (*connect.Response[mibv1.ListLiveResponse], error) {
	s.got = r.Msg
	return connect.NewResponse(&mibv1.ListLiveResponse{}), s.err
}

func (s *service) tick(_ context.Context, r *connect.Request[mibv1.CreateTickRequest]) (*connect.Response[mibv1.CreateTickResponse], error) {
	s.got = r.Msg
	if s.err != nil {
		return nil, s.err
	}
	resp := connect.NewResponse(&mibv1.CreateTickResponse{Id: r.Header().Get("Idempotency-Key"), Offset: 1 << 60})
	resp.Header().Set("Idempotency-Replayed", "true")
	return resp, nil
}

func (s *service) handler(t testing.TB) http.Handler {
	mux := http.NewServeMux()
	engine := mibv1.File_mib_v1_engine_proto.Services().ByName("EngineService").Methods()
	intel := mibv1.File_mib_v1_intel_proto.Services().ByName("IntelService").Methods()
	add := func(rt Route, ok bool, c Call, status int) {
		if !ok {
			t.Fatal("no rule")
		}
		rt.Call, rt.Status, rt.Time, rt.Log = c, status, time.Second, slog.New(slog.DiscardHandler)
		mux.Handle(rt.Method+" "+rt.Path, rt)
	}
	rt, ok := Rule(engine.ByName("FindSimilar"))
	add(rt, ok, Unary(s.similar), 0)
	rt, ok = Rule(engine.ByName("ListLive"))
	add(rt, ok, Unary(s.live), 0)
	rt, ok = Rule(intel.ByName("CreateTick"))
	add(rt, ok, Unary(s.tick), http.StatusCreated)
	if _, ok := Rule(engine.ByName("ListMoves")); ok {
		t.Fatal("a method without a rule has a route")
	}
	return mux
}

func do(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Idempotency-Key", "k-1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const tick = `{"feed":"desk","symbol":"WTI","time":"2026-01-02T15:04:05Z","price":71.5,"source":"desk"}`

func TestRoutes(t *testing.T) {
	s := &service{}
	h := s.handler(t)
	for _, c := range []struct {
		method, target, body string
		status               int
		want                 string
	}{
		{"GET", "/v1/similar?symbol=WTI&at=2008-10-15&k=3&days=", "", 200, `{"symbol":"WTI","note":"","source":"","days":0,"episodes":[{"date":"2008-10-10T00:00:00Z","distance":0}],"n":0,"rose":0,"median":0.25,"low":0,"high":0,"correlations":{}}`},
		{"GET", "/v1/live", "", 200, "[]"},
		{"POST", "/v1/ticks", tick, 201, `{"id":"k-1","partition":0,"offset":"1152921504606846976"}`},
		{"GET", "/v1/similar?symbol=WTI&k=many", "", 400, `{"error":{"code":"invalid_field","field":"k","message":"must be a whole number"}}`},
		{"GET", "/v1/similar?symbol=WTI&k=1&k=2", "", 400, `{"error":{"code":"invalid_field","field":"k","message":"may be there once"}}`},
		{"GET", "/v1/similar?symbol=WTI&colour=red", "", 400, `{"error":{"code":"invalid_field","field":"colour","message":"is not a parameter"}}`},
		{"GET", "/v1/similar?symbol=%ff", "", 400, `"field":"symbol"`},
		{"GET", "/v1/similar?symbol=%zz", "", 400, `"code":"invalid_query"`},
		{"GET", "/v1/similar?symbol=WTI&k=101", "", 400, `"field":"k"`},
		{"GET", "/v1/similar", "", 400, `"field":"symbol"`},
		{"POST", "/v1/ticks", strings.Replace(tick, "71.5", `"much"`, 1), 400, `"field":"price"`},
		{"POST", "/v1/ticks", strings.Replace(tick, "71.5", `true`, 1), 400, `"field":"price"`},
		{"POST", "/v1/ticks", strings.Replace(tick, "71.5", `1e13`, 1), 400, `"field":"price"`},
		{"POST", "/v1/ticks", strings.Replace(tick, `"price"`, `"prise"`, 1), 400, `"field":"prise"`},
		{"POST", "/v1/ticks", strings.Replace(tick, "2026-01-02", "1826-01-02", 1), 400, `"field":"time"`},
		{"POST", "/v1/ticks", strings.Replace(tick, "WTI", "W I", 1), 400, `"field":"symbol"`},
		{"POST", "/v1/ticks", "{", 400, `"code":"invalid_body"`},
		{"POST", "/v1/ticks", "", 400, `"code":"invalid_body"`},
		{"POST", "/v1/ticks", strings.Repeat(" ", maxBody+1), 413, `"code":"body_too_large"`},
		{"DELETE", "/v1/ticks", "", 405, ""},
	} {
		w := do(h, c.method, c.target, c.body)
		got := strings.TrimSpace(w.Body.String())
		if w.Code != c.status || w.Code < 300 && got != c.want || !strings.Contains(got, c.want) {
			t.Errorf("%s %.60s %.60s: %d %s", c.method, c.target, c.body, w.Code, got)
		}
	}
	if w := do(h, "POST", "/v1/ticks", tick); w.Header().Get("Idempotency-Replayed") != "true" {
		t.Error("headers of the answer are missing")
	}
	if q := s.got.(*mibv1.CreateTickRequest).Tick; q.Price != 71.5 || q.Time.Seconds != 1767366245 {
		t.Errorf("%v", q)
	}
}

// What fails here is not shown to clients.
func TestFailuresAreNotShown(t *testing.T) {
	s := &service{err: errors.New("secret place")}
	w := do(s.handler(t), "POST", "/v1/ticks", tick)
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.err = problem.New(connect.CodeUnavailable, "not_recorded", "", "send it again")
	if w := do(s.handler(t), "POST", "/v1/ticks", tick); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// Whatever is sent as a tick is refused with a reason, or is one that is valid and
// means the same when it is written and read again.
func FuzzBody(f *testing.F) {
	f.Add([]byte(tick))
	f.Add([]byte(`{"price":"NaN"}`))
	f.Add([]byte(`{"time":"0001-01-01T00:00:00Z","id":"\u0000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q mibv1.CreateTickRequest
		q.Tick = &mibv1.Tick{}
		if err := decode(b, q.Tick); err != nil {
			if _, ok := problem.Of(err); !ok {
				t.Fatal(err)
			}
			return
		}
		if problem.Validate(&q) != nil {
			return
		}
		text, err := Marshal(q.Tick)
		if err != nil {
			t.Fatal(err)
		}
		var again mibv1.Tick
		if err := decode(text, &again); err != nil || !proto.Equal(&again, q.Tick) {
			t.Fatalf("%s: %v %v", text, err, &again)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("symbol=WTI&k=3&at=2008-10-15")
	f.Add("feed=a&symbols=b&symbols=c&resumeToken=%00")
	f.Fuzz(func(t *testing.T, raw string) {
		for _, q := range []proto.Message{&mibv1.FindSimilarRequest{}, &mibv1.StreamSignalsRequest{}, &mibv1.StreamAlertsRequest{}} {
			if err := Query(q, raw); err != nil {
				if _, ok := problem.Of(err); !ok {
					t.Fatal(err)
				}
				continue
			}
			if _, err := proto.Marshal(q); err != nil {
				t.Fatalf("%q makes what cannot be sent: %v", raw, err)
			}
		}
	})
}
