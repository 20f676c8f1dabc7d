package wrapper

import (
	"net"
	"sync"
)

// front is the listener that lifecycle closes when it is time to accept no more
// connections. Clients' own listener is opened later than it, when the child is
// ready, and closed with it. What it accepts is what the proxy hands over: the
// connections that speak HTTP/2.
type front struct {
	conns chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	ln     net.Listener // for clients; nil before open
	closed bool
}

func newFront() *front {
	return &front{conns: make(chan net.Conn), done: make(chan struct{})}
}

// open makes ln the clients' listener. It belongs to the front from here on.
func (f *front) open(ln net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ln = ln
	if f.closed {
		_ = ln.Close()
	}
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
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	close(f.done)
	if f.ln != nil {
		return f.ln.Close()
	}
	return nil
}

func (f *front) Addr() net.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ln != nil {
		return f.ln.Addr()
	}
	return &net.TCPAddr{}
}
