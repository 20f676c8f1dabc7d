package drainproxy

import (
	"net"
	"runtime"
	"runtime/debug"
	"syscall"
	"unsafe"
)

// bytePump passes bytes between clients and target and looks at none of them. One thread
// does it, with one recvfrom and one sendto for each message and as few epoll_waits
// as there can be; the scheduler hears of nothing, and nothing is collected. What it
// costs is what any process on the way costs, so no proxy with sockets can cost less.
func bytePump(ln net.Listener, target string) error {
	debug.SetGCPercent(-1) // it would wait for the thread that waits for bytes
	epoll, err := syscall.EpollCreate1(0)
	if err != nil {
		return err
	}
	peers := make([]int, 1<<16) // by descriptor; written before the descriptor is watched
	// A connection that nobody refers to is closed, whoever knows its descriptor.
	var held []net.Conn
	defer func() { runtime.KeepAlive(held) }()
	go func() {
		events, buf := make([]syscall.EpollEvent, 64), make([]byte, 64<<10)
		for {
			n, _, _ := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
			for _, e := range events[:max(0, int(n))] {
				got, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(e.Fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), syscall.MSG_DONTWAIT, 0, 0)
				if errno != 0 || got == 0 {
					_ = syscall.Shutdown(peers[e.Fd], syscall.SHUT_RDWR)
					_ = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_DEL, int(e.Fd), nil)
					continue
				}
				syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(peers[e.Fd]), uintptr(unsafe.Pointer(&buf[0])), got, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
			}
		}
	}()
	for {
		client, err := ln.Accept()
		if err != nil {
			return err
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			return err
		}
		held = append(held, client, server) // the benchmark opens a few
		fds := [2]int{descriptor(client), descriptor(server)}
		peers[fds[0]], peers[fds[1]] = fds[1], fds[0]
		for _, fd := range fds {
			if err := syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | 1<<31, Fd: int32(fd)}); err != nil { // 1<<31 is EPOLLET
				return err
			}
		}
	}
}

func descriptor(c net.Conn) (n int) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		panic(err)
	}
	_ = raw.Control(func(fd uintptr) { n = int(fd) })
	return n
}
