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
// Requests over HTTP/1.1 and HTTP/2 (with TLS, or h2c through
// [http.Server.Protocols]) need nothing else. WebSockets are told to go away with
// status 1001, whatever library serves them. What has no end of its own says so:
// [Lifecycle.Stream] for server-sent events and the like. What works in the
// background is a [Lifecycle.Consumer] or a [Lifecycle.Job], and these end in an
// order in which nothing stays between them. Adapters for gRPC, connect, Kafka,
// Prometheus and OpenTelemetry are modules of their own beside this package;
// package snapshot hands state to a replacement.
//
// There is one deadline and every phase has its share of it (see the constants
// in core.go); what a phase does not use flows to the next. The deadline is the
// earliest of SIGTERM plus the grace period, and the time at which the machine
// goes, read from the evenkeel.dev/deadline annotation of the pod through a
// downward API volume or given to [Lifecycle.Notice]. No process can ask
// Kubernetes for its own grace period, so the manifest has to say it:
// EVENKEEL_GRACE_SECONDS must be equal to terminationGracePeriodSeconds, less
// what a preStop hook uses.
//
// The last thing that a process says is its cut record: how many requests it had
// to cut and which, or that there were none. Kubernetes shows it in the status of
// the pod.
//
// The package decides when to stop what. It does not know what a replacement is
// or whether there is one. It logs only to a logger that it was given, keeps no
// global state, and handles signals only while Run runs.
package lifecycle

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Lifecycle runs the servers of one process from start to end. Make one with
// New, register what belongs to it, and call Run once. Its methods are safe for
// concurrent use, except that registering (HTTP, Serve, Consumer, Job and the
// functions whose names begin with On) must be over before Run.
type Lifecycle struct {
	options Options
	policy  policy
	log     *slog.Logger
	notes   []string // remarks about the options, logged when Run has begun

	servers []Server
	jobs    []job
	starts  []func(context.Context) error
	saves   []func(context.Context) error
	flushes []func(context.Context) error

	signals [Cut + 1]chan struct{} // closed once, by the loop of Run, when the phase begins
	drain   chan Reason            // one slot: the first request to drain is enough
	hurry   chan struct{}          // one slot, too
	notice  chan time.Time         // one slot: the latest counts

	work       context.Context // see WorkContext
	cancelWork context.CancelCauseFunc

	// Written by the loop of Run, read by handlers.
	phase     atomic.Uint32 // Phase
	listening atomic.Bool
	started   atomic.Bool // every OnStart function has returned nil

	// Written by anyone.
	held     atomic.Bool // Ready(false)
	everUsed atomic.Bool // /readyz was green once
	serves   atomic.Bool // something is served, by Run or by the caller

	requests  inFlight
	exchanges *sync.Pool // of *exchange
	conns     connections
	taken     sync.Map // *takenConn -> nil: the connections that handlers took over
	streams   streams
	arrivals  arrivals

	mu        sync.Mutex
	state     state     // copy of the loop's state, for status and Deadline
	announced time.Time // see Announced
	entered   [Cut + 1]time.Time
	routers   []router // of the handlers that were wrapped
}

// A Server is served by Run besides HTTP servers; adapters implement it.
type Server interface {
	// Serve serves until Shutdown or Close, and returns nil then. Any other
	// error begins the ending. Run calls it once, in a goroutine of its own.
	Serve() error

	// Shutdown stops accepting and lets the requests in flight end, as
	// http.Server.Shutdown does, including those that clients have sent and no
	// handler has seen. Run calls it when the finish phase begins, and that phase
	// is not over before it returns. It must return when ctx ends.
	Shutdown(ctx context.Context) error

	// Close cuts what is left. It must not wait for handlers. Run calls it at
	// the end, and also if it could not begin to serve.
	Close() error
}

// New returns a Lifecycle that has not started anything.
func New(o Options) *Lifecycle {
	l := &Lifecycle{options: o, log: o.Logger, drain: make(chan Reason, 1), hurry: make(chan struct{}, 1)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	for p := range l.signals {
		l.signals[p] = make(chan struct{})
	}
	l.notice = make(chan time.Time, 1)
	l.work, l.cancelWork = context.WithCancelCause(context.Background())
	l.arrivals.epoch = time.Now()
	l.requests.epoch = l.arrivals.epoch
	l.entered[Serving] = l.arrivals.epoch
	l.exchanges = exchangePool(l)
	l.options, l.policy, l.notes = settings(o)
	return l
}

// HTTP makes Run listen on srv.Addr and serve srv until the end, over TLS if
// srv.TLSConfig has a certificate. The server
// belongs to the Lifecycle from here on: HTTP wraps its Handler (as Handler
// does) and its ConnState hook, and Run closes it. HTTP returns l.
func (l *Lifecycle) HTTP(srv *http.Server) *Lifecycle { return l.HTTPListener(srv, nil) }

// HTTPListener is HTTP with a listener of the caller's, which Run closes. Whether
// it does TLS is the caller's business, too.
func (l *Lifecycle) HTTPListener(srv *http.Server, ln net.Listener) *Lifecycle {
	l.observeServer(srv)
	c := srv.TLSConfig
	return l.Serve(&httpServer{srv, ln, ln == nil && c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)})
}

// Serve makes Run serve s.
func (l *Lifecycle) Serve(s Server) *Lifecycle {
	l.serves.Store(true)
	l.servers = append(l.servers, s)
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

// OnFlush registers a function that sends off traces, metrics and logs. It is like
// OnSave, and runs after it in the same reserved time, when the spans of the
// ending are over.
func (l *Lifecycle) OnFlush(f func(context.Context) error) {
	l.flushes = append(l.flushes, f)
	l.policy.saves = true
}

// Ready(false) holds /readyz at 503 until Ready(true), for a process that knows
// better than OnStart whether it can serve. It does not start an ending, and
// Ready(true) cannot undo one.
func (l *Lifecycle) Ready(ok bool) { l.held.Store(!ok) }

// Drain begins the ending as SIGTERM does. It returns at once and may be called
// more than once.
func (l *Lifecycle) Drain() { l.requestDrain(ReasonCall) }

// Hurry is Drain without the waiting for balancers and idle clients, or ends that
// waiting, as a second signal does: for a process that cannot serve any more, so
// that its restart comes soon. Requests in flight still finish.
func (l *Lifecycle) Hurry() {
	select {
	case l.hurry <- struct{}{}:
	default:
	}
}

// Notice tells when the machine goes, from a source of the caller's; the deadline
// file is another, and the earlier one counts. It is not a request to end: the
// process serves on until SIGTERM or, if nobody sends it, until waiting longer
// would leave less than the grace period. The zero time takes a notice back as
// long as the ending has not begun.
func (l *Lifecycle) Notice(goes time.Time) {
	for {
		select {
		case l.notice <- goes:
			return
		default:
		}
		select { // a newer notice replaces one that nobody has read
		case <-l.notice:
		default:
		}
	}
}

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

// Announced returns when the machine goes, if the deadline file or Notice said so.
func (l *Lifecycle) Announced() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.announced, !l.announced.IsZero()
}

// IsReady reports what /readyz says.
func (l *Lifecycle) IsReady() bool {
	return l.listening.Load() && l.started.Load() && !l.held.Load() && l.Phase() < Unready
}

func (l *Lifecycle) publish(s state, announced time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.announced = s, announced
}

func (l *Lifecycle) snapshot() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}
