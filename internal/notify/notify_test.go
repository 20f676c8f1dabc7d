package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// memory is a Channel that remembers what it delivered, and answers with what a
// test wants.
type memory struct {
	mu     sync.Mutex
	name   string
	answer func(attempt int) error // nil delivers
	tries  []time.Time
	sent   []Message
	hangs  bool
}

func (c *memory) Name() string { return c.name }

func (c *memory) Send(ctx context.Context, m Message) error {
	c.mu.Lock()
	c.tries = append(c.tries, time.Now())
	n, hangs := len(c.tries), c.hangs
	c.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if c.answer != nil {
		if err := c.answer(n); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.sent = append(c.sent, m)
	c.mu.Unlock()
	return nil
}

type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(channel, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[channel+" "+outcome]++
}

// start runs a Notifier, and returns it with what stops it and waits.
func start(t *testing.T, c *counts, channels ...Channel) (*Notifier, func()) {
	t.Helper()
	n := New(Config{Cluster: "production", Channels: channels, Log: slog.New(slog.DiscardHandler), Count: c.add})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return n, func() { cancel(); <-done }
}

func TestDelivery(t *testing.T) {
	busy := errors.New("busy")
	for _, tc := range []struct {
		name    string
		answer  func(int) error
		hangs   bool
		after   time.Duration
		tries   int // at least
		sent    int
		outcome map[string]int
	}{
		{name: "at once", after: time.Minute, tries: 1, sent: 1, outcome: map[string]int{"c sent": 1}},
		{name: "fails three times", after: time.Minute, tries: 4, sent: 1, outcome: map[string]int{"c sent": 1, "c retried": 3},
			answer: func(n int) error {
				if n < 4 {
					return busy
				}
				return nil
			}},
		{name: "wants to be left alone for 30 s", after: time.Minute, tries: 2, sent: 1, outcome: map[string]int{"c sent": 1, "c retried": 1},
			answer: func(n int) error {
				if n == 1 {
					return Later(busy, 30*time.Second)
				}
				return nil
			}},
		{name: "says no", after: time.Minute, tries: 1, outcome: map[string]int{"c failed": 1}, answer: func(int) error { return Permanent(busy) }},
		{name: "never works", after: time.Hour, tries: 10, outcome: map[string]int{"c failed": 1}, answer: func(int) error { return busy }},
		{name: "hangs", after: time.Hour, tries: 8, hangs: true, outcome: map[string]int{"c failed": 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got counts
				c, healthy := &memory{name: "c", answer: tc.answer, hangs: tc.hangs}, &memory{name: "healthy"}
				n, stop := start(t, &got, c, healthy)
				began := time.Now()
				n.Observe(event(drain.EventNoticed, 1, 0))
				if took := time.Since(began); took != 0 {
					t.Errorf("Observe took %v", took)
				}
				time.Sleep(tc.after)
				stop()
				if len(c.tries) < tc.tries || len(c.sent) != tc.sent {
					t.Errorf("%d tries and %d sent, want at least %d and %d", len(c.tries), len(c.sent), tc.tries, tc.sent)
				}
				for outcome, want := range tc.outcome {
					if outcome != "c retried" && got.n[outcome] != want || got.n[outcome] < want {
						t.Errorf("%s: %d, want %d", outcome, got.n[outcome], want)
					}
				}
				if strings.HasPrefix(tc.name, "wants") && c.tries[1].Sub(c.tries[0]) < 30*time.Second {
					t.Errorf("it was left alone for %v", c.tries[1].Sub(c.tries[0]))
				}
				// One channel's trouble is not another's.
				if len(healthy.sent) != 1 || healthy.tries[0].Sub(began) != urgentWindow {
					t.Errorf("the other channel: %d sent", len(healthy.sent))
				}
			})
		})
	}
}

// TestFlush stops a Notifier with a Message still being collected: it is sent.
// One that cannot be sent keeps the end waiting for as long as agreed.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got counts
		good, bad := &memory{name: "good"}, &memory{name: "bad", hangs: true}
		n, stop := start(t, &got, good, bad)
		n.Observe(event(drain.EventNoticed, 1, 0))
		n.Observe(event(drain.EventEmptied, 2, 0))
		began := time.Now()
		stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if len(good.sent) != 2 || got.n["good sent"] != 2 || got.n["bad failed"] != 2 {
			t.Errorf("%d sent, counted %v", len(good.sent), got.n)
		}
	})
}

// TestQueueIsBounded lets a channel hang while more happens than it may keep.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got counts
		c := &memory{name: "c", hangs: true}
		n, stop := start(t, &got, c)
		for i := range 3 * queueLength {
			e := event(drain.EventNoticed, i, 0)
			e.Zone = fmt.Sprint(i)
			n.Observe(e)
		}
		time.Sleep(urgentWindow + time.Second)
		stop()
		if dropped := got.n["c dropped"]; dropped < 2*queueLength-2 || dropped > 2*queueLength {
			t.Errorf("%d dropped of %d", dropped, 3*queueLength)
		}
	})
}

// TestPost meets a real server that answers in every way that there is.
func TestPost(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/ok":
			w.WriteHeader(http.StatusAccepted)
		case "/busy":
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(http.StatusTooManyRequests)
		case "/broken":
			w.WriteHeader(http.StatusBadGateway)
		case "/gone":
			http.Error(w, "no such hook", http.StatusNotFound)
		case "/elsewhere":
			http.Redirect(w, r, "/ok", http.StatusTemporaryRedirect)
		case "/hang":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}))
	defer server.Close()
	defer close(release)
	const secret = "T0PSECRET"
	for _, tc := range []struct {
		path  string
		retry bool
		after time.Duration
		says  string
	}{
		{path: "/ok"},
		{path: "/busy", retry: true, after: 17 * time.Second, says: "429"},
		{path: "/broken", retry: true, says: "502"},
		{path: "/gone", says: "no such hook"},
		{path: "/elsewhere", says: "307"},
		{path: "/hang", retry: true, says: "deadline exceeded"},
	} {
		w, err := NewWebhook(server.URL+tc.path+"?token="+secret, []byte("s"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if tc.path == "/hang" {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		err = w.Send(ctx, Message{ID: "m"})
		cancel()
		if tc.says == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.path, err)
			}
			continue
		}
		var never permanent
		var wanted later
		if err == nil || !strings.Contains(err.Error(), tc.says) || errors.As(err, &never) == tc.retry {
			t.Errorf("%s: %v (%T), want %q and retry %v", tc.path, err, err, tc.says, tc.retry)
			continue
		}
		if errors.As(err, &wanted); wanted.after != tc.after {
			t.Errorf("%s: again after %v, want %v", tc.path, wanted.after, tc.after)
		}
	}
	// Nothing that goes wrong on the way may print the address.
	server.Close()
	s, err := NewSlack(server.URL + "/services/" + secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), Message{}); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a server that is gone: %v", err)
	}
	if _, err := NewSlack("ftp://" + secret); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("an address that is none: %v", err)
	}
}

func TestSignature(t *testing.T) {
	secret := []byte("s3cret")
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	w, err := NewWebhook(server.URL, secret)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatcher()
	b.add(event(drain.EventNoticed, 1, 0), noon)
	m := b.take(noon, true)[0]
	if err := w.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := Verify(secret, got.Header, body, now); err != nil {
		t.Errorf("what was sent: %v", err)
	}
	if got.Header.Get(DeliveryHeader) != m.ID {
		t.Errorf("delivery %q, want %q", got.Header.Get(DeliveryHeader), m.ID)
	}
	for what, err := range map[string]error{
		"another secret": Verify([]byte("x"), got.Header, body, now),
		"another body":   Verify(secret, got.Header, append(bytes.Clone(body), ' '), now),
		"a replay":       Verify(secret, got.Header, body, now.Add(Tolerance+2*time.Second)),
		"no header":      Verify(secret, http.Header{}, body, now),
	} {
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	moved := got.Header.Clone()
	moved.Set(TimestampHeader, fmt.Sprint(now.Add(time.Hour).Unix()))
	if Verify(secret, moved, body, now.Add(time.Hour)) == nil {
		t.Error("a replay with another timestamp was accepted")
	}
	const want = `{"version":1,"id":"i-1.20260301T120000Z.noticed.1","event":"noticed","cluster":"production","kind":"spot-interruption","pool":"engine","zone":"us-east-1a",` +
		`"text":"production: node n1 of pool engine in us-east-1a was noticed (spot-interruption); it goes at 12:02:00 UTC","at":"2026-03-01T12:00:00Z","count":1,"deadline":"2026-03-01T12:02:00Z",` +
		`"nodes":[{"name":"n1","instance":"i-1","interruption":"i-1.20260301T120000Z","deadline":"2026-03-01T12:02:00Z"}]}`
	if string(body) != want {
		t.Errorf("the body is\n%s\nwant\n%s", body, want)
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "99999999999999999999": 0, "soon": 0,
		noon.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		noon.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, noon); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// FuzzRetryAfter: whatever a receiver answers, the wait is none or a sane one.
func FuzzRetryAfter(f *testing.F) {
	f.Add("5")
	f.Add(noon.Format(http.TimeFormat))
	f.Fuzz(func(t *testing.T, value string) {
		if got := retryAfter(value, noon); got < 0 {
			t.Errorf("%q: %v", value, got)
		}
	})
}

// TestSlackEscapes: a text must not become a link or a mention.
func TestSlackEscapes(t *testing.T) {
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }))
	defer server.Close()
	s, err := NewSlack(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), Message{Text: "<!channel> & co"}); err != nil {
		t.Fatal(err)
	}
	if want := `{"text":"\u0026lt;!channel\u0026gt; \u0026amp; co"}`; string(body) != want {
		t.Errorf("%s, want %s", body, want)
	}
}
