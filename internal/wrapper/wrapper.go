// Package wrapper gives a service that does not know how to end an ending that
// loses nothing, whatever it is written in: it runs the service as its child, and
// stands before it.
//
// It decides what the service cannot: when the child is ready, when it is time to
// turn traffic away, and when the child gets its signal, which is after the last
// request has been answered. The phases, the deadline and their budget are those
// of package lifecycle; what the child gets is the save phase, with the time that
// is reserved for it and all that the others left.
//
// It knows nothing of Kubernetes but the contract of a container: SIGTERM, then
// SIGKILL when the grace period is over, and orphans to be reaped by process 1.
package wrapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/wrapper/drainproxy"
	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// A Mode says how much of the ending the wrapper takes over.
type Mode string

// The modes.
const (
	// Proxy stands between clients and child: it sees when traffic stops, asks
	// clients to leave, and waits for requests in flight. The child gets its
	// signal when nobody needs it any more.
	Proxy Mode = "proxy"

	// Ready answers probes for the child and delays its signal until balancers
	// have had time to leave. It sees no traffic, so the delay is a fixed one,
	// and connections that clients keep are cut by the child's end.
	Ready Mode = "ready"

	// Signal only delays the signal.
	Signal Mode = "signal"
)

// Modes are all modes, the most helpful first.
var Modes = []Mode{Proxy, Ready, Signal}

// ChildPort in an argument stands for the port on which the child listens.
const ChildPort = "{child-port}"

// Config says what to run and how. Command must be set.
type Config struct {
	Mode    Mode     // defaults to Proxy
	Command []string // with its arguments, in which ChildPort is replaced

	Listen string // address for clients in mode Proxy, for example ":8080"
	Health string // address of /livez, /readyz and /health/shutdown; not in mode Signal; "" for none

	// ChildPort is where the child listens on this machine. In mode Proxy zero
	// means a free port, which the child learns from PORT in its environment. In
	// the other modes zero means that the child is taken to be ready at once.
	ChildPort int

	// ChildReady is a path that the child answers with 2xx when it is ready. If
	// empty, a child that accepts connections is ready.
	ChildReady string

	Grace time.Duration // see lifecycle.Options; zero: EVENKEEL_GRACE_SECONDS, or 30 s
	Floor time.Duration // see lifecycle.Options; zero: 2 s, and 5 s in the modes that see no traffic

	StopSignal syscall.Signal // zero: what the command understands as a graceful end; see StopSignal
	StopGroup  bool           // send it to the child's whole process group

	DeadlineFile string // see lifecycle.Options; empty: EVENKEEL_DEADLINE_FILE

	Logger         *slog.Logger // defaults to nowhere
	Stdout, Stderr io.Writer    // of the child and of the cut record; default to those of this process
}

// childShare is the part of the grace period that is the child's whatever the
// other phases need: the share that lifecycle reserves for saving, less its margin
// for cutting.
func childShare(grace time.Duration) time.Duration {
	return max(grace/100*15, time.Second)
}

// Run runs the command until it has ended, and returns its exit code: 128 plus the
// number of the signal if one killed it. An error means that the command could not
// be run, or that its ending did not go as it should; the code is valid even then.
// When Run returns, the child and what it left behind are gone.
func Run(ctx context.Context, c Config) (code int, err error) {
	if len(c.Command) == 0 {
		return exitNotRun, errors.New("no command to run")
	}
	if c.Mode == "" {
		c.Mode = Proxy
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if c.Floor == 0 && c.Mode != Proxy {
		c.Floor = 5 * time.Second
	}
	if c.Mode == Signal {
		c.Health = ""
	}
	if c.Mode == Proxy && c.ChildPort == 0 {
		if c.ChildPort, err = freePort(); err != nil {
			return exitNotRun, err
		}
	}
	w := &wrapper{cfg: c, log: c.Logger}
	return w.run(ctx)
}

// wrapper is one run. All but the child is owned by run.
type wrapper struct {
	cfg   Config
	log   *slog.Logger
	life  *lifecycle.Lifecycle
	proxy *drainproxy.Proxy // only in mode Proxy
	child *child
}

func (w *wrapper) run(ctx context.Context) (int, error) {
	c := w.cfg
	relay, err := newDeadlineRelay()
	if err != nil {
		return exitNotRun, err
	}
	defer relay.close()

	w.life = lifecycle.New(lifecycle.Options{
		Addr:             c.Health,
		Grace:            c.Grace,
		PropagationFloor: c.Floor,
		DeadlineFile:     c.DeadlineFile,
		CutRecord:        c.Stdout,
		Logger:           c.Logger,
	})
	w.child = newChild(c, w.childEnv(relay.path))

	// lifecycle handles these while it runs. Before and after, they must not kill
	// this process the hard way.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(ignored)

	var background sync.WaitGroup
	defer background.Wait()
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()

	var front *front
	if c.Mode == Proxy {
		front = w.newFront()
		defer w.proxy.Close()
	} else {
		w.life.Serve(make(unseen))
	}

	w.life.OnStart(func(ctx context.Context) error {
		if err := w.child.start(); err != nil {
			return err
		}
		background.Go(w.watchChild)
		if err := w.awaitChild(ctx); err != nil {
			return err
		}
		if front == nil {
			return nil
		}
		// Only now: a port that accepts connections is a promise.
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
		if err != nil {
			return fmt.Errorf("listening for clients: %w", err)
		}
		front.open(ln)
		return nil
	})
	w.life.OnSave(w.child.stop)
	background.Go(func() { w.child.forwardSignals(runCtx) })
	background.Go(func() { relay.run(runCtx, w.life) })
	if c.ChildReady != "" {
		background.Go(func() { w.watchReady(runCtx) })
	}
	err = w.life.Run(ctx)
	stop()
	return w.child.kill(), err // what has not ended by now
}

// newFront connects proxy and lifecycle: every connection and request of the one
// is counted by the other.
func (w *wrapper) newFront() *front {
	f := newFront()
	var protocols http.Protocols
	protocols.SetHTTP1(true) // unused, but http.Server wants it for HTTP/2 without TLS
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &protocols, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelWarn)}
	w.proxy = drainproxy.New(drainproxy.Config{
		Target:     net.JoinHostPort("127.0.0.1", strconv.Itoa(w.cfg.ChildPort)),
		Count:      w.life.Handler,
		ConnState:  func(c net.Conn, s http.ConnState) { srv.ConnState(c, s) },
		Draining:   w.life.Reached(lifecycle.Propagate),
		EndStreams: w.life.Reached(lifecycle.Discourage),
		Spread:     min(w.life.Stats().Grace/20, 2*time.Second),
		Gone:       w.child.hasEnded,
	})
	srv.Handler = w.proxy.HTTP2()
	srv.ConnState = w.proxy.HTTP2State
	w.life.HTTPListener(srv, f)
	srv.Handler = w.proxy.TakeLeave(srv.Handler) // outside of what lifecycle wraps it in
	srv.ConnContext = w.proxy.ConnContext
	w.life.Serve(&clients{front: f, proxy: w.proxy})
	return f
}

// childEnv is the environment of the child.
func (w *wrapper) childEnv(deadlineFile string) []string {
	env := os.Environ()
	if w.cfg.Health != "" { // that one is taken
		env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "HEALTH_PORT=") })
	}
	if w.cfg.ChildPort != 0 {
		env = append(env, "PORT="+strconv.Itoa(w.cfg.ChildPort))
	}
	return append(env,
		// The guaranteed part only: a child with the library computes from it when
		// to begin by itself, and must not do so while the wrapper still serves.
		"EVENKEEL_GRACE_SECONDS="+strconv.FormatFloat(childShare(w.life.Stats().Grace).Seconds(), 'f', -1, 64),
		"EVENKEEL_DEADLINE_FILE="+deadlineFile,
	)
}

// watchChild ends the wrapper when the child has ended by itself. A crash is
// mended by a restart, so there is no point in waiting for balancers. Requests that
// come meanwhile are answered 503.
func (w *wrapper) watchChild() {
	<-w.child.ended
	if w.life.Phase() >= lifecycle.Save {
		return
	}
	w.log.Warn("the command has ended by itself", "code", w.child.code())
	w.life.Hurry()
}

// expand replaces ChildPort in the arguments.
func expand(args []string, port int) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = strings.ReplaceAll(a, ChildPort, strconv.Itoa(port))
	}
	return out
}
