// Package podnet decides where on the loopback interface the addresses of one
// rehearsal's cluster live, and which of them have gone silent.
//
// The API server refuses loopback addresses in EndpointSlices, so the API shows
// pods and Services at ordinary 10.x addresses. A process cannot listen there
// without a network namespace of its own, so every 10.x.a.b has a twin at
// 127.x.a.b, which on Linux needs no set-up: all of 127/8 is loopback.
package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Net is one rehearsal's share of 127/8. It is safe for concurrent use.
type Net struct {
	// Pods and Services are the ranges as the API shows them.
	Pods, Services netip.Prefix

	claim    net.Listener // holds the share until Close
	lowPorts bool         // ports below 1024 can be listened at

	mu  sync.Mutex
	cut map[netip.Addr]chan struct{} // API address -> closed when it went silent
}

// claimPort is the port whose listener marks a share as taken. Only rehearsals
// use it; it is never connected to.
const claimPort = 47999

// Claim takes a free share: two neighbouring /16 of 127/8. Rehearsals that run
// side by side on a machine get different ones.
func Claim() (*Net, error) {
	for x := 32; x < 240; x += 2 {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.%d.255.254:%d", x, claimPort))
		if err != nil {
			continue
		}
		return &Net{
			lowPorts: mayListenLow(x),
			Pods:     netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(x), 0, 0}), 16),
			Services: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(x + 1), 0, 0}), 16),
			claim:    l,
			cut:      make(map[netip.Addr]chan struct{}),
		}, nil
	}
	return nil, errors.New("claiming a range of loopback addresses: all of them are taken, or this system does not route 127.0.0.0/8 to loopback (Linux does)")
}

// mayListenLow tries whether this process may listen at ports below 1024: root
// may, and everybody where the system says so.
func mayListenLow(x int) bool {
	l, err := net.Listen("tcp4", fmt.Sprintf("127.%d.255.254:80", x))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// Close gives the share back.
func (n *Net) Close() error { return n.claim.Close() }

// Loopback returns where the process behind an API address listens.
func (n *Net) Loopback(api netip.Addr) netip.Addr {
	a := api.As4()
	a[0] = 127
	return netip.AddrFrom4(a)
}

// Port returns the port at which what the API shows at a port listens: the same,
// or 20000 above it for one below 1024 where only root may have that.
func (n *Net) Port(api uint16) uint16 {
	if api < 1024 && !n.lowPorts {
		return 20000 + api
	}
	return api
}

// Cut makes an API address go silent, as a machine does that lost its power:
// nobody resets its connections, packets to it are simply not answered. It is
// called before the processes at the address are killed, so that the resets of
// their sockets never reach a peer. It may be called more than once.
func (n *Net) Cut(api netip.Addr) {
	ch := n.Silent(api)
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-ch:
	default:
		close(n.cut[api])
	}
}

// Silent returns a channel that is closed once the API address has gone silent.
func (n *Net) Silent(api netip.Addr) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	ch, ok := n.cut[api]
	if !ok {
		ch = make(chan struct{})
		n.cut[api] = ch
	}
	return ch
}

// Restore forgets that an address is silent, before it is given to a new pod.
func (n *Net) Restore(api netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, api)
}
