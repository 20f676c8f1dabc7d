package limit

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	l := New(2, 3, 10)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, c := range []struct {
		client    string
		at        time.Duration
		allowed   bool
		remaining int
		reset     string
		retry     string
	}{
		{"a", 0, true, 2, "1", ""},
		{"a", 0, true, 1, "1", ""},
		{"a", 0, true, 0, "2", ""},
		{"a", 0, false, 0, "2", "1"},
		{"b", 0, true, 2, "1", ""}, // has a bucket of its own
		{"a", 499 * time.Millisecond, false, 0, "2", "1"},
		{"a", 500 * time.Millisecond, true, 0, "2", ""},
		{"a", 10 * time.Second, true, 2, "1", ""}, // full is full
	} {
		d := l.Take(c.client, 0, 0, begin.Add(c.at))
		h := make(http.Header)
		d.Header(h)
		if d.Allowed != c.allowed || d.Remaining != c.remaining || h.Get("RateLimit-Limit") != "3" || h.Get("RateLimit-Remaining") != fmt.Sprint(c.remaining) ||
			h.Get("RateLimit-Reset") != c.reset || h.Get("Retry-After") != c.retry {
			t.Errorf("%d: %+v %v", i, d, h)
		}
	}
}

func TestOwnNumbersChange(t *testing.T) {
	l := New(1, 1, 10)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5 {
		if d := l.Take("a", 10, 5, now); !d.Allowed || d.Limit != 5 {
			t.Fatalf("%d: %+v", i, d)
		}
	}
	if d := l.Take("a", 0, 0, now); d.Allowed || d.Limit != 1 {
		t.Errorf("after the file changed: %+v", d)
	}
}

func TestAsManyBucketsAsAllowed(t *testing.T) {
	l := New(1, 1, 3)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1000 {
		l.Take(fmt.Sprint(i), 0, 0, now)
		l.Take("always", 0, 0, now)
	}
	if len(l.buckets) != 3 || l.used.Len() != 3 {
		t.Errorf("%d buckets, %d used", len(l.buckets), l.used.Len())
	}
	if d := l.Take("always", 0, 0, now); d.Allowed {
		t.Error("who asks all the time was forgotten")
	}
}
