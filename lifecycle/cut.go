package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// maxCutListed bounds the cut record: the count is always exact, the list is not.
const maxCutListed = 100

// cutRecord is the last thing that a process says.
type cutRecord struct {
	Lifecycle string       `json:"lifecycle"` // always "cut", to be found among other lines
	Trigger   Reason       `json:"trigger"`
	Started   time.Time    `json:"started"`
	Ended     time.Time    `json:"ended"`
	Deadline  time.Time    `json:"deadline"`
	Cut       int          `json:"cut"`
	Requests  []cutRequest `json:"requests,omitempty"` // at most maxCutListed, the youngest first
	Saved     bool         `json:"saved"`
	Errors    string       `json:"errors,omitempty"`
}

// cutRequest is one request that did not get its answer.
type cutRequest struct {
	Protocol    string  `json:"protocol"`
	Method      string  `json:"method"`
	Path        string  `json:"path"`
	AgeSeconds  float64 `json:"age_seconds"`
	BytesOut    int64   `json:"bytes_out"`
	Traceparent string  `json:"traceparent,omitempty"`
	RequestID   string  `json:"request_id,omitempty"`
}

// list describes the requests in flight, at most limit of them.
func (e *exchanges) list(at time.Time, limit int) (requests []cutRequest, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for x := e.first; x != nil && len(requests) < limit; x = x.next {
		requests = append(requests, cutRequest{
			Protocol: x.proto, Method: x.method, Path: x.path,
			AgeSeconds: at.Sub(x.start).Seconds(), BytesOut: x.bytes.Load(),
			Traceparent: x.traceparent, RequestID: x.requestID,
		})
	}
	return requests, e.n
}

// describeCut completes the errors of Run with what was left undone and returns
// the cut record. It is called when the loop is over and before connections are
// closed.
func (l *Lifecycle) describeCut(e *ending) cutRecord {
	at := time.Now()
	s := l.snapshot()
	requests, n := l.requests.list(at, maxCutListed)
	active, _ := l.conns.count()
	n = max(n, active)
	if !e.saved && l.policy.saves {
		e.errs = append(e.errs, errors.New("saving state: not finished in time"))
	}
	if e.starting {
		e.errs = append(e.errs, errors.New("starting: not given up in time"))
	}
	if n > 0 {
		e.errs = append(e.errs, fmt.Errorf("%w: %d", ErrCut, n))
	}
	r := cutRecord{
		Lifecycle: "cut", Trigger: s.trigger,
		Started: s.started.UTC(), Ended: at.UTC(), Deadline: s.deadline.UTC(),
		Cut: n, Requests: requests, Saved: e.saved,
	}
	if err := errors.Join(e.errs...); err != nil {
		r.Errors = err.Error()
	}
	return r
}

// writeCut writes the record, but does not wait for a blocked writer beyond the
// deadline: a full pipe must not keep the process.
func (l *Lifecycle) writeCut(r cutRecord) {
	if l.options.CutRecord == nil {
		return
	}
	line, err := json.Marshal(r)
	if err != nil {
		return // unreachable: the record holds nothing that JSON cannot
	}
	line = append(line, '\n')
	done := make(chan error, 1)
	go func() {
		_, err := l.options.CutRecord.Write(line)
		done <- err
	}()
	wait := time.NewTimer(time.Until(r.Deadline) / 2)
	defer wait.Stop()
	select {
	case err := <-done:
		if err != nil {
			l.log.Warn("writing the cut record", "err", err)
		}
	case <-wait.C:
	}
}
