// Package gcptest stands in for the metadata server of Google Compute Engine. It
// keeps the contract that a client depends on: the header without which nothing is
// answered, tags, and requests that wait for a change.
package gcptest

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is the metadata server. Make one with [New].
type Server struct {
	URL string

	mu      sync.Mutex
	values  map[string]string
	down    bool
	asked   int
	changed chan struct{}
}

// New returns a Server of a machine to which nothing happens, that runs until the
// test ends.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{values: map[string]string{"instance/preempted": "FALSE", "instance/maintenance-event": "NONE"}, changed: make(chan struct{})}
	hs := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Down(true) // end the requests that wait
		hs.Close()
	})
	s.URL = hs.URL
	return s
}

// Set changes a value, for example "instance/preempted" to "TRUE".
func (s *Server) Set(path, value string) { s.change(func() { s.values[path] = value }) }

// Down makes the Server answer 503, as the real one does at times.
func (s *Server) Down(down bool) { s.change(func() { s.down = down }) }

// Asked returns the number of requests so far.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/computeMetadata/v1/")
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	case r.Header.Get("Metadata-Flavor") != "Google":
		http.Error(w, "missing Metadata-Flavor:Google header", http.StatusForbidden)
		return
	case !ok:
		http.NotFound(w, r)
		return
	}
	query := r.URL.Query()
	wait := query.Get("wait_for_change") == "true"
	var limit <-chan time.Time
	if seconds, err := strconv.Atoi(query.Get("timeout_sec")); err == nil && wait {
		timer := time.NewTimer(time.Duration(seconds) * time.Second)
		defer timer.Stop()
		limit = timer.C
	}
	for {
		s.mu.Lock()
		value, known := s.values[path]
		down, changed := s.down, s.changed
		s.mu.Unlock()
		switch {
		case down:
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		case !known:
			http.NotFound(w, r)
			return
		}
		etag := tag(value)
		if !wait || query.Get("last_etag") != etag {
			answer(w, etag, value)
			return
		}
		select {
		case <-changed:
		case <-limit:
			answer(w, etag, value)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, etag, value string) {
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Type", "application/text")
	_, _ = fmt.Fprint(w, value) // the client is gone if this fails
}

func tag(value string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(value)) // never fails
	return strconv.FormatUint(h.Sum64(), 16)
}
