package serviceproxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ports are the listeners that are open. Only Run's loop uses it.
type ports struct {
	open    map[portKey]openPort
	failing map[portKey]bool // could not be opened the last time; logged once
}

type openPort struct {
	cluster  netip.AddrPort
	listener *net.TCPListener
}

// listenRetry is the pause before a listener that could not be opened is tried
// again.
const listenRetry = time.Second

// converge opens and closes listeners until they are those of the table, and
// reports whether all could be opened. A port without endpoints has no
// listener: the kernel then refuses connections, which is what clients see of
// kube-proxy's REJECT.
func (p *Proxy) converge(ctx context.Context, wg *sync.WaitGroup, ps *ports, want table) (complete bool) {
	for key, o := range ps.open {
		if t := want[key]; t.cluster != o.cluster || len(t.endpoints) == 0 {
			o.listener.Close()
			delete(ps.open, key)
		}
	}
	complete = true
	for key, t := range want {
		if _, ok := ps.open[key]; ok || len(t.endpoints) == 0 {
			delete(ps.failing, key)
			continue
		}
		l, err := p.listen(ctx, t.cluster)
		if err != nil {
			complete = false
			if !ps.failing[key] {
				p.log.Error("listening for a Service; will retry", "service", key.serviceName(), "port", key.port, "err", err)
				ps.failing[key] = true
			}
			continue
		}
		delete(ps.failing, key)
		ps.open[key] = openPort{t.cluster, l}
		wg.Go(func() { p.accept(ctx, wg, l, key) })
	}
	return complete
}

func (ps *ports) close() {
	for _, o := range ps.open {
		o.listener.Close()
	}
}

func (p *Proxy) listen(ctx context.Context, cluster netip.AddrPort) (*net.TCPListener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // Go's default is on; splice and resets need plain TCP
	l, err := lc.Listen(ctx, "tcp4", p.front(cluster).String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// accept serves the connections of one port until its listener is closed.
// Connections outlive the listener, as they outlive the rule in kube-proxy.
func (p *Proxy) accept(ctx context.Context, wg *sync.WaitGroup, l *net.TCPListener, key portKey) {
	for {
		client, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors: waiting is all that helps
			p.log.Warn("accepting a connection", "service", key.serviceName(), "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		default:
			p.opened(key)
			wg.Go(func() { p.ended(key, p.serve(ctx, client, key)) })
		}
	}
}

// serve is the life of one client's connection, which it closes.
func (p *Proxy) serve(ctx context.Context, client *net.TCPConn, key portKey) Outcome {
	defer client.Close()

	ep, ok := p.pick(key)
	if !ok {
		reset(client)
		return Rejected
	}
	silent := p.net.Silent(ep.Addr())
	if isSilent(silent) {
		hang(ctx, client, false)
		return Silenced
	}
	// No time limit of its own: on loopback a connection is taken or refused at
	// once, unless the endpoint's backlog is full, and then a client of a real
	// cluster waits just as long.
	var d net.Dialer
	endpoint, err := d.DialTCP(ctx, "tcp4", netip.AddrPort{}, p.loopback(ep))
	switch {
	case err == nil:
		return relay(ctx, client, endpoint, silent) // which notices at once when it was cut since
	case isSilent(silent): // the refusal comes from the kill that follows a cut
		hang(ctx, client, false)
		return Silenced
	case ctx.Err() != nil:
		return Shutdown
	default:
		// kube-proxy would let the client see the endpoint's own refusal. Here
		// it has been accepted already, so the refusal arrives as a reset.
		p.log.Debug("endpoint refuses", "service", key.serviceName(), "endpoint", ep, "err", err)
		reset(client)
		return Refused
	}
}

// pick chooses an endpoint at random, each with the same chance.
func (p *Proxy) pick(key portKey) (netip.AddrPort, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	eps := p.table[key].endpoints
	if len(eps) == 0 {
		return netip.AddrPort{}, false
	}
	return eps[p.rng.IntN(len(eps))], true
}

// loopback returns where on this machine an API address is.
// front is where a Service's port is listened at.
func (p *Proxy) front(cluster netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(p.net.Loopback(cluster.Addr()), p.net.Port(cluster.Port()))
}

func (p *Proxy) loopback(api netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(p.net.Loopback(api.Addr()), api.Port())
}
