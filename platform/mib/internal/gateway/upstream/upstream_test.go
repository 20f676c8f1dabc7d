package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

// script is a client whose method does what a function says.
type script func(ctx context.Context) (*mibv1.ListSeriesResponse, error)

func (f script) List(ctx context.Context, _ *connect.Request[mibv1.ListSeriesRequest]) (*connect.Response[mibv1.ListSeriesResponse], error) {
	m, err := f(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(m), nil
}

func ask(ctx context.Context, u *Upstream[script]) (*mibv1.ListSeriesResponse, error) {
	return Call(ctx, u, script.List, &mibv1.ListSeriesRequest{})
}

func fine(context.Context) (*mibv1.ListSeriesResponse, error) {
	return &mibv1.ListSeriesResponse{}, nil
}

// unavailable is an error that the client made up, as when nobody listens.
var unavailable = connect.NewError(connect.CodeUnavailable, errors.New("connection refused"))

// log is an Observer that counts.
type log struct {
	mu sync.Mutex
	n  map[string]int
}

func (l *log) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == nil {
		l.n = make(map[string]int)
	}
	l.n[s]++
}
func (l *log) Attempt(_, target, code string, _ time.Duration) { l.add(target + " " + code) }
func (l *log) Retry(string)                                    { l.add("retry") }
func (l *log) Breaker(_, state string)                         { l.add("breaker " + state) }
func (l *log) Weight(_ string, w float64)                      { l.add(fmt.Sprintf("weight %g", w)) }
func (l *log) Shadowed(_, result string, _ time.Duration)      { l.add("shadow " + result) }
func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(l.n)) {
		parts = append(parts, fmt.Sprintf("%s: %d", k, l.n[k]))
	}
	return strings.Join(parts, ", ")
}

// is checks the code of the problem that an error is, and what a client is told.
func is(t *testing.T, err error, want string) {
	t.Helper()
	var p *problem.Error
	if !errors.As(err, &p) || p.Problems[0].Code != want {
		t.Errorf("%v, want the problem %s", err, want)
	}
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails int
		err   error
		want  string // of the error; empty if it succeeds
		log   string
	}{
		{"twice", 2, unavailable, "", "retry: 2, stable ok: 1, stable unavailable: 2"},
		{"too often", 3, unavailable, "upstream_unavailable", "retry: 2, stable unavailable: 3"},
		{"something that was cut off", 1, connect.NewError(connect.CodeInternal, errors.New("unexpected EOF")), "", "retry: 1, stable internal: 1, stable ok: 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l log
				n := 0
				u := New(Options{Name: "engine", Observer: &l}, script(func(ctx context.Context) (*mibv1.ListSeriesResponse, error) {
					if n++; n <= c.fails {
						return nil, c.err
					}
					return fine(ctx)
				}), nil, nil)
				_, err := ask(t.Context(), u)
				if c.want == "" && err != nil {
					t.Error(err)
				} else if c.want != "" {
					is(t, err, c.want)
				}
				if l.String() != c.log {
					t.Errorf("%s, want %s", &l, c.log)
				}
			})
		})
	}
}

func TestTimeoutOfAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		begun := time.Now()
		u := New(Options{Name: "engine", Observer: &l, Timeout: time.Second, Retries: 1}, script(func(ctx context.Context) (*mibv1.ListSeriesResponse, error) {
			<-ctx.Done()
			return nil, connect.NewError(connect.CodeCanceled, ctx.Err())
		}), nil, nil)
		_, err := ask(t.Context(), u)
		is(t, err, "timed_out")
		if took := time.Since(begun); took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		// Who is not asked any more does not go on.
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		begun = time.Now()
		_, err = ask(ctx, u)
		is(t, err, "timed_out")
		if took := time.Since(begun); took > 501*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// When everything fails, retries are a bounded addition, not a storm.
func TestBudgetOfRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		u := New(Options{Name: "engine", Observer: &l, Retries: 5, BreakerLeast: 1 << 20}, script(func(context.Context) (*mibv1.ListSeriesResponse, error) {
			time.Sleep(100 * time.Millisecond)
			return nil, unavailable
		}), nil, nil)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := ask(t.Context(), u)
				is(t, err, "upstream_unavailable")
			})
		}
		wg.Wait()
		if n := l.n["stable unavailable"]; n < 100 || n > 200 {
			t.Errorf("100 requests became %d", n)
		}
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		down, calls := true, 0
		u := New(Options{Name: "engine", Observer: &l, Retries: -1}, script(func(ctx context.Context) (*mibv1.ListSeriesResponse, error) {
			calls++
			if down {
				return nil, unavailable
			}
			return fine(ctx)
		}), nil, nil)
		for range 100 {
			_, err := ask(t.Context(), u)
			is(t, err, "upstream_unavailable")
		}
		if calls != 20 {
			t.Errorf("it was asked %d times", calls)
		}
		down = false
		time.Sleep(1100 * time.Millisecond)
		for range 20 {
			if _, err := ask(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		}
		if want := "breaker closed: 1, breaker half-open: 1, breaker open: 1"; !strings.HasPrefix(l.String(), want) {
			t.Error(&l)
		}
	})
}

// A request that is wrong is no reason to think ill of the service.
func TestBreakerDoesNotBlameForRequests(t *testing.T) {
	srv := httptest.NewServer(func() http.Handler {
		mux := http.NewServeMux()
		mux.Handle(mibv1connect.NewEngineServiceHandler(mibv1connect.UnimplementedEngineServiceHandler{}, connect.WithInterceptors(connect.UnaryInterceptorFunc(func(connect.UnaryFunc) connect.UnaryFunc {
			return func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) {
				return nil, problem.New(connect.CodeNotFound, problem.UnknownSymbol, "symbol", "is not there").Connect()
			}
		}))))
		return mux
	}())
	defer srv.Close()
	var l log
	u := New(Options{Name: "engine", Observer: &l}, mibv1connect.NewEngineServiceClient(srv.Client(), srv.URL), nil, nil)
	for range 50 {
		_, err := Call(t.Context(), u, mibv1connect.EngineServiceClient.FindSimilar, &mibv1.FindSimilarRequest{Symbol: "X"})
		var p *problem.Error
		if !errors.As(err, &p) || p.Code != connect.CodeNotFound || p.Problems[0].Field != "symbol" {
			t.Fatal(err)
		}
	}
	if l.String() != "stable not_found: 50" {
		t.Error(&l)
	}
}

func TestBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most, now := 0, 0
		var mu sync.Mutex
		u := New(Options{Name: "engine", Parallel: 5, Queue: 10 * time.Millisecond}, script(func(ctx context.Context) (*mibv1.ListSeriesResponse, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return fine(ctx)
		}), nil, nil)
		var wg sync.WaitGroup
		busy := 0
		for range 20 {
			wg.Go(func() {
				if _, err := ask(t.Context(), u); err != nil {
					is(t, err, "upstream_busy")
					mu.Lock()
					busy++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if most != 5 || busy != 15 {
			t.Errorf("%d at once, %d refused", most, busy)
		}
	})
}

func TestCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		bad := false
		canary := script(func(ctx context.Context) (*mibv1.ListSeriesResponse, error) {
			if bad {
				return nil, unavailable
			}
			return fine(ctx)
		})
		turn := 0
		u := New(Options{Name: "engine", Observer: &l, Canary: CanaryOptions{Weight: 0.25}, random: func() float64 {
			turn++
			return float64(turn%4) / 4
		}}, script(fine), &canary, nil)
		send := func(n int) {
			t.Helper()
			for range n {
				time.Sleep(10 * time.Millisecond)
				if _, err := ask(t.Context(), u); err != nil {
					t.Fatal("a client saw that the canary fails:", err)
				}
			}
		}
		send(400)
		if want := "canary ok: 100, stable ok: 300, weight 0.25: 1"; l.String() != want {
			t.Errorf("%s, want %s", &l, want)
		}
		bad = true
		send(400)
		if l.n["weight 0"] != 1 || l.n["canary unavailable"] > 10 {
			t.Errorf("the canary was not taken back: %s", &l)
		}
	})
}

func TestShadow(t *testing.T) {
	at := timestamppb.New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	answer := func(name string) (*mibv1.ListSeriesResponse, error) {
		return &mibv1.ListSeriesResponse{Series: []*mibv1.Series{{Symbol: name, First: at}}}, nil
	}
	for _, c := range []struct {
		name   string
		shadow script
		want   string
	}{
		{"same", func(context.Context) (*mibv1.ListSeriesResponse, error) { return answer("WTI") }, "shadow same: 1"},
		{"different", func(context.Context) (*mibv1.ListSeriesResponse, error) { return answer("BRENT") }, "shadow different: 1"},
		{"fails", func(context.Context) (*mibv1.ListSeriesResponse, error) { return nil, unavailable }, "shadow status: 1"},
		{"hangs", func(ctx context.Context) (*mibv1.ListSeriesResponse, error) {
			<-ctx.Done()
			return nil, connect.NewError(connect.CodeDeadlineExceeded, ctx.Err())
		}, "shadow status: 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l log
				u := New(Options{Name: "engine", Observer: &l, Shadow: 1}, script(func(context.Context) (*mibv1.ListSeriesResponse, error) { return answer("WTI") }), nil, &c.shadow)
				begun := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				if _, err := ask(ctx, u); err != nil || time.Since(begun) > 0 {
					t.Errorf("the shadow was felt: %v after %v", err, time.Since(begun))
				}
				cancel() // a client that has its answer and goes does not end the copy
				u.Wait()
				if want := c.want + ", stable ok: 1"; l.String() != want {
					t.Errorf("%s, want %s", &l, want)
				}
			})
		})
	}
}

func TestShadowIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		shadow := script(func(ctx context.Context) (*mibv1.ListSeriesResponse, error) {
			time.Sleep(time.Second)
			return fine(ctx)
		})
		u := New(Options{Name: "engine", Observer: &l, Shadow: 1, ShadowAtOnce: 4}, script(fine), nil, &shadow)
		for range 10 {
			if _, err := ask(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		}
		u.Wait()
		if want := "shadow dropped: 6, shadow same: 4, stable ok: 10"; l.String() != want {
			t.Errorf("%s, want %s", &l, want)
		}
	})
}
