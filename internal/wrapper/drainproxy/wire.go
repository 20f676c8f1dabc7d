package drainproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// This file is what an exchange needs of its connections: passing bodies, noticing
// that a peer has gone, and closing without losing what was sent.

// watchAfter is how long an answer takes before the client is watched: most answers
// come sooner, and watching costs more than they do.
const watchAfter = time.Second

// watchClient waits for the client to go away while it waits for its answer, and
// tells the server as the client told us, by the end of what it sends. It owns
// fromClient until unwatch.
func (c *conn) watchClient() {
	defer func() { c.watched <- struct{}{} }()
	if len(c.fromClient.bytes()) > 0 {
		return // the next request is there already
	}
	if err := c.fromClient.fill(smallBuffer); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.server.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
}

// unwatch ends watchClient, if it has begun. It may be called twice.
func (c *conn) unwatch() {
	if !c.watching {
		return
	}
	if c.watching = false; c.watch.Stop() {
		return // it has not begun
	}
	_ = c.client.SetReadDeadline(longAgo)
	<-c.watched
	_ = c.client.SetReadDeadline(time.Time{})
}

// copyBody passes what is left of a body.
func copyBody(dst net.Conn, src *buffer, b *body) error {
	for !b.done() {
		if len(src.bytes()) == 0 {
			if b.framing == byLength && b.left > largeBuffer {
				// The kernel passes it (splice) without showing it to us.
				_, err := io.CopyN(dst, src.conn, b.left)
				return err
			}
			if err := src.fill(largeBuffer); err != nil {
				if errors.Is(err, io.EOF) && b.framing == untilClose {
					return nil
				}
				return err
			}
		}
		p := src.bytes()
		n, err := b.scan(p)
		if err != nil {
			return err
		}
		if _, err := dst.Write(p[:n]); err != nil {
			return err
		}
		full := len(p) == len(src.buf)
		src.consume(n)
		if full && len(src.buf) < largeBuffer && len(src.bytes()) == 0 {
			src.buf = make([]byte, largeBuffer)
		}
	}
	return nil
}

// lingerFor is how long a closing connection waits for its client to close.
const lingerFor = time.Second

// linger closes c so that what was sent arrives: closing a connection on which
// bytes wait to be read resets it, and a reset may overtake the answer.
func linger(c net.Conn) {
	defer c.Close()
	t, ok := c.(interface{ CloseWrite() error })
	if !ok || t.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerFor))
	_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
}

// longAgo as a deadline ends reads that are under way.
var longAgo = time.Unix(1, 0)

func isIdempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// hasInput reports whether something can be read from c without waiting: bytes,
// its end or its error. It consumes nothing.
func hasInput(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var peek error
	var b [1]byte
	err = raw.Control(func(fd uintptr) {
		_, _, peek = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err != nil || !errors.Is(peek, syscall.EAGAIN)
}
