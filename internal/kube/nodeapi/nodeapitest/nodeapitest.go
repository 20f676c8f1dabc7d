// Package nodeapitest is an API server that holds nodes and nothing else, for tests
// of programs that mark them. It keeps what a compare-and-swap depends on: a patch
// that names another resourceVersion than the node's is a conflict. The real API
// server is in the rehearsal, whose tests do the same with it.
package nodeapitest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is the API server. Make one with [New].
type Server struct {
	URL string

	mu      sync.Mutex
	nodes   map[string]map[string]any
	version int
	refuse  int // status code of every answer, if not zero
	changed chan struct{}
	asked   []string
}

// New returns a Server that runs until the test ends.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{nodes: make(map[string]map[string]any), changed: make(chan struct{})}
	hs := httptest.NewServer(s)
	t.Cleanup(hs.Close)
	s.URL = hs.URL
	return s
}

// Kubeconfig writes a kubeconfig for the Server and returns its path.
func (s *Server) Kubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c","user":""}}]}`, s.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Put makes a node.
func (s *Server) Put(name, providerID string) {
	s.change(func() {
		s.nodes[name] = map[string]any{
			"apiVersion": "v1", "kind": "Node",
			"metadata": map[string]any{"name": name},
			"spec":     map[string]any{"providerID": providerID},
			"status":   map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
		}
		s.touch(name)
	})
}

// Annotate sets an annotation of a node, as somebody else would.
func (s *Server) Annotate(name, key, value string) {
	s.change(func() {
		merge(s.nodes[name], map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}})
		s.touch(name)
	})
}

// Refuse makes the Server answer everything with a status code, 0 for no longer.
func (s *Server) Refuse(code int) { s.change(func() { s.refuse = code }) }

// Annotation returns an annotation of a node, and whether the node is cordoned.
func (s *Server) Annotation(name, key string) (value string, cordoned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name]
	meta, _ := n["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	value, _ = annotations[key].(string)
	spec, _ := n["spec"].(map[string]any)
	cordoned, _ = spec["unschedulable"].(bool)
	return value, cordoned
}

// Asked returns the requests so far, as "METHOD path".
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// WaitFor waits until a condition holds that depends on the nodes, and fails the
// test if it never does.
func (s *Server) WaitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("never came: %s", what)
		}
	}
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// touch gives a node a new resourceVersion.
func (s *Server) touch(name string) {
	s.version++
	s.nodes[name]["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(s.version)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var code int
	var answer any
	s.change(func() {
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
		code, answer = s.serve(r.Method, r.URL.Path, body)
	})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // the client is gone if this fails
}

func (s *Server) serve(method, path string, body []byte) (int, any) {
	name, one := strings.CutPrefix(path, "/api/v1/nodes/")
	n := s.nodes[name]
	switch {
	case s.refuse != 0:
		return status(s.refuse, "ServiceUnavailable")
	case path == "/api/v1/nodes" && method == http.MethodGet:
		items := make([]any, 0, len(s.nodes))
		for _, n := range s.nodes {
			items = append(items, clone(n))
		}
		return http.StatusOK, map[string]any{"kind": "NodeList", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items}
	case !one, n == nil:
		return status(http.StatusNotFound, "NotFound")
	case method == http.MethodGet:
		return http.StatusOK, clone(n)
	case method != http.MethodPatch:
		return status(http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
	var patch map[string]any
	if err := json.Unmarshal(body, &patch); err != nil {
		return status(http.StatusBadRequest, "BadRequest")
	}
	if meta, ok := patch["metadata"].(map[string]any); ok {
		have := n["metadata"].(map[string]any)["resourceVersion"]
		if want, ok := meta["resourceVersion"]; ok && want != have {
			return status(http.StatusConflict, "Conflict")
		}
	}
	merge(n, patch)
	s.touch(name)
	return http.StatusOK, clone(n)
}

// merge applies a JSON merge patch (RFC 7396).
func merge(to, patch map[string]any) {
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(to, k)
		case map[string]any:
			inner, ok := to[k].(map[string]any)
			if !ok {
				inner = make(map[string]any)
				to[k] = inner
			}
			merge(inner, v)
		default:
			to[k] = v
		}
	}
}

// clone copies an object, so that it can be written without the lock.
func clone(o map[string]any) map[string]any {
	out := make(map[string]any, len(o))
	for k, v := range o {
		if m, ok := v.(map[string]any); ok {
			v = clone(m)
		}
		out[k] = v
	}
	return out
}

func status(code int, reason string) (int, any) {
	return code, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}
}
