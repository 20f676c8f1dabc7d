package wrapper

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/wrapper/drainproxy"
	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// clients serves the clients of the proxy, and takes leave of them when lifecycle
// says so. The child is signalled only after that: a request that somebody has sent
// and nobody has read yet still needs it.
type clients struct {
	front *front
	proxy *drainproxy.Proxy
}

var _ lifecycle.Server = (*clients)(nil)

// Serve begins when the child is ready.
func (c *clients) Serve() error {
	select {
	case <-c.front.opened:
		return c.proxy.Serve(c.front.clients(), c.front.handOver)
	case <-c.front.done:
		return nil
	}
}

// farewell bounds the wait for connections on which nothing comes. Requests in
// flight are counted, and have their own time.
const farewell = 1500 * time.Millisecond

func (c *clients) Shutdown(ctx context.Context) error {
	c.front.closePort()
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	return c.proxy.Shutdown(ctx)
}

func (c *clients) Close() error {
	c.front.closePort()
	c.proxy.Close()
	return nil
}

// unseen stands for the child in the modes in which it serves its clients itself. It
// tells lifecycle that something is served, so that it waits for balancers.
type unseen chan struct{}

var _ lifecycle.Server = unseen(nil)

func (u unseen) Serve() error                   { <-u; return nil }
func (u unseen) Shutdown(context.Context) error { return nil }
func (u unseen) Close() error                   { close(u); return nil }

// front is the listener that lifecycle closes when it is time to accept no more
// connections. Clients' own listener is opened later than it, when the child is
// ready, and closed with it. What it accepts is what the proxy hands over: the
// connections that speak HTTP/2.
type front struct {
	conns  chan net.Conn
	opened chan struct{} // closed by open
	done   chan struct{} // closed by Close

	mu                 sync.Mutex
	ln                 net.Listener // for clients; nil before open
	portClosed, closed bool
}

func newFront() *front {
	return &front{conns: make(chan net.Conn), opened: make(chan struct{}), done: make(chan struct{})}
}

// open makes ln the clients' listener. It belongs to the front from here on. It may
// be called once.
func (f *front) open(ln net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ln = ln
	close(f.opened)
	if f.portClosed {
		_ = ln.Close()
	}
}

func (f *front) clients() net.Listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ln
}

// handOver gives a connection to whoever accepts.
func (f *front) handOver(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.done:
		_ = c.Close()
	}
}

// Accept, Close and Addr are net.Listener.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *front) Close() error {
	f.closePort()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.done)
	}
	return nil
}

// closePort lets nobody in any more. Who is in may still be handed over.
func (f *front) closePort() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.portClosed = true
	if f.ln != nil {
		_ = f.ln.Close() // a second time it fails, which changes nothing
	}
}

func (f *front) Addr() net.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ln != nil {
		return f.ln.Addr()
	}
	return &net.TCPAddr{}
}
