package load

import "sync"

// pool keeps up to max connections open and gives them out in turn. It opens
// up to max before it gives one out twice: a layer 4 balancer decides once per
// connection, and few connections would show few of the endpoints behind it.
type pool struct {
	max int

	mu     sync.Mutex
	idle   []*conn // the one unused for longest first
	places int     // taken by kept connections, idle or in use
	closed bool
}

// take returns a connection to send on. If it is nil, the caller dials. kept
// says that the connection has a place in the pool, which the caller must give
// back by put or giveUp.
//
// A connection that the server has closed while it was idle is not returned:
// see the package comment.
func (p *pool) take() (c *conn, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.places >= p.max && len(p.idle) > 0 {
		c := p.idle[0]
		p.idle = p.idle[1:]
		if !c.closedByServer() {
			return c, true
		}
		c.Close()
		p.places--
	}
	if p.places >= p.max {
		return nil, false // all are in use
	}
	p.places++
	return nil, true
}

// put gives a connection back that can be used again.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

// giveUp gives the place of a connection back that was closed or never opened.
func (p *pool) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places--
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.Close()
	}
	p.idle = nil
}
