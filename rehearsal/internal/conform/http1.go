package conform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// http1Client speaks HTTP/1.1 itself, because net/http's client repeats requests
// that it thinks safe to repeat, without saying so. It does one thing that every
// client with kept connections does: one that the server has closed before the
// request is written is not used for it.
type http1Client struct {
	dial func(context.Context) (*endpointConn, error)
	max  int // connections that are kept

	mu     sync.Mutex
	idle   []*http1Conn // the one unused for longest first
	places int          // taken by kept connections, idle or in use
}

type http1Conn struct {
	*endpointConn
	r      *bufio.Reader
	broken error // the first error of a read
}

func (c *http1Conn) Read(p []byte) (int, error) {
	n, err := c.endpointConn.Read(p)
	if err != nil && c.broken == nil {
		c.broken = err
	}
	return n, err
}

// take returns a connection that is kept, or says whether a new one may be kept. It
// opens as many as it may before it uses one twice: on layer 4 few connections show
// few of the copies.
func (c *http1Client) take() (cn *http1Conn, keep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.places >= c.max && len(c.idle) > 0 {
		cn := c.idle[0]
		c.idle = c.idle[1:]
		if !closedByServer(cn.Conn) {
			return cn, true
		}
		cn.Close()
		c.places--
	}
	if c.places >= c.max {
		return nil, false
	}
	c.places++
	return nil, true
}

func (c *http1Client) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places--
}

func (c *http1Client) do(ctx context.Context, r request) (answer, error) {
	var cn *http1Conn
	keep := false
	if !r.ownConn {
		cn, keep = c.take()
	}
	if cn == nil {
		ec, err := c.dial(ctx)
		if err != nil {
			if keep {
				c.giveUp()
			}
			return answer{process: processOf(err)}, err
		}
		cn = &http1Conn{endpointConn: ec}
		cn.r = bufio.NewReader(cn)
	}
	a, reusable, err := cn.exchange(ctx, r, !keep)
	if keep && reusable {
		c.mu.Lock()
		c.idle = append(c.idle, cn)
		c.mu.Unlock()
		return a, err
	}
	cn.Close()
	if keep {
		c.giveUp()
	}
	return a, err
}

func processOf(err error) int {
	if de := (*dialError)(nil); errors.As(err, &de) {
		return de.process
	}
	return nowhere
}

// exchange sends a request and reads its answer.
func (c *http1Conn) exchange(ctx context.Context, r request, last bool) (a answer, reusable bool, err error) {
	a.process = c.process
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return a, false, err
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()

	b := make([]byte, 0, 512)
	b = fmt.Appendf(b, "%s %s HTTP/1.1\r\nHost: conform\r\nUser-Agent: evenkeel-conform\r\nX-Request-Id: %s\r\n", methodOf(r.kind), r.path, r.id)
	if last {
		b = append(b, "Connection: close\r\n"...)
	}
	if r.kind != get {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(r.body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	if r.kind == slowPost {
		half := len(r.body) / 2
		if _, err := c.Write(append(b, r.body[:half]...)); err != nil {
			return a, false, err
		}
		select {
		case <-time.After(r.pause):
		case <-ctx.Done():
			return a, false, ctx.Err()
		}
		b = append(b[:0], r.body[half:]...)
	} else if r.kind == post {
		b = append(b, r.body...)
	}
	if _, err := c.Write(b); err != nil {
		return a, false, err
	}

	resp, err := c.readResponse(r.kind)
	if err == nil {
		a.status = resp.StatusCode
		if h := resp.Header.Get(processHeader); h != "" {
			a.process, _ = strconv.Atoi(h)
		}
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		if c.broken != nil {
			err = c.broken // of a head that was cut off, the parser only says that it is malformed
		}
		return a, false, err
	}
	return a, !resp.Close && c.r.Buffered() == 0, nil
}

func (c *http1Conn) readResponse(k kind) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: methodOf(k)}) // the method says whether there is a body
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
}

func (c *http1Client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cn := range c.idle {
		cn.Close()
	}
	c.idle = nil
}

// closedByServer reports whether the server has ended or reset the connection, or
// sent what nobody asked for. It looks without waiting or consuming.
func closedByServer(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var peek error
	err = raw.Control(func(fd uintptr) {
		_, _, peek = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err != nil || !errors.Is(peek, syscall.EAGAIN)
}
