package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// These tests run the whole shell without a network in a synctest bubble, where
// waiting takes no time.

func TestMain(m *testing.M) {
	if addr := os.Getenv(scaleClient); addr != "" {
		if err := scaleClients(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The runtime starts one goroutine for signals at the first Notify and never
	// ends it; it must not be born in a bubble.
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	signal.Stop(c)
	os.Exit(m.Run())
}

// start runs l and returns the channel for its signals and the one for its error.
func start(ctx context.Context, l *Lifecycle) (chan<- os.Signal, <-chan error) {
	signals, done := make(chan os.Signal, 4), make(chan error, 1)
	go func() { done <- l.run(ctx, signals) }()
	synctest.Wait()
	return signals, done
}

// serveOne sends one request through the middleware.
func serveOne(l *Lifecycle, h http.HandlerFunc) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	l.Handler(h).ServeHTTP(w, httptest.NewRequest("POST", "/v1/orders?secret=1", nil))
	return w
}

func TestRunPhasesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Grace: 10 * time.Second})
		var saved Phase
		l.OnSave(func(ctx context.Context) error {
			saved = l.Phase()
			return nil
		})
		_, done := start(t.Context(), l)
		serveOne(l, func(http.ResponseWriter, *http.Request) {})

		if !l.IsReady() || l.Phase() != Serving {
			t.Fatalf("ready %v, phase %s", l.IsReady(), l.Phase())
		}
		if _, known := l.Deadline(); known {
			t.Error("the deadline is known before the ending")
		}
		begun := time.Now()
		l.Drain()
		l.Drain()
		<-l.Reached(Propagate)
		if l.IsReady() {
			t.Error("ready while propagating")
		}
		if d, _ := l.Deadline(); d.Sub(begun) != 10*time.Second {
			t.Errorf("deadline after %s", d.Sub(begun))
		}
		for _, late := range []Phase{Discourage, Finish, Save, Cut} {
			select {
			case <-l.Reached(late):
				t.Errorf("%s reached with propagate", late)
			default:
			}
		}
		if w := serveOne(l, func(http.ResponseWriter, *http.Request) {}); w.Code != 200 || w.Header().Get("Connection") != "close" {
			t.Errorf("request while propagating: %d, %v", w.Code, w.Header())
		}
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(begun); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("the ending took %s", took)
		}
		if saved != Save {
			t.Errorf("saved in phase %s", saved)
		}
		for p := Noticed; p <= Cut; p++ {
			<-l.Reached(p)
		}
	})
}

func TestRunStubbornWork(t *testing.T) {
	tests := []struct {
		name    string
		save    func(context.Context) error
		handler bool // a handler that ignores the end of its context
		want    string
		cut     int
	}{
		{"save hangs", func(context.Context) error { <-make(chan int); return nil }, false, "saving state: not finished in time", 0},
		{"save fails", func(context.Context) error { return errors.New("disk full") }, false, "saving state: disk full", 0},
		{"save panics", func(context.Context) error { panic("boom") }, false, "saving state: panic: boom", 0},
		{"save sees its deadline", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, false, "deadline exceeded", 0},
		{"handler hangs", func(context.Context) error { return nil }, true, "requests were cut at the deadline: 1", 1},
	}
	for _, tt := range tests {
		for _, grace := range []time.Duration{time.Nanosecond, time.Second, 10 * time.Second, time.Hour} {
			t.Run(tt.name+"/"+grace.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var record bytes.Buffer
					l := New(Options{Grace: grace, CutRecord: &record})
					release := make(chan struct{}) // a bubble must end with all its goroutines
					l.OnSave(func(ctx context.Context) error {
						if tt.name == "save hangs" {
							<-release
							return nil
						}
						return tt.save(ctx)
					})
					signals, done := start(t.Context(), l)
					if tt.handler {
						go serveOne(l, func(http.ResponseWriter, *http.Request) { <-release })
						synctest.Wait()
					}
					begun := time.Now()
					signals <- syscall.SIGTERM
					err := <-done
					if took, limit := time.Since(begun), max(grace, time.Second); took >= limit {
						t.Errorf("took %s of %s", took, limit)
					}
					if err == nil || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("error %v, want %q", err, tt.want)
					}
					if errors.Is(err, ErrCut) != (tt.cut > 0) {
						t.Errorf("ErrCut is wrong in %v", err)
					}
					var r cutRecord
					if err := json.Unmarshal(record.Bytes(), &r); err != nil {
						t.Fatalf("cut record %q: %v", &record, err)
					}
					if r.Cut != tt.cut || len(r.Requests) != tt.cut || r.Trigger != ReasonSignal || r.Saved != tt.handler {
						t.Errorf("cut record %+v", r)
					}
					if tt.cut > 0 && (r.Requests[0].Method != "POST" || r.Requests[0].Route != "/v1/...") {
						t.Errorf("cut request %+v", r.Requests[0])
					}
					close(release)
				})
			})
		}
	}
}

func TestRunSignals(t *testing.T) {
	for _, tt := range []struct {
		name     string
		signals  []os.Signal
		min, max time.Duration // of the ending, with a request of 3 s in flight
		err      error
	}{
		{"SIGTERM", []os.Signal{syscall.SIGTERM}, 3 * time.Second, 4 * time.Second, nil},
		{"SIGTERM twice", []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, 3 * time.Second, 3500 * time.Millisecond, nil},
		{"SIGINT", []os.Signal{os.Interrupt}, 3 * time.Second, 3500 * time.Millisecond, nil},
		{"SIGTERM three times", []os.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM}, 0, time.Second, ErrCut},
		{"SIGINT twice", []os.Signal{os.Interrupt, os.Interrupt}, 0, time.Second, ErrCut},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(Options{Grace: 30 * time.Second})
				signals, done := start(t.Context(), l)
				go serveOne(l, func(http.ResponseWriter, *http.Request) { time.Sleep(3 * time.Second) })
				synctest.Wait()
				begun := time.Now()
				for _, s := range tt.signals {
					signals <- s
				}
				err := <-done
				if took := time.Since(begun); took < tt.min || took > tt.max {
					t.Errorf("took %s", took)
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v", err)
				}
				time.Sleep(3 * time.Second) // the bubble must end with its handler
			})
		})
	}
}

// Hurry spares the waiting, not the work, whether the ending has begun or not.
func TestRunHurry(t *testing.T) {
	for _, begun := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := New(Options{Grace: 30 * time.Second, TerminationLog: "none"})
			_, done := start(t.Context(), l)
			go serveOne(l, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })
			synctest.Wait()
			if begun {
				l.Drain()
				<-l.Reached(Propagate)
			}
			at := time.Now()
			l.Hurry()
			l.Hurry()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if took := time.Since(at); took < time.Second || took > 1100*time.Millisecond {
				t.Errorf("begun %v: took %s", begun, took)
			}
		})
	}
}

func TestRunStart(t *testing.T) {
	t.Run("ready when started", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			l := New(Options{})
			l.OnStart(func(context.Context) error { time.Sleep(5 * time.Second); return nil })
			_, done := start(ctx, l)
			if l.IsReady() {
				t.Error("ready before start-up is over")
			}
			time.Sleep(6 * time.Second)
			if !l.IsReady() {
				t.Error("not ready after start-up")
			}
			l.Ready(false)
			if l.IsReady() {
				t.Error("ready although held")
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("ended during start-up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := New(Options{})
			l.OnStart(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			signals, done := start(t.Context(), l)
			begun := time.Now()
			signals <- syscall.SIGTERM
			if err := <-done; err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("took %s although nothing had been served", took)
			}
		})
	})
	t.Run("fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := New(Options{})
			l.OnStart(func(context.Context) error { return os.ErrNotExist })
			_, done := start(t.Context(), l)
			if err := <-done; !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		})
	})
}

func TestRunDeadlineFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "annotations")
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Grace: 10 * time.Second, DeadlineFile: name})
		_, done := start(t.Context(), l)
		serveOne(l, func(http.ResponseWriter, *http.Request) {})
		begun := time.Now()
		deadline := begun.Add(time.Minute)
		line := deadlineKey + "=\"" + deadline.UTC().Format(time.RFC3339) + "\"\n"
		if err := os.WriteFile(name, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		<-l.Reached(Noticed)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("noticed after %s", took)
		}
		if !l.IsReady() {
			t.Error("a notice alone made the process unready")
		}
		if at, ok := l.Announced(); !ok || !at.Equal(deadline.Truncate(time.Second)) {
			t.Errorf("announced %v, %v, want %v", at, ok, deadline)
		}
		<-l.Reached(Unready) // nobody sends SIGTERM
		if left := time.Until(deadline); left < 8*time.Second || left > 10*time.Second {
			t.Errorf("the ending began %s before the deadline", left)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s := l.snapshot(); s.trigger != ReasonLatest {
			t.Errorf("trigger %s", s.trigger)
		}
	})
}

func TestMeanGap(t *testing.T) {
	a := arrivals{epoch: epoch}
	if got := a.meanGap(epoch, 0); got != 0 {
		t.Errorf("without samples: %s", got)
	}
	at, total := epoch, int64(0)
	for range 200 { // seconds, 4 requests in each of the last 100
		a.sample(at, total)
		if at.Sub(epoch) >= 100*time.Second {
			total += 4
		}
		at = at.Add(time.Second)
	}
	if got := a.meanGap(at, total); got != 250*time.Millisecond {
		t.Errorf("got %s, want 250ms", got)
	}
	for range 100 { // and then none
		a.sample(at, total)
		at = at.Add(time.Second)
	}
	if got := a.meanGap(at, total); got != time.Minute {
		t.Errorf("got %s, want 1m", got)
	}
}

// Announcements by the caller: the latest of them counts, and the earlier one of
// its and the file's.
func TestRunNotice(t *testing.T) {
	name := filepath.Join(t.TempDir(), "deadline")
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := os.WriteFile(name, []byte(begun.Add(time.Hour).UTC().Format(time.RFC3339)), 0o600); err != nil {
			t.Fatal(err)
		}
		l := New(Options{Grace: 10 * time.Second, DeadlineFile: name, TerminationLog: "none"})
		_, done := start(t.Context(), l)
		l.Notice(begun.Add(-time.Hour))
		l.Notice(begun.Add(time.Second))
		l.Notice(begun.Add(time.Minute))
		<-l.Reached(Unready)
		if took := time.Since(begun); took < 50*time.Second || took > 51*time.Second {
			t.Errorf("the ending began after %s", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// onClock is what keeps a jump of the wall clock from moving a deadline.
func TestOnClock(t *testing.T) {
	at := time.Now()
	wall := at.Round(0).Add(time.Minute) // as parsed: without a monotonic reading
	if got := onClock(wall, at); got.Sub(at) != time.Minute || !strings.Contains(got.String(), "m=") {
		t.Errorf("got %s", got)
	}
	if got := onClock(time.Time{}, at); !got.IsZero() {
		t.Errorf("no notice became %s", got)
	}
	for _, absurd := range []time.Time{time.Unix(1<<40, 0), time.Unix(-1<<40, 0)} {
		if got := onClock(absurd, at); got.After(at) != absurd.After(at) {
			t.Errorf("%s became %s", absurd, got)
		}
	}
}

// Every phase has a span under one root, and all are over when the functions that
// send them off run.
func TestRunTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names, ended []string
		type key struct{}
		l := New(Options{TerminationLog: "none", Trace: func(ctx context.Context, name string) (context.Context, func(Reason)) {
			parent, _ := ctx.Value(key{}).(string)
			names = append(names, parent+"/"+name)
			return context.WithValue(ctx, key{}, name), func(why Reason) { ended = append(ended, name+" "+string(why)) }
		}})
		flushed := ""
		l.OnSave(func(context.Context) error { time.Sleep(time.Second); return nil })
		l.OnFlush(func(ctx context.Context) error {
			flushed = strings.Join(ended, ", ")
			return ctx.Err()
		})
		_, done := start(t.Context(), l)
		l.Drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got, want := strings.Join(names, " "), "/termination termination/noticed termination/unready termination/propagate termination/discourage termination/finish termination/save"; got != want {
			t.Errorf("began %s, want %s", got, want)
		}
		if want := "noticed call, unready at once, propagate unused, discourage no idle connections, finish drained, save drained, termination drained"; flushed != want {
			t.Errorf("flushed %s, want %s", flushed, want)
		}
	})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Grace: 10 * time.Second, TerminationLog: "none"})
		_, done := start(t.Context(), l)
		time.Sleep(5 * time.Second)
		call := l.Begin(Call{Protocol: "grpc", Route: "/pkg.Service/Method"})
		l.Begin(Call{Protocol: "amqp"}).End()
		serveOne(l, func(http.ResponseWriter, *http.Request) {})
		l.Drain()
		<-done
		s := l.Stats()
		if s.Phase != Cut || s.Ready || s.Trigger != ReasonCall || s.Grace != 10*time.Second {
			t.Errorf("%+v", s)
		}
		if s.PhaseDuration[Serving] != 5*time.Second || s.PhaseDuration[Propagate] != 4*time.Second || s.PhaseDuration[Cut] != 0 {
			t.Errorf("phases %v", s.PhaseDuration)
		}
		for _, r := range s.Requests {
			want := RequestStats{Protocol: r.Protocol}
			switch r.Protocol {
			case "http1", "other":
				want.Finished = 1
			case "grpc":
				want.InFlight, want.Cut = 1, 1
			}
			if r != want {
				t.Errorf("%+v, want %+v", r, want)
			}
		}
		call.End()
		call.End()
		if n := l.requests.counts().all(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

// slowLeave is a server that needs a while to take leave of clients that it has
// told to go, though nothing is in flight.
type slowLeave struct {
	stop chan struct{}
	left bool // Shutdown has returned by itself; owned by the ending until Close
	cut  bool // Close came before that
}

func (s *slowLeave) Serve() error { <-s.stop; return nil }

func (s *slowLeave) Shutdown(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
		s.left = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowLeave) Close() error {
	s.cut = !s.left
	close(s.stop)
	return nil
}

// Nothing in flight does not mean that nothing is on its way: servers are not
// closed while they still take leave of their clients.
func TestRunWaitsForServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowLeave{stop: make(chan struct{})}
		signals, done := start(t.Context(), New(Options{Grace: 10 * time.Second}).Serve(s))
		begun := time.Now()
		signals <- os.Interrupt // neither propagate nor discourage
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); s.cut || took < time.Second || took > 2*time.Second {
			t.Errorf("cut %v, took %s", s.cut, took)
		}
	})
}
