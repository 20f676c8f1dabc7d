package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// ErrCut is in the error of Run if requests had to be cut.
var ErrCut = errors.New("requests were cut at the deadline")

const (
	servingTick = time.Second            // how often the deadline file is read
	noticedTick = 100 * time.Millisecond // how closely the latest start is met
	endingTick  = 10 * time.Millisecond  // how closely the phases follow what happens
)

// Run installs handlers for SIGTERM and SIGINT, listens, serves, and returns when
// the process has ended: nil if everything that was begun was finished and saved.
// The errors of listening, serving, starting and saving are joined, with ErrCut
// if requests were cut.
//
// SIGTERM, the end of ctx, Drain or the latest start before the machine's
// deadline begin the ending. A second signal ends the waiting for balancers and
// idle clients, a third also that for requests; SIGINT counts as two.
//
// Run returns before the grace period is over, whatever handlers, functions and
// the writer of the cut record do; only the Logger must not block. Everything
// that Run started has ended then, except handlers and functions that ignore the end of
// their context: nothing can stop those but the end of the process, so return
// from main when Run returns.
func (l *Lifecycle) Run(ctx context.Context) error {
	// First of all: a signal that comes during a slow start must not kill the
	// process the hard way.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	return l.run(ctx, signals)
}

func (l *Lifecycle) run(ctx context.Context, signals <-chan os.Signal) error {
	for _, note := range l.notes {
		l.log.Warn(note)
	}
	// What is begun here lives on when ctx ends: its end begins the ending.
	background := context.WithoutCancel(ctx)
	health, listeners, err := l.listen(background)
	if err != nil {
		return err
	}
	e := &ending{l: l, serveErr: make(chan error, len(l.servers)+1), startErr: make(chan error, 1), saveErr: make(chan error, 1)}

	closeHealth := func() {}
	if health != nil {
		srv := l.healthServer()
		closeHealth = func() { _ = srv.Close() }
		e.serve(srv, health)
	}
	for i, s := range l.servers {
		e.serve(s.http, listeners[i])
	}
	l.listening.Store(true)

	startCtx, cancelStart := context.WithCancel(background)
	defer cancelStart()
	e.starting = true
	go func() { e.startErr <- callAll(startCtx, "starting", l.starts) }()
	e.cancelStart = cancelStart

	e.loop(background, ctx.Done(), signals)

	// Described first: closing the connections makes handlers return.
	record := l.describeCut(e)
	for _, s := range l.servers {
		_ = s.http.Close() // its error is about connections that are cut anyway
	}
	l.writeCut(record)
	closeHealth() // last, so that /livez is 200 to the end
	e.running.Wait()
	return errors.Join(e.errs...)
}

// listen opens every port or none. It closes listeners of the caller's, too, if
// it fails, because Run promised to.
func (l *Lifecycle) listen(ctx context.Context) (health net.Listener, listeners []net.Listener, err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, ln := range append(listeners, health) {
			if ln != nil {
				_ = ln.Close()
			}
		}
	}()
	listeners = make([]net.Listener, len(l.servers))
	for i, s := range l.servers {
		listeners[i] = s.ln
	}
	if l.options.Addr != "" {
		if health, err = listen(ctx, l.options.Addr); err != nil {
			return health, listeners, err
		}
	}
	for i, s := range l.servers {
		if listeners[i] != nil {
			continue
		}
		addr := s.http.Addr
		if addr == "" {
			addr = ":http" // as http.Server does
		}
		if listeners[i], err = listen(ctx, addr); err != nil {
			return health, listeners, err
		}
	}
	return health, listeners, nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err) // a nil interface, not a nil *TCPListener
	}
	return ln, nil
}

// ending is the loop of Run: it owns the state.
type ending struct {
	l       *Lifecycle
	running sync.WaitGroup // servers

	urgency  urgency
	trigger  Reason
	starting bool // the OnStart functions run
	saved    bool

	nodeDeadline time.Time
	deadlineRead time.Time
	deadlineErr  string // the last one logged

	serveErr, startErr, saveErr chan error
	cancelStart                 context.CancelFunc
	stopIdle                    context.CancelFunc // ends the wait of http.Server.Shutdown

	errs []error
}

func (e *ending) serve(srv *http.Server, ln net.Listener) {
	e.running.Go(func() {
		// ErrServerClosed comes from our own Shutdown or Close.
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			e.serveErr <- fmt.Errorf("serving %s: %w", ln.Addr(), err)
		}
	})
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
		case err := <-e.serveErr:
			e.errs = append(e.errs, err)
			e.ask(asked, ReasonServer)
		case err := <-e.startErr:
			e.starting = false
			if err == nil {
				l.started.Store(true)
			} else if s.phase < Unready {
				e.errs = append(e.errs, err)
				e.ask(asked, ReasonStart)
			} // else: the start was given up because the process ends
		case err := <-e.saveErr:
			e.saved = true
			if err != nil {
				e.errs = append(e.errs, err)
			}
		case <-timer.C:
		}

		at := time.Now()
		var effects []effect
		s, effects = step(l.policy, s, at, e.observe(at))
		l.publish(s)
		for _, f := range effects {
			e.perform(background, s, f)
		}
		switch s.phase {
		case Serving:
			timer.Reset(servingTick)
		case Noticed:
			timer.Reset(noticedTick)
		default:
			timer.Reset(endingTick)
		}
	}
	if e.stopIdle != nil {
		e.stopIdle()
	}
}

func (e *ending) ask(u urgency, why Reason) {
	if e.urgency == calm {
		e.trigger = why
	}
	e.urgency = max(e.urgency, u)
}

func (e *ending) observe(at time.Time) observation {
	l := e.l
	e.pollDeadline(at)
	l.arrivals.sample(at)
	if l.isReady() {
		l.everUsed.Store(true)
	}
	active, idle := l.conns.count()
	// Handlers and active connections are two views of the same requests; each
	// sees some that the other does not (hijacked ones, answers in a buffer).
	busy := max(active, l.requests.count())
	if e.starting {
		busy++
	}
	return observation{
		urgency: e.urgency, trigger: e.trigger, nodeDeadline: e.nodeDeadline,
		used: l.everUsed.Load(), busy: busy, idle: idle,
		lastArrival: l.arrivals.lastArrival(), meanGap: l.arrivals.meanGap(at),
		saved: e.saved,
	}
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
		e.nodeDeadline, e.deadlineErr = t, ""
	case !errors.Is(err, os.ErrNotExist) && err.Error() != e.deadlineErr:
		e.deadlineErr = err.Error()
		e.l.log.Warn("deadline file ignored", "err", err)
	}
}

// perform does what belongs to the beginning of a phase.
func (e *ending) perform(background context.Context, s state, f effect) {
	l := e.l
	// From here on /readyz and the answers of handlers follow the new phase.
	l.phase.Store(uint32(f.enter))
	l.log.Info("phase", "phase", f.enter.String(), "why", string(f.why))

	switch f.enter {
	case Unready:
		e.cancelStart()
	case Finish:
		e.stopAccepting(background)
	case Save:
		// Ends a little before the cut, so that a function that was stopped still
		// gets to say so.
		limit := s.limit(l.policy)
		ctx, cancel := context.WithDeadline(background, limit.Add(-min(cutMargin, limit.Sub(s.entered)/10)))
		go func() {
			defer cancel()
			e.saveErr <- callAll(ctx, "saving state", l.saves)
		}()
	}
	close(l.signals[f.enter])
}

// stopAccepting closes the ports and the idle connections.
//
// What remains of the keep-alive race: a client that has been idle all through
// propagate and discourage, and so was never told to leave, may be writing a
// request at the very moment at which its connection is closed. It sees a reset
// and cannot know that nothing was done. Go's own client repeats such a request
// by itself if it is idempotent; for a POST the sender has to decide. Clients
// whose idle timeout is shorter than propagate and discourage together never get
// there.
func (e *ending) stopAccepting(background context.Context) {
	ctx, cancel := context.WithCancel(background)
	e.stopIdle = cancel
	for _, s := range e.l.servers {
		// Shutdown also waits for requests in flight, but not for all (hijacked
		// connections) and too long for some (new connections): step counts.
		e.running.Go(func() { _ = s.http.Shutdown(ctx) })
	}
}

// callAll calls the functions one after the other and joins their errors. A
// panic becomes an error, so that the next function gets its turn.
func callAll(ctx context.Context, doing string, fs []func(context.Context) error) error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("%s: panic: %v", doing, p)
				}
			}()
			if err := f(ctx); err != nil {
				return fmt.Errorf("%s: %w", doing, err)
			}
			return nil
		}())
	}
	return errors.Join(errs...)
}
