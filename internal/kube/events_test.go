package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// written is an API server that keeps the Events it is sent, after having refused
// some.
type written struct {
	mu     sync.Mutex
	refuse int
	events []eventsv1.Event
	paths  []string
}

func (s *written) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	var e eventsv1.Event
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		return nil, err
	}
	if s.refuse > 0 {
		s.refuse--
		return nil, errors.New("connection refused")
	}
	s.events, s.paths = append(s.events, e), append(s.paths, r.URL.Path)
	_ = json.NewEncoder(w).Encode(e)
	return w.Result(), nil
}

func newEvents(t *testing.T, s *written, log *slog.Logger) *Events {
	t.Helper()
	api, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: s, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return NewEvents(api, "evenkeel-controller-0", log)
}

func happened(k drain.EventKind, why drain.Reason) drain.Event {
	return drain.Event{Kind: k, At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Node: "n1", Reason: why, Record: record()}
}

func happenedToPod(effect drain.Kind, why drain.Reason, o drain.Outcome, budget string) drain.Event {
	e := happened(drain.EventPod, why)
	e.Pod, e.UID, e.Effect, e.Outcome, e.Budget = cluster.Key{Namespace: "shop", Name: "web-1"}, "u1", effect, o, budget
	return e
}

// TestEvents holds every Event to the API's rules and to the words that people
// may search for.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &written{}
		v := newEvents(t, s, slog.New(slog.DiscardHandler))
		long := happenedToPod(drain.Evict, drain.ReplacementReady, drain.Blocked, strings.Repeat("b", 2000))
		for _, e := range []drain.Event{
			happened(drain.EventNoticed, drain.NoticeReceived), happened(drain.EventNoticed, drain.Resumed), happened(drain.EventTightened, drain.TighterDeadline),
			happened(drain.EventEmptied, drain.NodeEmptied), happened(drain.EventMissed, drain.PastDeadline),
			happened(drain.EventCancelled, drain.RecordRemoved), happened(drain.EventExpired, drain.DeadlineExpired), happened(drain.EventClosed, drain.NodeGone),
			happenedToPod(drain.Handoff, drain.HandOff, drain.Done, ""), happenedToPod(drain.Withdraw, drain.LeavesBalancer, drain.Done, ""), happenedToPod(drain.Delete, drain.TwoBudgets, drain.Done, ""), happenedToPod(drain.Evict, drain.ReplacementReady, drain.Done, ""),
			happenedToPod(drain.Delete, drain.BudgetAtLatest, drain.Done, ""), happenedToPod(drain.Evict, drain.NotReady, drain.Unavailable, ""), long,
		} {
			v.Observe(e)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		var got []string
		names := make(map[string]bool)
		camel := regexp.MustCompile(`^[A-Z][A-Za-z]+$`)
		for i, e := range s.events {
			got = append(got, fmt.Sprintf("%s %s %s %s", e.Regarding.Kind, e.Type, e.Reason, e.Action))
			names[e.Name] = true
			if want := "/apis/events.k8s.io/v1/namespaces/" + e.Namespace + "/events"; s.paths[i] != want || e.Namespace == "" {
				t.Errorf("%s was sent to %s", e.Reason, s.paths[i])
			}
			if !camel.MatchString(e.Reason) || e.Action == "" || len(e.Action) > 128 || len(e.Note) > 1024 || len(e.Name) > 253 ||
				e.ReportingController != ReportingController || e.ReportingInstance == "" || e.EventTime.IsZero() || e.Regarding.UID == "" {
				t.Errorf("the API would refuse %+v", e)
			}
		}
		want := []string{
			"Node Warning InterruptionNoticed Cordon", "Node Warning InterruptionTightened Cordon", "Node Normal NodeEmptied Drain", "Node Warning DeadlineMissed Drain",
			"Node Normal InterruptionCancelled Uncordon", "Node Normal InterruptionExpired Uncordon",
			"Pod Normal HandedOff Handoff", "Pod Normal Withdrawn Withdraw", "Pod Normal Evicted Evict", "Pod Normal Evicted Evict", "Pod Warning DeletedPastBudget Delete", "Pod Warning EvictionBlocked Evict",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(names) != len(want) {
			t.Errorf("%d names for %d Events", len(names), len(want))
		}
	})
}

// TestEventsGiveWay: with nobody writing, what is too much is dropped, and nobody
// waits.
func TestEventsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := &written{refuse: 3}
		v := newEvents(t, s, slog.New(slog.NewTextHandler(&log, nil)))
		for range 3 * podEvents {
			v.Observe(happenedToPod(drain.Evict, drain.NotReady, drain.Done, ""))
		}
		v.Observe(happened(drain.EventNoticed, drain.NoticeReceived))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		synctest.Wait()
		cancel()
		<-done
		if len(s.events) != podEvents+1-3 { // the node's came first, and was refused
			t.Errorf("%d were written", len(s.events))
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log.String())
		}
		if !strings.Contains(log.String(), fmt.Sprintf("count=%d", 2*podEvents)) {
			t.Errorf("nothing says how many were dropped:\n%s", log.String())
		}
	})
}
