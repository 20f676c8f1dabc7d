package kubelet

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// addresses hands out the cluster's pod addresses. It walks round the whole
// range before it gives an address a second time: a client that still holds a
// dead pod's address should meet silence, not a stranger.
type addresses struct {
	net *podnet.Net

	mu   sync.Mutex
	last uint32 // offset in the range of the address given last
	used map[netip.Addr]struct{}
}

func newAddresses(n *podnet.Net) *addresses {
	return &addresses{net: n, used: make(map[netip.Addr]struct{})}
}

// take returns an address that nobody has and that is not silent.
func (a *addresses) take() (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	base := a.net.Pods.Masked().Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	size := uint32(1) << (32 - a.net.Pods.Bits())
	for range size {
		a.last = (a.last + 1) % size
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+a.last)
		// Skipped are what looks like a network or broadcast address and the last
		// /24, where podnet keeps the listener that marks its share.
		if b[3] == 0 || b[3] == 255 || b[2] == 255 {
			continue
		}
		addr := netip.AddrFrom4(b)
		if _, taken := a.used[addr]; taken {
			continue
		}
		a.used[addr] = struct{}{}
		a.net.Restore(addr)
		return addr, nil
	}
	return netip.Addr{}, errors.New("taking a pod address: all are in use")
}

// give returns an address. Those of reclaimed machines never are: they stay
// silent for the rest of the rehearsal.
func (a *addresses) give(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, addr)
}
