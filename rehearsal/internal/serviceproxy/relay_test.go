package serviceproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPassesHalfClose(t *testing.T) {
	n := claim(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB: more than fits into socket buffers
	// The endpoint answers only when it has seen the end of what the client sends.
	serve(t, n, 1, func(c *net.TCPConn) {
		all, err := io.ReadAll(c)
		if err != nil {
			return
		}
		c.Write(all)
	})
	c := newCluster(t, n, Config{}, endpoint(pod(n, 1), "RSt"))
	conn := c.dial()
	if _, err := conn.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes and error %v, want the %d that were sent", len(got), err, len(body))
	}
}

// The endpoint is done sending, but still reads: a client must be able to go on.
func TestPassesHalfCloseOfEndpoint(t *testing.T) {
	n := claim(t)
	got := make(chan string, 1)
	serve(t, n, 1, func(c *net.TCPConn) {
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		if len(all) > 0 { // the probe sends nothing
			got <- string(all)
		}
	})
	c := newCluster(t, n, Config{}, endpoint(pod(n, 1), "RSt"))
	conn := c.dial()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("reading: %v, want the end of the stream", err)
	}
	io.WriteString(conn, "last words")
	conn.Close()
	select {
	case s := <-got:
		if s != "last words" {
			t.Errorf("the endpoint got %q", s)
		}
	case <-time.After(hung):
		t.Error("the endpoint got nothing")
	}
}

func TestPassesResets(t *testing.T) {
	n := claim(t)
	seen := make(chan error, 2)
	serve(t, n, 1, func(c *net.TCPConn) {
		buf := make([]byte, 1)
		if _, err := c.Read(buf); err != nil {
			return // the probe
		}
		if buf[0] == 'r' {
			reset(c)
			return
		}
		_, err := c.Read(buf)
		seen <- err
	})
	c := newCluster(t, n, Config{}, endpoint(pod(n, 1), "RSt"))

	conn := c.dial()
	io.WriteString(conn, "r")
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the endpoint resets: the client sees %v", err)
	}

	conn = c.dial()
	io.WriteString(conn, "x")
	c.until("the connection is open", func() bool { return c.stats().Open == 1 })
	reset(conn)
	select {
	case err := <-seen:
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client resets: the endpoint sees %v", err)
		}
	case <-time.After(hung):
		t.Error("the client resets: the endpoint sees nothing")
	}
	c.until("both are counted", func() bool { return c.stats().Ended[Reset] == 2 })
}

// A machine that lost its power: Cut, then the kernel tears down the sockets of
// the killed processes. No client may see anything of that.
func TestSilentEndpoint(t *testing.T) {
	kills := []struct {
		name string
		kill func(*net.TCPConn)
	}{
		{"with resets", reset},
		{"with ends of stream", func(c *net.TCPConn) { c.Close() }},
	}
	for _, k := range kills {
		t.Run(k.name, func(t *testing.T) {
			n := claim(t)
			dead, alive := netip.MustParseAddr(pod(n, 1)), endpoint(pod(n, 2), "RSt")
			conns := make(chan *net.TCPConn, 10)
			halfClosed := make(chan bool)
			l := serve(t, n, 1, func(c *net.TCPConn) {
				buf := make([]byte, 100)
				for first := true; ; first = false {
					nr, err := c.Read(buf)
					if err == io.EOF && !first {
						halfClosed <- true // the client still waits for more
						<-t.Context().Done()
					}
					if err != nil {
						return
					}
					if first {
						conns <- c
					}
					c.Write(buf[:nr])
				}
			})
			serve(t, n, 2, echo(2))
			c := newCluster(t, n, Config{}, endpoint(pod(n, 1), "RSt"))

			idle, busy, half := c.dial(), c.dial(), c.dial()
			for _, conn := range []*net.TCPConn{idle, busy, half} {
				ask(t, conn, "x")
			}
			if err := half.CloseWrite(); err != nil {
				t.Fatal(err)
			}

			<-halfClosed

			n.Cut(dead)
			io.WriteString(busy, "a request to nobody")
			l.Close()
			for range 3 {
				k.kill(<-conns)
			}
			fresh := c.dial() // the table has not changed yet
			io.WriteString(fresh, "x")

			// Nothing is seen of a kill that takes microseconds on loopback.
			soon := time.Now().Add(300 * time.Millisecond)
			for name, conn := range map[string]*net.TCPConn{"idle": idle, "busy": busy, "half-closed": half, "new": fresh} {
				conn.SetReadDeadline(soon)
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s connection: got %v, want silence", name, err)
				}
			}
			if s := c.stats(); s.Open != 4 {
				t.Errorf("%d connections are open, want the 4 that hang", s.Open)
			}

			// Clients give up. Those that can be seen to leave are let go.
			idle.Close()
			busy.Close()
			fresh.Close()
			c.until("the connections of those who left are gone", func() bool {
				s := c.stats()
				return s.Open == 1 && s.Ended[Silenced] == 3
			})

			// Others are served, and so is a new pod that gets the address.
			c.setSlice(alive)
			c.until("others are served", func() bool {
				conn := c.dial()
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Second))
				io.WriteString(conn, "x")
				_, err := conn.Read(make([]byte, 10))
				return err == nil
			})
			n.Restore(dead)
			serve(t, n, 1, echo(1))
			c.setSlice(endpoint(pod(n, 1), "RSt"))
			c.until("the new pod is served", func() bool {
				conn := c.dial()
				defer conn.Close()
				return ask(t, conn, "x") == "1:x"
			})
		})
	}
}

// The end of a stream that a kill causes may be read before anybody looked at
// the silence; it must not be passed on all the same.
func TestSilenceWinsOverEndOfStream(t *testing.T) {
	client, far := tcpPair(t)
	endpoint, process := tcpPair(t)
	silent := make(chan struct{})
	close(silent)
	process.Close()
	if err := pass(far, endpoint, silent); err != errSilent {
		t.Errorf("pass returned %v", err)
	}
	client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client sees %v, want silence", err)
	}
}

func TestBrokenBy(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	open, cut := make(chan struct{}), make(chan struct{})
	close(cut)
	tests := []struct {
		ctx    context.Context
		silent chan struct{}
		want   Outcome
	}{
		{t.Context(), open, Reset},
		{t.Context(), cut, Silenced},
		{over, open, Shutdown},
		{over, cut, Shutdown},
	}
	for _, tt := range tests {
		if got := brokenBy(tt.ctx, tt.silent); got != tt.want {
			t.Errorf("ended: %t, silent: %t: got %s, want %s", tt.ctx.Err() != nil, isSilent(tt.silent), got, tt.want)
		}
	}
}

// tcpPair returns the two ends of a connection.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ca, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cb, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close(); cb.Close() })
	return ca.(*net.TCPConn), cb.(*net.TCPConn)
}

// BenchmarkRoundTrip is what the Proxy adds to a request of 200 bytes on a
// connection that is kept.
func BenchmarkRoundTrip(b *testing.B) {
	compare(b, func(b *testing.B, target string) {
		conn, err := net.Dial("tcp4", target)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		msg, buf := make([]byte, 200), make([]byte, 4096)
		for b.Loop() {
			conn.Write(msg)
			if _, err := conn.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkConnection is the same with a new connection for each request.
func BenchmarkConnection(b *testing.B) {
	compare(b, func(b *testing.B, target string) {
		msg, buf := make([]byte, 200), make([]byte, 4096)
		for b.Loop() {
			conn, err := net.Dial("tcp4", target)
			if err != nil {
				b.Fatal(err)
			}
			conn.Write(msg)
			if _, err := conn.Read(buf); err != nil {
				b.Fatal(err)
			}
			reset(conn.(*net.TCPConn)) // leaves no TIME_WAIT that would use up the ports
		}
	})
}

// BenchmarkThroughput sends to an endpoint that echoes.
func BenchmarkThroughput(b *testing.B) {
	compare(b, func(b *testing.B, target string) {
		conn, err := net.Dial("tcp4", target)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		const chunk = 64 << 10
		b.SetBytes(chunk)
		out, in := make([]byte, chunk), make([]byte, chunk)
		for b.Loop() {
			go conn.Write(out)
			if _, err := io.ReadFull(conn, in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func compare(b *testing.B, run func(b *testing.B, target string)) {
	n := claim(b)
	l := serve(b, n, 1, func(c *net.TCPConn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	c := newCluster(b, n, Config{}, endpoint(pod(n, 1), "RSt"))
	b.Run("direct", func(b *testing.B) { run(b, l.Addr().String()) })
	b.Run("proxied", func(b *testing.B) { run(b, c.target) })
}
