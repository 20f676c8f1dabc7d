package rehearse

import (
	"context"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/observe"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// phase is what the progress line shows. It is written by the goroutine that
// runs the stage and read by the one that shows it.
type phase struct {
	mu       sync.Mutex
	name     string
	began    time.Time
	total    time.Duration
	load     *load.Generator
	observer *observe.Observer
}

func (p *phase) set(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name = name
}

func (p *phase) setLoad(l *load.Generator, o *observe.Observer, total time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load, p.observer, p.total, p.began = l, o, total, time.Now()
}

// status returns what to show now. The rate is that since the last status.
func (p *phase) status(handler string, last *report.Status, since time.Duration) report.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := report.Status{Handler: handler, Phase: p.name, Elapsed: time.Since(p.began), Total: p.total}
	if p.load == nil {
		return s
	}
	c := p.load.Live()
	s.Sent, s.Failed = int(c.Sent), int(c.Failed)
	if since > 0 {
		s.RequestsPerSecond = float64(s.Sent-last.Sent) / since.Seconds()
	}
	s.NodesReady, s.Nodes = p.observer.Nodes()
	return s
}

// showProgress keeps the progress line up to date until the returned function is
// called, or ctx ends.
func (s *stage) showProgress(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var last report.Status
		began := time.Now()
		for {
			now := time.Now()
			last = s.phase.status(s.handler, &last, now.Sub(began))
			began = now
			s.Progress.Update(last)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}
