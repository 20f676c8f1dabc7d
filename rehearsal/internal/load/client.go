package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// client exchanges requests for answers over HTTP/1.1, each at most once.
type client struct {
	host, prefix string
	dial         dialFunc
	pool         pool
}

// dialFunc connects to the target before the deadline.
type dialFunc func(deadline time.Time) (net.Conn, error)

func newClient(target *url.URL, dial dialFunc, keepAlive int) *client {
	if dial == nil {
		addr := target.Host
		if target.Port() == "" {
			addr = net.JoinHostPort(target.Hostname(), "80")
		}
		dial = func(deadline time.Time) (net.Conn, error) {
			d := net.Dialer{Deadline: deadline, KeepAlive: -1} // every request has a deadline: probes would find nothing
			return d.Dial("tcp", addr)
		}
	}
	return &client{
		host:   target.Host,
		prefix: strings.TrimSuffix(target.EscapedPath(), "/"),
		dial:   dial,
		pool:   pool{max: keepAlive},
	}
}

func (c *client) close() { c.pool.close() }

type request struct {
	kind    Kind
	path    string // with its query
	body    []byte // of a POST: JSON
	ownConn bool   // use a new connection, and close it after the answer
}

type answer struct {
	status int
	body   []byte
}

// maxBody bounds an answer's body, in bytes; a longer one is not an answer to
// what was asked.
const maxBody = 1 << 20

var errTooLong = fmt.Errorf("answer is longer than %d bytes", maxBody)

// do sends r once and returns the whole answer. The answer of a failed exchange
// has the status if that much was read.
func (c *client) do(r request, deadline time.Time) (answer, error) {
	var cn *conn
	kept := false // has a place in the pool
	if !r.ownConn {
		cn, kept = c.pool.take()
	}
	if cn == nil {
		nc, err := c.dial(deadline)
		if err != nil {
			if kept {
				c.pool.giveUp()
			}
			return answer{}, err
		}
		cn = newConn(nc)
	}
	ans, reusable, err := cn.exchange(c.message(r), r.kind, deadline)
	switch {
	case kept && reusable:
		c.pool.put(cn)
	case kept:
		cn.Close()
		c.pool.giveUp()
	default:
		cn.Close()
	}
	return ans, err
}

// message returns the bytes of a request. They go out in one write, so a
// request is never half sent but by the network's doing.
func (c *client) message(r request) []byte {
	b := make([]byte, 0, 256+len(r.body))
	b = append(b, r.kind.String()...)
	b = append(b, ' ')
	b = append(b, c.prefix...)
	b = append(b, r.path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.host...)
	b = append(b, "\r\nUser-Agent: evenkeel-load\r\n"...)
	if r.kind == Post {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(r.body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, r.body...)
}

// conn is one connection to the target, used by one request at a time.
type conn struct {
	net.Conn
	r      *bufio.Reader
	broken error // the first error of a read
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc}
	c.r = bufio.NewReader(c)
	return c
}

// Read remembers why reading ended: of a head that was cut off, the parser only
// says that it is malformed.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && c.broken == nil {
		c.broken = err
	}
	return n, err
}

// exchange sends a request and reads its answer. The connection is reusable
// when the server said so and nothing is left over.
func (c *conn) exchange(msg []byte, k Kind, deadline time.Time) (ans answer, reusable bool, err error) {
	defer func() {
		if err != nil && c.broken != nil {
			err = c.broken
		}
	}()
	if err := c.SetDeadline(deadline); err != nil {
		return ans, false, err
	}
	if _, err := c.Write(msg); err != nil {
		return ans, false, err
	}
	resp, err := c.readResponse(k)
	if err != nil {
		return ans, false, err
	}
	ans.status = resp.StatusCode
	ans.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(ans.body) > maxBody {
		err = errTooLong
	}
	return ans, err == nil && !resp.Close && c.r.Buffered() == 0, err
}

// readResponse reads the head of the answer, after any informational ones.
func (c *conn) readResponse(k Kind) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: k.String()}) // the method says whether there is a body
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
}

// closedByServer reports whether the server has ended or reset the connection,
// or sent what nobody asked for. It looks without waiting or consuming.
func (c *conn) closedByServer() bool {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false // tests' in-memory connections
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var peek error
	err = raw.Control(func(fd uintptr) {
		_, _, peek = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err != nil || peek != syscall.EAGAIN
}

// judge says whether a request was answered, and if not, why.
func judge(k Kind, id string, a answer, err error) (status uint16, c Cause) {
	status = uint16(a.status)
	switch {
	case err != nil:
		return status, causeOf(err)
	case a.status < 200 || a.status > 299:
		return status, BadStatus
	case k == Post:
		var echo struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(a.body, &echo) != nil || echo.ID != id {
			return status, BadAnswer
		}
	}
	return status, None
}

// causeOf names the reason why an exchange failed.
func causeOf(err error) Cause {
	var ne net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return EOF
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.ENOBUFS):
		return Overload // this machine's lack, not the service's
	case errors.As(err, &op) && op.Op == "dial":
		return Refused // also "no route": nobody there took it
	default:
		return BadAnswer // what came was not HTTP
	}
}
