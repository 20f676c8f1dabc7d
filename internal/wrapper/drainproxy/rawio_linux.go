package drainproxy

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// This file reads and writes sockets with system calls of which the scheduler does
// not hear. net.Conn tells it before each one, since a call might block, and that
// wakes the thread that looks after blocked ones (sysmon) whenever the process was
// idle: about a tenth of what a request costs here. These cannot block: Go's sockets
// are non-blocking, and MSG_DONTWAIT says so once more. Waiting, deadlines and
// closing are those of the connection, as syscall.RawConn gives them.

// rawReader reads from a connection. The zero value reads through net.Conn. It is
// used by one goroutine at a time.
type rawReader struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool // method value, made once
	p    []byte
	n    int
	err  syscall.Errno
}

// reset makes the reader that of c.
func (r *rawReader) reset(c net.Conn) {
	if r.try == nil {
		r.try = r.tryOnce
	}
	r.conn = rawConnOf(c)
}

// read is net.Conn.Read. It reports ok if it has a connection for it.
func (r *rawReader) read(p []byte) (n int, ok bool, err error) {
	if r.conn == nil || len(p) == 0 {
		return 0, false, nil
	}
	r.p, r.n, r.err = p, 0, 0
	err = r.conn.Read(r.try)
	r.p = nil
	switch {
	case err != nil:
		return 0, true, err // of the deadline, or closed
	case r.err != 0:
		return 0, true, os.NewSyscallError("recvfrom", r.err)
	case r.n == 0:
		return 0, true, io.EOF
	}
	return r.n, true, nil
}

func (r *rawReader) tryOnce(fd uintptr) (done bool) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&r.p[0])), uintptr(len(r.p)), syscall.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			r.err = errno
			return true
		}
	}
}

// rawWriter writes to a connection. It is used by one goroutine at a time.
type rawWriter struct {
	net  net.Conn
	conn syscall.RawConn // nil: write to net
	try  func(fd uintptr) bool
	p    []byte
	err  syscall.Errno
}

func (w *rawWriter) reset(c net.Conn) {
	if w.try == nil {
		w.try = w.tryAll
	}
	w.net, w.conn = c, rawConnOf(c)
}

// Write writes all of p or returns an error.
func (w *rawWriter) Write(p []byte) (n int, err error) {
	if w.conn == nil || len(p) == 0 {
		return w.net.Write(p)
	}
	w.p, w.err = p, 0
	err = w.conn.Write(w.try)
	n = len(p) - len(w.p)
	w.p = nil
	if err == nil && w.err != 0 {
		err = os.NewSyscallError("sendto", w.err)
	}
	return n, err
}

func (w *rawWriter) tryAll(fd uintptr) (done bool) {
	for len(w.p) > 0 {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&w.p[0])), uintptr(len(w.p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			w.p = w.p[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			w.err = errno
			return true
		}
	}
	return true
}

// rawConnOf returns nil for what is no TCP connection.
func rawConnOf(c net.Conn) syscall.RawConn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
