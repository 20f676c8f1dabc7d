package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrDraining is why a stream ended (see Lifecycle.Stream), and in the error of
// writing to a WebSocket that was closed because the process ends.
var ErrDraining = errors.New("the process is draining")

// lingerTime is how long a WebSocket that was closed by 1001 is still read from:
// closing a connection with unread bytes would reset it, and the reset may
// overtake the Close frame.
const lingerTime = time.Second

// takenConn is a connection that a handler took over. net/http forgets it, so
// Shutdown would neither wait for it nor tell its client: it is in flight until
// it is closed, and if it is a WebSocket its client gets 1001 when its turn comes.
type takenConn struct {
	net.Conn
	entry   entry
	stream  *stream // nil unless it is a WebSocket
	release func()  // called once, when the connection is closed

	mu     sync.Mutex // held while writing, so Close must do without
	frames frameTracker
	told   bool // its turn has come

	left    atomic.Bool // 1001 has been sent
	closing sync.Once
}

// takeOver tracks the connection of x.
func (l *Lifecycle) takeOver(c net.Conn, x *exchange) *takenConn {
	t := &takenConn{Conn: c}
	t.entry.proto = protoHijacked
	if strings.EqualFold(x.r.Header.Get("Upgrade"), "websocket") {
		t.entry.proto = protoWebSocket
	}
	t.entry.start = x.start
	t.entry.method, t.entry.host, t.entry.path = x.method, x.host, x.path
	t.entry.traceparent, t.entry.requestID = x.traceparent, x.requestID
	l.requests.assign(&t.entry)
	t.entry.add()
	l.taken.Store(t, nil)
	if t.entry.proto == protoWebSocket {
		t.stream = l.streams.add(func() {
			// Writing waits for a client that does not read. It ends at the latest
			// when Run closes the connection.
			go t.leave()
		})
	}
	t.release = func() {
		t.entry.remove(true)
		l.taken.Delete(t)
		if t.stream != nil {
			l.streams.remove(t.stream)
		}
	}
	return t
}

// leave sends 1001 now or, if the handler is in the middle of a frame, when that
// is complete.
func (t *takenConn) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told = true
	t.leaveAtBoundary()
}

func (t *takenConn) leaveAtBoundary() {
	if t.told && !t.left.Load() && !t.frames.closed && t.frames.boundary() {
		t.left.Store(true)
		_, _ = t.Conn.Write(goingAway) // a client that is gone needs no goodbye
	}
}

// Write is refused once the client has been told to leave: nothing may follow a
// Close frame, and the handler has to learn that its message went nowhere.
func (t *takenConn) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left.Load() {
		return 0, fmt.Errorf("%w: %w", ErrDraining, net.ErrClosed)
	}
	n, err := t.Conn.Write(p)
	t.entry.bytes.Add(int64(n))
	if t.stream != nil {
		t.frames.feed(p[:n])
		t.leaveAtBoundary()
	}
	return n, err
}

// CloseWrite serves proxies, which pass on half-closed connections.
func (t *takenConn) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (t *takenConn) Close() (err error) {
	t.closing.Do(func() {
		if t.left.Load() && t.CloseWrite() == nil {
			go t.linger()
			return
		}
		err = t.Conn.Close()
		t.release()
	})
	return err
}

// linger reads what the client still sends until it closes its side.
func (t *takenConn) linger() {
	_ = t.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, t.Conn)
	_ = t.Conn.Close()
	t.release()
}

// cut closes the connection whatever state it is in.
func (t *takenConn) cut() { _ = t.Conn.Close() }
