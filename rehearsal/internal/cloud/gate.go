package cloud

import (
	"net"
	"sync"
)

// gate is a listener that can be shut without giving up its port: while shut it
// resets every connection, old and new, so that a client sees a service that is
// gone.
type gate struct {
	net.Listener

	mu    sync.Mutex
	shut  bool
	conns map[*gatedConn]struct{}
}

func newGate(l net.Listener) *gate {
	return &gate{Listener: l, conns: make(map[*gatedConn]struct{})}
}

// Accept returns the next connection that may pass.
func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := g.admit(conn); c != nil {
			return c, nil
		}
		reset(conn)
	}
}

func (g *gate) admit(conn net.Conn) net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil
	}
	c := &gatedConn{Conn: conn, gate: g}
	g.conns[c] = struct{}{}
	return c
}

// set shuts or opens the gate.
func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for c := range g.conns {
			reset(c.Conn) // its owner closes it too, and so forgets it
		}
	}
}

// reset closes a connection without the goodbye that would let the other side
// believe in an orderly end.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// gatedConn is a connection that the gate can reset.
type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
