// Package azuretest stands in for the instance metadata service of Azure, as far as
// Scheduled Events need it: the header and the versions without which nothing is
// answered, the document with its incarnation, and approvals.
package azuretest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// Event is one event of the document.
type Event struct {
	EventId           string
	EventType         string
	ResourceType      string
	Resources         []string
	EventStatus       string
	NotBefore         string
	Description       string
	EventSource       string
	DurationInSeconds int
}

// Server is the metadata service of one machine. Make one with [New].
type Server struct {
	URL string

	mu          sync.Mutex
	name        string
	incarnation int
	events      []Event
	approved    []string
	changed     chan struct{}
}

// New returns the Server of a machine of that name, for which nothing is scheduled.
// It runs until the test ends.
func New(t *testing.T, name string) *Server {
	t.Helper()
	s := &Server{name: name, incarnation: 1, changed: make(chan struct{})}
	hs := httptest.NewServer(s)
	t.Cleanup(hs.Close)
	s.URL = hs.URL
	return s
}

// Schedule puts an event into the document.
func (s *Server) Schedule(id, kind string, at time.Time, machines ...string) {
	s.change(func() {
		s.events = append(s.events, Event{
			EventId: id, EventType: kind, ResourceType: "VirtualMachine", Resources: machines, EventStatus: "Scheduled",
			NotBefore: at.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), EventSource: "Platform", DurationInSeconds: -1,
		})
	})
}

// Remove takes an event out of the document: it is over, or called off.
func (s *Server) Remove(id string) {
	s.change(func() {
		s.events = slices.DeleteFunc(s.events, func(e Event) bool { return e.EventId == id })
	})
}

// Approved returns the events that were approved, in their order.
func (s *Server) Approved() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.approved)
}

// Changed is closed at the next change, approvals among them.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.incarnation++
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	version := r.URL.Query().Get("api-version")
	switch {
	case r.Header.Get("Metadata") != "true":
		refuse(w, "Bad request. Required metadata header not specified")
	case r.Header.Get("X-Forwarded-For") != "":
		refuse(w, "Bad request. Requests through a proxy are not served")
	case r.Method == http.MethodGet && r.URL.Path == "/metadata/instance/compute" && version >= "2017-08-01":
		s.mu.Lock()
		defer s.mu.Unlock()
		write(w, map[string]any{"name": s.name, "location": "westeurope", "priority": "Spot"})
	case r.URL.Path == "/metadata/scheduledevents" && version >= "2017-08-01" && version <= "2020-07-01":
		s.serveEvents(w, r)
	default:
		refuse(w, "Bad request. api-version is invalid or was not specified in the request.")
	}
}

func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		s.mu.Lock()
		defer s.mu.Unlock()
		events := s.events
		if events == nil {
			events = []Event{}
		}
		write(w, map[string]any{"DocumentIncarnation": s.incarnation, "Events": events})
		return
	}
	var in struct {
		StartRequests []struct{ EventId string }
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || r.Method != http.MethodPost || len(in.StartRequests) == 0 {
		refuse(w, "Bad request. Invalid start requests")
		return
	}
	known := true
	s.change(func() {
		for _, request := range in.StartRequests {
			i := slices.IndexFunc(s.events, func(e Event) bool { return e.EventId == request.EventId })
			if i < 0 {
				known = false
				continue
			}
			s.events[i].EventStatus, s.events[i].NotBefore = "Started", ""
			s.approved = append(s.approved, request.EventId)
		}
	})
	if !known {
		refuse(w, "Bad request. There is no such event")
	}
}

func refuse(w http.ResponseWriter, why string) { http.Error(w, why, http.StatusBadRequest) }

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}
