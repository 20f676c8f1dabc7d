// Package lifecycle ends an HTTP service without losing a request.
//
//	srv := &http.Server{Addr: ":8080", Handler: mux}
//	l := lifecycle.New(lifecycle.Options{Addr: ":8081"})
//	if err := l.HTTP(srv).Run(context.Background()); err != nil {
//		log.Fatal(err)
//	}
//
// [Lifecycle.Run] listens, serves until SIGTERM, and then walks through the
// phases of an ending in an order in which nothing is lost:
//
//	noticed     the machine has been announced to go; everything goes on as before
//	unready     /readyz answers 503, so that balancers begin to leave
//	propagate   balancers still send: every request is served, with
//	            "Connection: close", until traffic has really stopped
//	discourage  clients with an idle connection get time to let go of it
//	finish      no new connections; requests in flight run to their end
//	save        the functions given to OnSave run
//	cut         what is left is closed and written to the cut record
//
// The order matters more than the waiting: [http.Server.Shutdown] alone closes
// the port first, while balancers still believe in it.
//
// There is one deadline and every phase has its share of it (see the constants
// in core.go); what a phase does not use flows to the next. The deadline is the
// earliest of SIGTERM plus the grace period, and the time at which the machine
// goes, read from the evenkeel.dev/deadline annotation of the pod through a
// downward API volume. No process can ask Kubernetes for its own grace period,
// so the manifest has to say it: EVENKEEL_GRACE_SECONDS must be equal to
// terminationGracePeriodSeconds, less what a preStop hook uses.
//
// The package decides when to stop what. It does not know what a replacement is
// or whether there is one. It logs only to a logger that it was given, keeps no
// global state, and handles signals only while Run runs.
package lifecycle

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures a Lifecycle. The zero value is usable: no management
// endpoints, the grace period from the environment, no log and no cut record.
type Options struct {
	// Addr is the TCP address of the management endpoints /livez, /readyz and
	// /health/shutdown, for example ":8081". They have a port of their own so
	// that probes are neither counted as traffic nor turned away. If empty, there
	// are none.
	Addr string

	// Grace is the time from SIGTERM to SIGKILL. If zero, it is read from
	// EVENKEEL_GRACE_SECONDS; if that is missing or not a number, it is 30 s,
	// which is the default of Kubernetes. Values are held between 1 s and 24 h.
	Grace time.Duration

	// PropagationFloor is the shortest time that the process goes on accepting
	// requests after /readyz has turned red. It must exceed the time that the
	// balancers in front need to notice. If zero, it is 2 s; if negative, there
	// is none. It never takes more than 40 % of the grace period.
	PropagationFloor time.Duration

	// DeadlineFile names a file that says when the machine goes: either an RFC
	// 3339 time alone, or pod annotations as a downward API volume writes them.
	// It is polled every second and need not exist. If empty, it is read from
	// EVENKEEL_DEADLINE_FILE; if that is empty too, no file is read.
	DeadlineFile string

	// CutRecord receives one line of JSON at the end of Run, which says how many
	// requests were cut and which. If nil, none is written.
	CutRecord io.Writer

	// Logger receives one entry per phase. If nil, nothing is logged.
	Logger *slog.Logger
}

// A Lifecycle runs the servers of one process from start to end. Make one with
// New, register what belongs to it, and call Run once. Its methods are safe for
// concurrent use, except that registering (HTTP, HTTPListener, OnStart, OnSave)
// must be over before Run.
type Lifecycle struct {
	options Options
	policy  policy
	log     *slog.Logger
	notes   []string // remarks about the options, logged when Run has begun

	servers []server
	starts  []func(context.Context) error
	saves   []func(context.Context) error

	signals [Cut + 1]chan struct{} // closed once, by the loop of Run, when the phase begins
	drain   chan Reason            // one slot: the first request to drain is enough

	// Written by the loop of Run, read by handlers.
	phase     atomic.Uint32 // Phase
	listening atomic.Bool
	started   atomic.Bool // every OnStart function has returned nil

	// Written by anyone.
	held     atomic.Bool // Ready(false)
	everUsed atomic.Bool // /readyz was green once, or a request came

	requests exchanges
	conns    connections
	arrivals arrivals

	mu    sync.Mutex
	state state // copy of the loop's state, for status and Deadline
}

type server struct {
	http *http.Server
	ln   net.Listener // nil: listen on http.Addr
}

// New returns a Lifecycle that has not started anything.
func New(o Options) *Lifecycle {
	l := &Lifecycle{options: o, log: o.Logger, drain: make(chan Reason, 1)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	for p := range l.signals {
		l.signals[p] = make(chan struct{})
	}
	l.arrivals.epoch = time.Now()
	l.policy, l.options.DeadlineFile, l.notes = settings(o)
	return l
}

// HTTP makes Run listen on srv.Addr and serve srv until the end. The server
// belongs to the Lifecycle from here on: HTTP wraps its Handler (as Handler
// does) and its ConnState hook, and Run closes it. HTTP returns l.
func (l *Lifecycle) HTTP(srv *http.Server) *Lifecycle { return l.HTTPListener(srv, nil) }

// HTTPListener is HTTP with a listener of the caller's, which Run closes.
func (l *Lifecycle) HTTPListener(srv *http.Server, ln net.Listener) *Lifecycle {
	next := srv.Handler
	if next == nil {
		next = http.DefaultServeMux
	}
	if h, ok := next.(*handler); !ok || h.l != l {
		srv.Handler = l.Handler(next)
	}
	hook := srv.ConnState
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		l.conns.set(c, s)
		if s == http.StateNew {
			l.arrivals.connection(time.Now())
		}
		if hook != nil {
			hook(c, s)
		}
	}
	l.servers = append(l.servers, server{srv, ln})
	return l
}

// OnStart registers work to do before the process is ready, such as loading
// state. Run calls these functions one after the other when it already handles
// signals and answers probes; /readyz stays 503 until all have returned nil. An
// error ends the process. The context ends when the process begins to end.
func (l *Lifecycle) OnStart(f func(context.Context) error) { l.starts = append(l.starts, f) }

// OnSave registers a function that preserves state. The functions run one after
// the other in the save phase, for which 15 % of the time is reserved; their
// context ends when that time is over, and Run does not wait any longer. An
// error or a panic becomes part of Run's error and does not keep the others from
// running.
//
// Requests that could not finish in time may still be running then.
func (l *Lifecycle) OnSave(f func(context.Context) error) {
	l.saves = append(l.saves, f)
	l.policy.saves = true
}

// Ready(false) holds /readyz at 503 until Ready(true), for a process that knows
// better than OnStart whether it can serve. It does not start an ending, and
// Ready(true) cannot undo one.
func (l *Lifecycle) Ready(ok bool) { l.held.Store(!ok) }

// Drain begins the ending as SIGTERM does. It returns at once and may be called
// more than once.
func (l *Lifecycle) Drain() { l.requestDrain(ReasonCall) }

// requestDrain keeps the first reason and drops the rest.
func (l *Lifecycle) requestDrain(why Reason) {
	select {
	case l.drain <- why:
	default:
	}
}

// Reached returns a channel that is closed when the phase begins. Phases begin
// in their order and none is left out, so waiting for Discourage is enough to
// end a long stream in time.
func (l *Lifecycle) Reached(p Phase) <-chan struct{} { return l.signals[p] }

// Phase returns the phase that the process is in.
func (l *Lifecycle) Phase() Phase { return Phase(l.phase.Load()) }

// Deadline returns when the process will have ended at the latest. The result is
// false while that is not known, which is before the ending has begun.
func (l *Lifecycle) Deadline() (time.Time, bool) {
	s := l.snapshot()
	return s.deadline, s.phase >= Unready
}

// isReady is what /readyz says.
func (l *Lifecycle) isReady() bool {
	return l.listening.Load() && l.started.Load() && !l.held.Load() && l.Phase() < Unready
}

func (l *Lifecycle) publish(s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
}

func (l *Lifecycle) snapshot() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}
