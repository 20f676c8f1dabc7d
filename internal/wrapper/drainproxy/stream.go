package drainproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// This file ends what would not end by itself: WebSockets and event streams.

// errEnded says that a stream was ended on purpose, so that its client resumes.
var errEnded = errors.New("stream ended for draining")

// whenStreamsEnd calls f when it is the turn of this stream to end. The returned
// function takes that back and waits until f does not run any more.
func (c *conn) whenStreamsEnd(f func()) (cancel func()) {
	if c.p.cfg.EndStreams == nil {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-stop:
			return
		case <-c.p.cfg.EndStreams:
		}
		if s := c.p.cfg.Spread; s > 0 {
			t := time.NewTimer(rand.N(s))
			defer t.Stop()
			select {
			case <-stop:
				return
			case <-t.C:
			}
		}
		f()
	}()
	return func() { close(stop); <-stopped }
}

// copyEvents passes an event stream until it ends, or until it is to end and
// stands between two events; then it returns errEnded. The client of an event
// stream reconnects by itself and says which event it saw last.
func (c *conn) copyEvents(b *body) error {
	server := c.server
	ending := false
	cancel := c.whenStreamsEnd(func() { _ = server.SetReadDeadline(longAgo) })
	defer cancel()

	tail := []byte("\n\n\r\n") // what was passed last; nothing yet is a boundary, too
	for !b.done() {
		if ending && betweenEvents(b, tail) {
			if b.framing == byChunks {
				_, err := c.client.Write([]byte("0\r\n\r\n"))
				if err != nil {
					return err
				}
			}
			return errEnded
		}
		if len(c.fromServer.bytes()) == 0 {
			err := c.fromServer.fill(largeBuffer)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && !ending:
				ending = true
				if err := server.SetReadDeadline(time.Time{}); err != nil {
					return err
				}
				continue
			case errors.Is(err, io.EOF) && b.framing == untilClose:
				return nil
			case err != nil:
				return err
			}
		}
		p := c.fromServer.bytes()
		n, err := b.scan(p)
		if err != nil {
			return err
		}
		if _, err := c.client.Write(p[:n]); err != nil {
			return err
		}
		tail = append(tail, p[max(0, n-8):n]...)
		tail = tail[max(0, len(tail)-8):]
		c.fromServer.consume(n)
	}
	return nil
}

// betweenEvents reports whether the stream can end here: after an empty line and,
// if it is chunked, between two chunks.
func betweenEvents(b *body, tail []byte) bool {
	switch b.framing {
	case byChunks:
		if b.state != inSize || b.digits != 0 {
			return false
		}
		tail = bytes.TrimSuffix(tail, []byte("\r\n")) // of the chunk
	case untilClose:
		tail = bytes.TrimSuffix(tail, []byte("\r\n")) // of the made-up start only
	default:
		return false // a length was promised
	}
	return bytes.HasSuffix(tail, []byte("\n\n")) || bytes.HasSuffix(tail, []byte("\n\r\n"))
}

// tunnel passes bytes both ways after the server agreed to another protocol.
func (c *conn) tunnel(raw []byte, h head) {
	if _, err := c.client.Write(raw); err != nil {
		return
	}
	c.fromServer.consume(len(raw))

	up := make(chan struct{})
	go func() {
		defer close(up)
		pump(c.server, &c.fromClient)
	}()
	if h.websocket {
		c.passFrames()
	} else {
		pump(c.client, &c.fromServer)
	}
	// The server has nothing more to say. The client gets a moment to hear it and
	// to close.
	_ = c.client.SetReadDeadline(time.Now().Add(lingerFor))
	<-up
	_ = c.client.SetReadDeadline(time.Time{})
}

// pump passes everything from src to dst, and then the end of it.
func pump(dst net.Conn, src *buffer) {
	if _, err := dst.Write(src.bytes()); err == nil {
		src.consume(len(src.bytes()))
		_, _ = io.Copy(dst, src.conn)
	}
	if t, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
}

// goingAway is a WebSocket close frame with code 1001.
var goingAway = []byte{0x88, 0x02, 0x03, 0xe9}

// passFrames passes what a WebSocket's server sends. When streams end, it sends a
// close frame of its own between two frames and drops what the server sends
// afterwards. The client answers with a close frame, which passes to the server
// and ends its side, too.
func (c *conn) passFrames() {
	server := c.server
	cancel := c.whenStreamsEnd(func() { _ = server.SetReadDeadline(longAgo) })
	defer cancel()

	var f frames
	ending, told := false, false
	for {
		if ending && !told && f.atBoundary() {
			told = true
			if _, err := c.client.Write(goingAway); err != nil {
				return
			}
		}
		if len(c.fromServer.bytes()) == 0 {
			err := c.fromServer.fill(largeBuffer)
			if errors.Is(err, os.ErrDeadlineExceeded) && !ending {
				ending = true
				// A server that does not answer the close must not keep its client.
				if server.SetReadDeadline(time.Now().Add(5*time.Second)) == nil {
					continue
				}
			}
			if err != nil {
				if t, ok := c.client.(interface{ CloseWrite() error }); ok {
					_ = t.CloseWrite()
				}
				return
			}
		}
		p := c.fromServer.bytes()
		if !told {
			n := f.scan(p, ending)
			if _, err := c.client.Write(p[:n]); err != nil {
				return
			}
			p = p[:n]
		}
		c.fromServer.consume(len(p))
	}
}

// frames finds the boundaries of WebSocket frames in the bytes that pass.
type frames struct {
	head [14]byte
	have int    // bytes of head
	left uint64 // of the payload
}

func (f *frames) atBoundary() bool { return f.have == 0 && f.left == 0 }

// scan returns how many bytes of p to pass: all of them, or, if stop is set, those
// up to the next boundary.
func (f *frames) scan(p []byte, stop bool) (n int) {
	for n < len(p) {
		if stop && f.atBoundary() {
			return n
		}
		if f.left > 0 {
			k := min(uint64(len(p)-n), f.left)
			n += int(k)
			f.left -= k
			continue
		}
		f.head[f.have] = p[n]
		f.have++
		n++
		if f.have < 2 {
			continue
		}
		size := 2
		switch f.head[1] & 0x7f {
		case 126:
			size += 2
		case 127:
			size += 8
		}
		masked := f.head[1]&0x80 != 0
		if masked {
			size += 4
		}
		if f.have < size {
			continue
		}
		switch length := f.head[1] & 0x7f; length {
		case 126:
			f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
		case 127:
			f.left = binary.BigEndian.Uint64(f.head[2:])
		default:
			f.left = uint64(length)
		}
		f.have = 0
	}
	return n
}
