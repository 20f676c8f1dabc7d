package metadata

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// service stands in for EC2's instance metadata service as far as faults go that
// amazon-ec2-metadata-mock, with which cmd/evenkeel-agent is tested, does not have:
// tokens that expire at any moment, and answers that make no sense.
type service struct {
	mu     sync.Mutex
	token  int
	values map[string]string
}

func (s *service) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token++
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := fmt.Sprint("token-", s.token)
	if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		_, _ = fmt.Fprint(w, token)
		return
	}
	value, ok := s.values[r.URL.Path]
	switch {
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != token:
		w.WriteHeader(http.StatusUnauthorized)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = fmt.Fprint(w, value)
	}
}

func TestMetadata(t *testing.T) {
	s := &service{values: make(map[string]string)}
	hs := httptest.NewServer(s)
	defer hs.Close()
	m := New("i-1", 2*time.Minute, hs.URL)

	if got, err := m.Spot(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("nothing is announced: %v, %v", got, err)
	}
	at := time.Now().UTC().Add(2 * time.Minute).Truncate(time.Second)
	s.mu.Lock()
	s.values["/latest/meta-data/spot/instance-action"] = fmt.Sprintf(`{"action":"terminate","time":%q}`, at.Format(time.RFC3339))
	s.values["/latest/meta-data/autoscaling/target-lifecycle-state"] = "InService"
	s.values["/latest/meta-data/events/recommendations/rebalance"] = "?"
	s.mu.Unlock()
	got, err := m.Spot(t.Context())
	if err != nil || len(got) != 1 || got[0].Kind != interruption.SpotInterruption || !got[0].Deadline.Equal(at) || got[0].Instance != "i-1" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := m.Group(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("in service: %v, %v", got, err)
	}
	if got, err := m.Rebalance(t.Context()); err == nil {
		t.Errorf("no error although the answer makes no sense: %v", got)
	}

	// A token that is no longer valid costs one look at most.
	s.expire()
	got, err = m.Spot(t.Context())
	if err != nil {
		got, err = m.Spot(t.Context())
	}
	if err != nil || len(got) != 1 {
		t.Errorf("after the token expired: %v, %v", got, err)
	}
	hs.Close()
	if _, err := m.Spot(t.Context()); err == nil {
		t.Error("no error although the service cannot be reached")
	}
}
