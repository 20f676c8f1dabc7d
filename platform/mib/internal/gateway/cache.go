package gateway

import (
	"container/list"
	"net/http"
	"sync"
	"time"
)

const (
	maxCached = 32 << 20 // bytes of answers
	maxEntry  = 1 << 20
)

// cache keeps answers for a while. Who may ask has been decided before.
type cache struct {
	keep time.Duration
	now  func() time.Time

	mu      sync.Mutex
	entries map[string]*list.Element // of *cached, by path and query
	used    *list.List               // the one that was used last in front
	bytes   int
}

type cached struct {
	key   string
	body  []byte
	kind  []string // Content-Type
	size  []string // Content-Length
	until time.Time
}

func newCache(keep time.Duration, now func() time.Time) *cache {
	return &cache{keep: keep, now: now, entries: make(map[string]*list.Element), used: list.New()}
}

var hit = []string{"mib; hit"}

func (c *cache) handler(next http.Handler) http.Handler {
	if c.keep <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Path + "?" + r.URL.RawQuery
		if e := c.get(key); e != nil {
			h := w.Header()
			h["Content-Type"], h["Content-Length"], h["Cache-Status"] = e.kind, e.size, hit
			_, _ = w.Write(e.body) // the client has gone; nobody is left to tell
			return
		}
		t := &tee{ResponseWriter: w}
		next.ServeHTTP(t, r)
		if t.status == http.StatusOK && len(t.body) <= maxEntry && !t.failed {
			c.put(&cached{key, t.body, w.Header()["Content-Type"], w.Header()["Content-Length"], c.now().Add(c.keep)})
		}
	})
}

func (c *cache) get(key string) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil
	}
	x := e.Value.(*cached)
	if !c.now().Before(x.until) {
		c.remove(e)
		return nil
	}
	c.used.MoveToFront(e)
	return x
}

func (c *cache) put(x *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[x.key]; ok {
		c.remove(e)
	}
	c.entries[x.key] = c.used.PushFront(x)
	for c.bytes += len(x.key) + len(x.body); c.bytes > maxCached; {
		c.remove(c.used.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	x := c.used.Remove(e).(*cached)
	delete(c.entries, x.key)
	c.bytes -= len(x.key) + len(x.body)
}

// tee remembers an answer while it is written.
type tee struct {
	http.ResponseWriter
	status int
	body   []byte
	failed bool
}

func (t *tee) WriteHeader(status int) {
	t.status = status
	t.ResponseWriter.WriteHeader(status)
}

func (t *tee) Write(b []byte) (int, error) {
	if len(t.body)+len(b) <= maxEntry+1 {
		t.body = append(t.body, b...)
	}
	n, err := t.ResponseWriter.Write(b)
	t.failed = t.failed || err != nil
	return n, err
}
