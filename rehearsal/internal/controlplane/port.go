package controlplane

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// reservedPort is a TCP port of 127.0.0.1 that stays ours for the life of the
// control plane, also while no role listens on it.
//
// It is held by a socket that is bound but never listens, so it accepts nothing:
// while the role is stopped, connections are refused. The role can listen on
// the same port because both sides say SO_REUSEPORT (--permit-port-sharing),
// which the kernel grants to one user's processes only. No other program can
// take the port in between, so there is nothing to retry.
type reservedPort struct {
	fd   int
	port int
}

func reservePort() (_ *reservedPort, err error) {
	syscall.ForkLock.RLock() // no child starts before the socket is marked
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	// Not SO_REUSEADDR: with it on both sides any program may take a port on
	// which nobody listens.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return nil, fmt.Errorf("sharing a socket's port: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, fmt.Errorf("binding to 127.0.0.1: %w", err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("asking which port was bound: %w", err)
	}
	return &reservedPort{fd: fd, port: addr.(*unix.SockaddrInet4).Port}, nil
}

// url returns the address of an HTTPS server on the port.
func (p *reservedPort) url() string { return fmt.Sprintf("https://127.0.0.1:%d", p.port) }

func (p *reservedPort) release() { unix.Close(p.fd) }
