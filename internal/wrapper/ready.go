package wrapper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

const (
	startPoll = 50 * time.Millisecond // how closely the child's readiness is followed while it starts
	readyPoll = time.Second           // and afterwards
)

// awaitChild returns when the child is ready, or with an error when it will not be.
func (w *wrapper) awaitChild(ctx context.Context) error {
	if w.cfg.ChildPort == 0 {
		return nil
	}
	for {
		if w.childReady(ctx) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.child.ended:
			return fmt.Errorf("%s ended before it was ready", w.child.command[0])
		case <-time.After(startPoll):
		}
	}
}

// childReady asks the child once.
func (w *wrapper) childReady(ctx context.Context) error {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(w.cfg.ChildPort))
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if w.cfg.ChildReady == "" {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("connecting to the command: %w", err)
		}
		return c.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+w.cfg.ChildReady, nil)
	if err != nil {
		return fmt.Errorf("asking the command whether it is ready: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("asking the command whether it is ready: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the command is not ready: %s", resp.Status)
	}
	return nil
}

// watchReady passes the child's readiness on, as long as the child's alone counts.
func (w *wrapper) watchReady(ctx context.Context) {
	ready := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(readyPoll):
		}
		err := w.childReady(ctx)
		if ctx.Err() == nil && (err == nil) != ready {
			ready = err == nil
			w.log.Info("the command's readiness has changed", "ready", ready, "err", err)
			w.life.Ready(ready)
		}
	}
}

// Ports below the range from which the kernel takes those of outgoing connections
// cannot be taken by one between the choice and the child's listen.
// Those from 20000 up are left to evenkeel-rehearse, which chooses ports for copies of
// services in the same way.
const firstPort, lastPort = 12000, 19999

// freePort returns a port on which nobody listens.
func freePort() (int, error) {
	// Where to begin: neighbours on a machine should not try the same ones.
	at := firstPort + int(time.Now().UnixNano()/1000)%(lastPort-firstPort)
	for range lastPort - firstPort {
		if at++; at > lastPort {
			at = firstPort
		}
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(at))
		if err == nil {
			return at, ln.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
	}
	return 0, errors.New("looking for a free port: all are taken")
}
