package serviceproxy

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSpreadsOverReadyEndpointsAndKeepsConnections(t *testing.T) {
	n := claim(t)
	for i := range byte(3) {
		serve(t, n, i+1, echo(i+1))
	}
	ready := func(i byte) discoveryv1.Endpoint { return endpoint(pod(n, i), "RSt") }
	c := newCluster(t, n, Config{Seed: 1}, ready(1), ready(2), endpoint(pod(n, 3), "rST"))

	old := c.dial()
	first := ask(t, old, "x")
	seen := make(map[string]int)
	for range 60 {
		conn := c.dial()
		seen[ask(t, conn, "x")]++
		conn.Close()
	}
	if seen["1:x"] < 15 || seen["2:x"] < 15 || len(seen) != 2 {
		t.Errorf("60 connections were spread as %v, want about half each over 1 and 2", seen)
	}

	// Only the terminating one is left: it gets the new connections, and the
	// connection to an endpoint that is no longer in the table lives on.
	c.setSlice(endpoint(pod(n, 3), "rST"))
	c.until("new connections go to the terminating endpoint", func() bool {
		conn := c.dial()
		defer conn.Close()
		return ask(t, conn, "x") == "3:x"
	})
	if got := ask(t, old, "x"); got != first {
		t.Errorf("the old connection answers %q, at first %q", got, first)
	}
	old.Close()
	c.until("all connections are counted as closed", func() bool {
		s := c.stats()
		return s.Open == 0 && s.Ended[Closed] == s.Accepted
	})
}

func TestChangesTakeEffectLate(t *testing.T) {
	n := claim(t)
	serve(t, n, 1, echo(1))
	serve(t, n, 2, echo(2))
	const delay, jitter = 300 * time.Millisecond, 50 * time.Millisecond
	c := newCluster(t, n, Config{Delay: delay, Jitter: jitter}, endpoint(pod(n, 1), "RSt"))

	changed := time.Now()
	c.setSlice(endpoint(pod(n, 2), "RSt"))
	c.until("the change takes effect", func() bool {
		conn := c.dial()
		defer conn.Close()
		return ask(t, conn, "x") == "2:x"
	})
	if took := time.Since(changed); took < delay-jitter {
		t.Errorf("the change took effect after %v, before the delay of %v - %v", took, delay, jitter)
	}
}

func TestRefusesWithoutEndpoints(t *testing.T) {
	n := claim(t)
	serve(t, n, 1, echo(1))
	c := newCluster(t, n, Config{})
	refused := func() bool {
		conn, err := net.Dial("tcp4", c.target)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	if !refused() {
		t.Error("a Service that never had an endpoint does not refuse")
	}
	c.setSlice(endpoint(pod(n, 1), "RSt"))
	c.until("accepted with an endpoint", func() bool { return !refused() })
	c.setSlice()
	c.until("refused without endpoints again", refused)
	c.setSlice(endpoint(pod(n, 1), "RSt"))
	c.until("accepted again", func() bool { return !refused() })
}

func TestEndpointThatDoesNotListenResets(t *testing.T) {
	n := claim(t)
	c := newCluster(t, n, Config{}, endpoint(pod(n, 1), "RSt"))
	conn, err := net.Dial("tcp4", c.target)
	if err == nil { // else the reset came before connect was looked at
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	c.until("both are counted", func() bool { return c.stats().Ended[Refused] == 2 })
}

func TestServiceThatGoesClosesItsPort(t *testing.T) {
	n := claim(t)
	serve(t, n, 1, echo(1))
	c := newCluster(t, n, Config{}, endpoint(pod(n, 1), "RSt"))
	old := c.dial()
	ask(t, old, "x")
	if err := c.api.CoreV1().Services("default").Delete(t.Context(), "engine", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("the port is closed", func() bool {
		conn, err := net.Dial("tcp4", c.target)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if _, ok := c.proxy.Addr("default", "engine", "http"); ok {
		t.Error("Addr still knows the Service")
	}
	ask(t, old, "still there")
}

func TestServesLastTableWhileAPIServerIsAway(t *testing.T) {
	n := claim(t)
	serve(t, n, 1, echo(1))
	serve(t, n, 2, echo(2))
	c := newCluster(t, n, Config{Log: slog.New(slog.DiscardHandler)}, endpoint(pod(n, 1), "RSt"))

	c.disconnect()
	c.setSlice(endpoint(pod(n, 2), "RSt"))
	c.until("the Proxy notices and tries again", func() bool { return c.refused.Load() >= 6 })
	if got := ask(t, c.dial(), "x"); got != "1:x" {
		t.Errorf("without the API server, %q answers", got)
	}
	c.reconnect()
	c.until("what was missed takes effect", func() bool { return ask(t, c.dial(), "x") == "2:x" })
	c.setSlice(endpoint(pod(n, 1), "RSt"))
	c.until("the watch is back", func() bool { return ask(t, c.dial(), "x") == "1:x" })
}

func TestRunLeavesNothingBehind(t *testing.T) {
	n := claim(t)
	serve(t, n, 1, echo(1))
	serve(t, n, 2, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	goroutines, sockets := runtime.NumGoroutine(), openSockets(t)

	c := newCluster(t, n, Config{}, endpoint(pod(n, 1), "RSt"), endpoint(pod(n, 2), "RSt"))
	var conns []*net.TCPConn
	for range 20 {
		conn := c.dial()
		io.WriteString(conn, "x")
		conns = append(conns, conn)
	}
	n.Cut(netip.MustParseAddr(pod(n, 2))) // half of them hang
	c.until("all are accepted", func() bool { return c.stats().Open == 20 })
	c.stop()
	if s := c.stats(); s.Open != 0 {
		t.Errorf("%d connections are open after Run", s.Open)
	}
	for _, conn := range conns {
		conn.Close()
	}
	c.until("no goroutine and no socket more than before", func() bool {
		return runtime.NumGoroutine() <= goroutines && openSockets(t) <= sockets
	})
}

// openSockets counts this process's sockets. Other descriptors do not count:
// the net package keeps the pipes of splice(2) in a pool.
func openSockets(t testing.TB) int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	n := 0
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
