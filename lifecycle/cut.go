package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// maxCutListed bounds the cut record: the count is always exact, the list is not.
	maxCutListed = 100

	// maxTermination is what Kubernetes keeps of the termination log, newline
	// included.
	maxTermination = 4 << 10

	// maxField bounds what strangers can write into the record.
	maxField = 128
)

// cutRecord is the last thing that a process says.
type cutRecord struct {
	Lifecycle  string       `json:"lifecycle"` // always "cut", to be found among other lines
	Trigger    Reason       `json:"trigger"`
	Started    time.Time    `json:"started"`
	Ended      time.Time    `json:"ended"`
	Deadline   time.Time    `json:"deadline"`
	Cut        int          `json:"cut"`
	Finished   int64        `json:"finished"`       // requests in the whole life of the process
	HandedOver int64        `json:"handed_over"`    // streams that ended when they were told
	Saved      bool         `json:"saved"`          // every OnSave function has returned nil in time
	Jobs       []string     `json:"jobs,omitempty"` // that did not end
	Errors     string       `json:"errors,omitempty"`
	Requests   []cutRequest `json:"requests,omitempty"` // at most maxCutListed, the oldest first
}

// cutRequest is one request that did not get its answer.
type cutRequest struct {
	Protocol   string  `json:"protocol"`
	Method     string  `json:"method,omitempty"`
	Route      string  `json:"route"`
	AgeSeconds float64 `json:"age_seconds"`
	BytesOut   int64   `json:"bytes_out"`
	TraceID    string  `json:"trace_id,omitempty"`
	RequestID  string  `json:"request_id,omitempty"`
}

// describeCut completes the errors of Run with what was left undone and returns
// the cut record. It is called when the loop is over and before connections are
// closed.
func (l *Lifecycle) describeCut(e *ending) cutRecord {
	at := time.Now()
	s := l.snapshot()
	c := l.requests.counts()
	active, _ := l.conns.count()
	r := cutRecord{
		Lifecycle: "cut", Trigger: s.trigger,
		Started: s.started.UTC(), Ended: at.UTC(), Deadline: s.deadline.UTC(),
		Cut: l.busy(c, active), HandedOver: l.streams.counts().handedOver,
		Saved: e.saved && !e.unsaved, Jobs: e.jobs.running(), Requests: l.cutRequests(),
	}
	for _, n := range c.finished {
		r.Finished += n
	}
	if !e.saved && l.policy.saves {
		e.note(errors.New("saving state: not finished in time"))
	}
	if e.starting {
		e.note(errors.New("starting: not given up in time"))
	}
	for _, name := range r.Jobs {
		e.note(fmt.Errorf("running %s: not finished in time", name))
	}
	if r.Cut > 0 {
		e.note(fmt.Errorf("%w: %d", ErrCut, r.Cut))
	}
	if err := errors.Join(e.errs...); err != nil {
		r.Errors = err.Error()
	}
	return r
}

// cutRequests describes the requests in flight.
func (l *Lifecycle) cutRequests() []cutRequest {
	type facts struct {
		method, host, path, route, traceparent string
		cutRequest
	}
	var all []facts
	at := l.requests.now()
	l.requests.each(func(e *entry) {
		all = append(all, facts{e.method, e.host, e.path, e.route, e.traceparent, cutRequest{
			Protocol: e.proto.String(), AgeSeconds: (at - e.start).Seconds(), BytesOut: e.bytes.Load(),
			RequestID: e.requestID,
		}})
	})
	slices.SortFunc(all, func(a, b facts) int {
		switch { // the oldest first: it is the one that held up the ending
		case a.AgeSeconds > b.AgeSeconds:
			return -1
		case a.AgeSeconds < b.AgeSeconds:
			return 1
		}
		return 0
	})
	var out []cutRequest
	for _, f := range all[:min(len(all), maxCutListed)] {
		r := f.cutRequest
		r.Method, r.RequestID = clip(f.method), clip(r.RequestID)
		r.Route, r.TraceID = clip(f.route), traceID(f.traceparent)
		if r.Route == "" {
			r.Route = clip(l.route(f.method, f.host, f.path))
		}
		out = append(out, r)
	}
	return out
}

// route names a request without showing what may be private in its path. It is
// looked up only now, from a copy of what it depends on: requests that are not
// cut do not pay for it, and the request itself belongs to its handler.
func (l *Lifecycle) route(method, host, path string) (route string) {
	defer func() {
		if recover() != nil { // in a function of the user's; the record is more important
			route = "unknown"
		}
	}()
	r := &http.Request{Method: method, Host: host, URL: &url.URL{Path: path}, RequestURI: path, Header: http.Header{}}
	if l.options.Route != nil {
		return l.options.Route(r)
	}
	l.mu.Lock()
	routers := l.routers
	l.mu.Unlock()
	for _, router := range routers {
		if _, pattern := router.Handler(r); pattern != "" {
			if _, p, ok := strings.Cut(pattern, " "); ok { // "GET /v1/orders"
				return strings.TrimSpace(p)
			}
			return pattern
		}
	}
	if first, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/"); ok && rest != "" {
		return "/" + first + "/..."
	}
	return path
}

// traceID returns the trace id of a traceparent header (W3C Trace Context), or ""
// if it is none.
func traceID(traceparent string) string {
	parts := strings.SplitN(traceparent, "-", 4)
	if len(parts) != 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || strings.Trim(parts[1], "0") == "" {
		return ""
	}
	for _, c := range []byte(parts[1]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return parts[1]
}

func clip(s string) string {
	if len(s) <= maxField {
		return s
	}
	return strings.ToValidUTF8(s[:maxField], "") + "..."
}

// line returns the record as one line of at most limit bytes, leaving out
// requests as needed.
func (r cutRecord) line(limit int) []byte {
	for {
		data, err := json.Marshal(r)
		if err != nil {
			return nil // unreachable: the record holds nothing that JSON cannot
		}
		if len(data) < limit {
			return append(data, '\n')
		}
		switch {
		case len(r.Requests) > 0:
			r.Requests = r.Requests[:len(r.Requests)/2]
		case len(r.Errors) > maxField+len("..."):
			r.Errors = clip(r.Errors)
		case len(r.Jobs) > 0:
			r.Jobs = r.Jobs[:len(r.Jobs)/2]
		default:
			return nil // unreachable: what is left is short
		}
	}
}

// writeCut writes the record, but does not wait for a blocked writer beyond the
// deadline: a full pipe must not keep the process.
func (l *Lifecycle) writeCut(r cutRecord) {
	const outputs = 2
	done := make(chan error, outputs)
	go func() {
		if l.options.CutRecord == nil {
			done <- nil
			return
		}
		_, err := l.options.CutRecord.Write(r.line(1 << 20))
		done <- err
	}()
	go func() { done <- writeTermination(l.options.TerminationLog, r.line(maxTermination)) }()

	wait := time.NewTimer(time.Until(r.Deadline) / 2)
	defer wait.Stop()
	for range outputs {
		select {
		case err := <-done:
			if err != nil {
				l.log.Warn("writing the cut record", "err", err)
			}
		case <-wait.C:
			return
		}
	}
}

// writeTermination appends to the termination log if there is one: the kubelet
// creates it, and shows the end of it.
func writeTermination(name string, line []byte) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}
