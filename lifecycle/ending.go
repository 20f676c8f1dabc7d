package lifecycle

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	servingTick = time.Second            // how often the deadline file is read
	noticedTick = 100 * time.Millisecond // how closely the latest start is met
	endingTick  = 10 * time.Millisecond  // how closely the phases follow what happens
)

// ending is the loop of Run: it owns the state.
type ending struct {
	l       *Lifecycle
	running sync.WaitGroup // servers
	open    atomic.Int32   // servers whose Shutdown has not returned; all of them before it is called

	urgency  urgency
	trigger  Reason
	starting bool // the OnStart functions run
	saved    bool // the OnSave and OnFlush functions have returned
	unsaved  bool // an OnSave function has failed

	fileDeadline time.Time // as the file says it
	fileNotice   time.Time // the same, on our clock
	callerNotice time.Time // from Notice, on our clock
	deadlineRead time.Time
	deadlineErr  string // the last one logged

	jobs  *jobRuns
	spans spans

	serveErr, startErr, saveErr, flushErr chan error

	cancelStart    context.CancelFunc
	stopConnecting context.CancelFunc // ends the wait of Server.Shutdown
	saveCtx        context.Context
	cancelSave     context.CancelFunc

	errs []error
}

func newEnding(l *Lifecycle) *ending {
	e := &ending{
		l: l, jobs: newJobRuns(l.jobs), spans: spans{trace: l.options.Trace},
		serveErr: make(chan error, len(l.servers)+2),
		startErr: make(chan error, 1), saveErr: make(chan error, 1), flushErr: make(chan error, 1),
		stopConnecting: func() {},
	}
	e.open.Store(int32(len(l.servers)))
	return e
}

func (e *ending) serve(s Server) {
	e.running.Go(func() {
		if err := s.Serve(); err != nil {
			e.serveErr <- err
		}
	})
}

// start runs the OnStart functions.
func (e *ending) start(background context.Context) {
	ctx, cancel := context.WithCancel(background)
	e.starting, e.cancelStart = true, cancel
	go func() { e.startErr <- callAll(ctx, "starting", e.l.starts) }()
}

// loop observes and steps until the state is Cut.
func (e *ending) loop(background context.Context, done <-chan struct{}, signals <-chan os.Signal) {
	l := e.l
	timer := time.NewTimer(0)
	defer timer.Stop()
	var s state
	for s.phase != Cut {
		select {
		case sig := <-signals:
			if sig == os.Interrupt && e.urgency < hurried {
				e.ask(hurried, ReasonInterrupt)
			} else {
				e.ask(min(e.urgency+1, now), ReasonSignal)
			}
		case <-done:
			done = nil
			e.ask(asked, ReasonContext)
		case why := <-l.drain:
			e.ask(asked, why)
		case <-l.hurry:
			e.ask(hurried, ReasonCall)
		case goes := <-l.notice:
			e.callerNotice = onClock(goes, time.Now())
		case err := <-e.serveErr:
			e.fail(err, ReasonServer)
		case err := <-e.startErr:
			e.startEnded(background, s, err)
		case r := <-e.jobs.results:
			e.jobs.ended[r.index] = true
			if r.err != nil && !(s.phase >= Unready && errors.Is(r.err, context.Canceled)) {
				e.fail(r.err, ReasonJob)
			}
		case err := <-e.saveErr:
			e.saveEnded(err)
		case err := <-e.flushErr:
			e.saved = true
			e.note(err)
		case <-timer.C:
		}

		at := time.Now()
		var effects []effect
		s, effects = step(l.policy, s, at, e.observe(at))
		l.publish(s, e.nodeDeadline())
		for _, f := range effects {
			e.perform(background, s, f, at)
		}
		e.keepUp(s, at)
		switch s.phase {
		case Serving:
			timer.Reset(servingTick)
		case Noticed:
			timer.Reset(noticedTick)
		default:
			timer.Reset(endingTick)
		}
	}
	e.stopConnecting()
	e.spans.end(s.why)
}

func (e *ending) ask(u urgency, why Reason) {
	if e.urgency == calm {
		e.trigger = why
	}
	e.urgency = max(e.urgency, u)
}

// note keeps an error for the error of Run.
func (e *ending) note(err error) {
	if err != nil {
		e.errs = append(e.errs, err)
	}
}

// fail notes an error that ends the process.
func (e *ending) fail(err error, why Reason) {
	e.note(err)
	e.ask(asked, why)
}

func (e *ending) startEnded(background context.Context, s state, err error) {
	e.starting = false
	e.cancelStart()
	switch {
	case s.phase >= Unready: // the start was given up because the process ends
	case err != nil:
		e.fail(err, ReasonStart)
	default:
		e.jobs.start(background)
		e.l.started.Store(true)
	}
}

// saveEnded goes on from saving to flushing, which is to include the span of
// saving.
func (e *ending) saveEnded(err error) {
	e.note(err)
	e.unsaved = err != nil
	why := ReasonDrained
	if e.saveCtx.Err() != nil {
		why = ReasonTime
	}
	e.spans.end(why)
	go func() {
		defer e.cancelSave()
		e.flushErr <- callAll(e.saveCtx, "flushing", e.l.flushes)
	}()
}

func (e *ending) observe(at time.Time) observation {
	l := e.l
	e.pollDeadline(at)
	c := l.requests.counts()
	l.arrivals.sample(at, c.begun)
	if l.IsReady() {
		l.everUsed.Store(true)
	}
	active, idle := l.conns.count()
	busy := l.busy(c, active) + len(e.jobs.running())
	if e.starting {
		busy++
	}
	return observation{
		urgency: e.urgency, trigger: e.trigger, nodeDeadline: e.nodeDeadline(),
		used: l.serves.Load() && l.everUsed.Load() || c.begun > 0, busy: busy, idle: idle, untold: l.streams.counts().untold,
		lastArrival: l.arrivals.last(c.latest), meanGap: l.arrivals.meanGap(at, c.begun),
		open: int(e.open.Load()), saved: e.saved,
	}
}

// busy is the number of requests in flight. Handlers and active connections are
// two views of the same HTTP requests; each sees some that the other does not
// (servers that Run does not serve, answers in a buffer).
func (l *Lifecycle) busy(c counts, active int) int { return max(active, c.http()) + c.all() - c.http() }

// nodeDeadline is the earlier one of the announced times.
func (e *ending) nodeDeadline() time.Time {
	if e.fileNotice.IsZero() || !e.callerNotice.IsZero() && e.callerNotice.Before(e.fileNotice) {
		return e.callerNotice
	}
	return e.fileNotice
}

// pollDeadline reads the deadline file once a second. A file that cannot be read
// changes nothing: it is a hint.
func (e *ending) pollDeadline(at time.Time) {
	name := e.l.options.DeadlineFile
	if name == "" || !e.deadlineRead.IsZero() && at.Sub(e.deadlineRead) < servingTick {
		return
	}
	e.deadlineRead = at
	t, err := readDeadline(name)
	switch {
	case err == nil:
		if !t.Equal(e.fileDeadline) {
			e.fileDeadline, e.fileNotice = t, onClock(t, at)
		}
		e.deadlineErr = ""
	case !errors.Is(err, os.ErrNotExist) && err.Error() != e.deadlineErr:
		e.deadlineErr = err.Error()
		e.l.log.Warn("deadline file ignored", "err", err)
	}
}

// perform does what belongs to the beginning of a phase.
func (e *ending) perform(background context.Context, s state, f effect, at time.Time) {
	l := e.l
	// From here on /readyz and the answers of handlers follow the new phase.
	l.phase.Store(uint32(f.enter))
	l.enter(f.enter, at)
	l.log.Info("phase", "phase", f.enter.String(), "why", string(f.why))
	if f.enter < Cut {
		e.spans.begin(background, f.enter, f.why)
	}

	switch f.enter {
	case Unready:
		e.cancelStart()
	case Finish:
		l.streams.tellAll()
		e.shutdown(background)
	case Save:
		l.cancelWork(ErrCut)
		e.save(background, s)
	}
	close(l.signals[f.enter])
}

// keepUp does what belongs to the course of a phase.
func (e *ending) keepUp(s state, at time.Time) {
	l := e.l
	if s.phase == Discourage {
		c := l.streams.counts()
		l.streams.tell(turns(c.told+c.untold, at.Sub(s.entered), s.limit(l.policy).Sub(s.entered)))
	}
	if s.phase >= Unready {
		active, _ := l.conns.count()
		e.jobs.stop(s.phase, l.busy(l.requests.counts(), active), s.disorder(l.policy, at))
	}
}

// shutdown closes the ports and the idle connections.
func (e *ending) shutdown(background context.Context) {
	ctx, cancel := context.WithCancel(background)
	e.stopConnecting = cancel
	for _, s := range e.l.servers {
		e.running.Go(func() {
			defer e.open.Add(-1)
			_ = s.Shutdown(ctx)
		})
	}
}

func (e *ending) save(background context.Context, s state) {
	// Ends a little before the cut, so that a function that was stopped still gets
	// to say so.
	limit := s.limit(e.l.policy)
	ctx, cancel := context.WithDeadline(background, limit.Add(-min(cutMargin, limit.Sub(s.entered)/10)))
	e.saveCtx, e.cancelSave = ctx, cancel
	go func() { e.saveErr <- callAll(ctx, "saving state", e.l.saves) }()
}
