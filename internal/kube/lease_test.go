package kube

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// leases is an API server that holds one Lease, and refuses a write of another
// version. It is called without a network, so that time can be faked.
type leases struct {
	mu      sync.Mutex
	stored  *coordinationv1.Lease
	version int
}

func (s *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	refuse := func(code int, reason metav1.StatusReason) {
		answer(code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason})
	}
	var sent coordinationv1.Lease
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest)
			return
		}
	}
	switch {
	case r.Method == http.MethodGet && s.stored == nil:
		refuse(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	case r.Method == http.MethodPost && s.stored != nil, r.Method == http.MethodPut && sent.ResourceVersion != s.stored.ResourceVersion:
		refuse(http.StatusConflict, metav1.StatusReasonConflict)
		return
	case r.Method != http.MethodGet:
		s.version++
		s.stored = &sent
		s.stored.TypeMeta = metav1.TypeMeta{Kind: "Lease", APIVersion: "coordination.k8s.io/v1"}
		s.stored.ResourceVersion = strconv.Itoa(s.version)
	}
	answer(http.StatusOK, s.stored)
}

// wire is one process's way to the API server. It can be cut.
type wire struct {
	server *leases
	mu     sync.Mutex
	cut    bool
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	if cut {
		return nil, errors.New("no route to host")
	}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func (w *wire) setCut(cut bool) { w.mu.Lock(); w.cut = cut; w.mu.Unlock() }

// candidate is a controller of which only the election is real.
type candidate struct {
	*wire
	api   kubernetes.Interface
	stop  context.CancelFunc
	begun chan time.Time
	ended chan time.Time
	done  chan error
}

func newCandidate(t *testing.T, server *leases, name string) *candidate {
	t.Helper()
	c := &candidate{wire: &wire{server: server}, begun: make(chan time.Time, 10), ended: make(chan time.Time, 10), done: make(chan error, 1)}
	var err error
	if c.api, err = kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: c.wire, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.stop = cancel
	e := NewElection(c.api, LeaseNamespace, LeaseName, name, nil, slog.New(slog.DiscardHandler))
	go func() {
		c.done <- e.Lead(ctx, func(ctx context.Context) error {
			c.begun <- time.Now()
			<-ctx.Done()
			c.ended <- time.Now()
			return nil
		})
	}()
	return c
}

// TestTakeover kills a leader at many moments between two renewals, and measures
// how long nobody leads.
func TestTakeover(t *testing.T) {
	var longest time.Duration
	for phase := range 20 {
		synctest.Test(t, func(t *testing.T) {
			server := &leases{}
			first := newCandidate(t, server, "first")
			<-first.begun
			second := newCandidate(t, server, "second")
			time.Sleep(10*time.Second + time.Duration(phase)*100*time.Millisecond)
			if len(second.begun) > 0 {
				t.Error("two lead at once")
			}
			killed := time.Now()
			first.setCut(true)
			began := <-second.begun
			longest = max(longest, began.Sub(killed))
			// A leader that is only cut off stops before another one begins.
			if ended := <-first.ended; ended.After(began) {
				t.Errorf("the first stopped %v after the second had begun", ended.Sub(began))
			}
			// When it is back, it waits for its turn.
			first.setCut(false)
			time.Sleep(time.Minute)
			if len(first.begun) > 0 {
				t.Error("two lead at once after the first came back")
			}
			first.stop()
			second.stop()
			for _, c := range []*candidate{first, second} {
				if err := <-c.done; err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Logf("nobody led for %v at most", longest)
	if longest > 5*time.Second {
		t.Errorf("nobody led for %v, want 5 s at most", longest)
	}
}

// TestRelease: a leader that is stopped in order does not keep the next one waiting.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &leases{}
		first := newCandidate(t, server, "first")
		<-first.begun
		second := newCandidate(t, server, "second")
		time.Sleep(5 * time.Second)
		first.stop()
		if err := <-first.done; err != nil {
			t.Error(err)
		}
		stopped := <-first.ended
		if waited := (<-second.begun).Sub(stopped); waited > 2200*time.Millisecond {
			t.Errorf("the second waited for %v after the first had let go", waited)
		}
		if got, err := Leader(t.Context(), second.api, LeaseNamespace, LeaseName, time.Now()); err != nil || got != "second" {
			t.Errorf("Leader: %q, %v; want second", got, err)
		}
		second.setCut(true)
		time.Sleep(time.Hour)
		second.setCut(false)
		second.stop()
		<-second.done
	})
}

// TestLeader tells a holder that lives from one that does not.
func TestLeader(t *testing.T) {
	now := time.Now()
	lease := func(holder string, renewed time.Time) *coordinationv1.Lease {
		at := metav1.NewMicroTime(renewed)
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at}}
	}
	for _, tc := range []struct {
		name  string
		lease *coordinationv1.Lease
		want  string
	}{
		{"no Lease", nil, ""},
		{"held", lease("a", now.Add(-time.Second)), "a"},
		{"held by the dead", lease("a", now.Add(-time.Minute)), ""},
		{"given away", lease("", now), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: &wire{server: &leases{stored: tc.lease}}, QPS: -1})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Leader(t.Context(), api, "n", "l", now); err != nil || got != tc.want {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
