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

// Run installs handlers for SIGTERM and SIGINT, listens, serves, and returns when
// the process has ended: nil if everything that was begun was finished and saved.
// The errors of listening, serving, starting, jobs and saving are joined, with
// ErrCut if requests were cut.
//
// SIGTERM, the end of ctx, Drain or the latest start before the machine's
// deadline begin the ending. A second signal ends the waiting for balancers and
// idle clients, a third also that for requests; SIGINT counts as two.
//
// Run returns before the grace period is over, whatever handlers, functions and
// the writer of the cut record do; only the Logger and Trace must not block.
// Everything that Run started has ended then, except handlers and functions that
// ignore the end of their context: nothing can stop those but the end of the
// process, so return from main when Run returns.
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
	health, control, err := l.listen(background)
	if err != nil {
		for _, s := range l.servers {
			_ = s.Close()
		}
		return err
	}
	e := newEnding(l)
	for _, s := range l.servers {
		e.serve(s)
	}
	for _, s := range []*httpServer{health, control} {
		if s != nil {
			e.serve(s)
		}
	}
	l.listening.Store(true)
	e.start(background)
	e.loop(background, ctx.Done(), signals)

	// Described first: closing the connections makes handlers return.
	record := l.describeCut(e)
	for _, s := range l.servers {
		_ = s.Close() // its error is about connections that are cut anyway
	}
	for c := range l.taken.Range {
		c.(*takenConn).cut()
	}
	l.writeCut(record)
	for _, s := range []*httpServer{control, health} { // last, so that /livez is 200 to the end
		if s != nil {
			_ = s.Close()
		}
	}
	waitUntil(&e.running, record.Deadline)
	return errors.Join(e.errs...)
}

// waitUntil waits for the group, but not into the last part of what is left.
func waitUntil(g *sync.WaitGroup, deadline time.Time) {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	limit := time.NewTimer(time.Until(deadline) / 2)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	}
}

// listen opens every port or none, the management ones included.
func (l *Lifecycle) listen(ctx context.Context) (health, control *httpServer, err error) {
	if err := checkJobs(l.jobs); err != nil {
		return nil, nil, fmt.Errorf("ordering the jobs: %w", err)
	}
	defer func() {
		for _, s := range []*httpServer{health, control} {
			if err != nil && s != nil {
				_ = s.Close()
			}
		}
	}()
	if l.options.Addr != "" {
		ln, err := listen(ctx, "tcp", l.options.Addr)
		if err != nil {
			return nil, nil, err
		}
		health = &httpServer{srv: l.healthServer(), ln: ln}
	}
	if l.options.Control != "" {
		ln, err := listenControl(ctx, l.options.Control)
		if err != nil {
			return health, nil, err
		}
		control = &httpServer{srv: l.controlServer(), ln: ln}
	}
	for _, s := range l.servers {
		h, ok := s.(*httpServer)
		if !ok || h.ln != nil {
			continue
		}
		addr := h.srv.Addr
		if addr == "" {
			addr = ":http" // as http.Server does
			if h.tls {
				addr = ":https"
			}
		}
		if h.ln, err = listen(ctx, "tcp", addr); err != nil {
			return health, control, err
		}
	}
	return health, control, nil
}

func listen(ctx context.Context, network, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err) // a nil interface, not a nil *TCPListener
	}
	return ln, nil
}

// call calls f; a panic becomes an error.
func call(ctx context.Context, doing string, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v", doing, p)
		}
	}()
	if err := f(ctx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// callAll calls the functions one after the other and joins their errors, so that
// each gets its turn.
func callAll(ctx context.Context, doing string, fs []func(context.Context) error) error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, call(ctx, doing, f))
	}
	return errors.Join(errs...)
}

var _ Server = (*httpServer)(nil)

// router is what http.ServeMux is here: it says which pattern a request matches.
type router interface {
	Handler(*http.Request) (h http.Handler, pattern string)
}
