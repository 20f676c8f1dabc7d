package lifecycle

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// healthServer serves the management endpoints. None of them changes anything: a
// preStop hook or a probe is a GET from the node, and a GET that ended the
// process would be an open door.
func (l *Lifecycle) healthServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !l.IsReady() {
			http.Error(w, "not ready: "+l.Phase().String(), http.StatusServiceUnavailable)
			return
		}
		l.everUsed.Store(true)
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /health/shutdown", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(l.status(time.Now()))
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
}

// status is the answer of /health/shutdown. Times are absent before they are
// known.
type status struct {
	Phase            string    `json:"phase"`
	Why              Reason    `json:"why,omitempty"`
	Ready            bool      `json:"ready"`
	GraceSeconds     float64   `json:"grace_seconds"`
	Trigger          Reason    `json:"trigger,omitempty"`
	Started          time.Time `json:"started,omitzero"`
	Deadline         time.Time `json:"deadline,omitzero"`
	RemainingSeconds float64   `json:"remaining_seconds,omitempty"`
	InFlight         int       `json:"in_flight"`
	Streams          int       `json:"streams"` // of those in flight, or beside them
	IdleConnections  int       `json:"idle_connections"`

	Protocols map[string]int `json:"in_flight_by_protocol"`
}

func (l *Lifecycle) status(at time.Time) status {
	s := l.snapshot()
	c := l.requests.counts()
	active, idle := l.conns.count()
	out := status{
		Phase: s.phase.String(), Why: s.why, Ready: l.IsReady(), GraceSeconds: l.policy.grace.Seconds(),
		Trigger: s.trigger, Started: s.started, Deadline: s.deadline,
		InFlight: l.busy(c, active), Streams: l.streams.counts().open, IdleConnections: idle,
		Protocols: make(map[string]int),
	}
	for p, n := range c.inFlight {
		out.Protocols[protocol(p).String()] = n
	}
	if s.phase >= Unready {
		out.RemainingSeconds = s.deadline.Sub(at).Seconds()
	}
	return out
}
