package serviceproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

const (
	servicePort = 8080 // not 80: tests need no rights
	podPort     = 9000
	hung        = 20 * time.Second
)

// cluster is a Proxy over a fake API server, with one Service "engine".
type cluster struct {
	t      testing.TB
	net    *podnet.Net
	api    *fake.Clientset
	proxy  *Proxy
	target string // where clients connect
	stop   func() // ends the Proxy's Run and waits for it

	away    atomic.Bool
	refused atomic.Int32 // requests while away
	mu      sync.Mutex
	watches []watch.Interface
}

// interpose makes it possible to disconnect the API server.
func (c *cluster) interpose() {
	gone := errors.New("the API server is away")
	c.api.PrependReactor("list", "*", func(k8stesting.Action) (bool, apiruntime.Object, error) {
		if c.away.Load() {
			c.refused.Add(1)
			return true, nil, gone
		}
		return false, nil, nil
	})
	c.api.PrependWatchReactor("*", func(a k8stesting.Action) (bool, watch.Interface, error) {
		if c.away.Load() {
			c.refused.Add(1)
			return true, nil, gone
		}
		w, err := c.api.Tracker().Watch(a.GetResource(), a.GetNamespace())
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watches = append(c.watches, w)
		return true, w, err
	})
}

// disconnect breaks the watches and refuses new ones until reconnect.
func (c *cluster) disconnect() {
	c.away.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watches {
		w.Stop()
	}
	c.watches = nil
}

func (c *cluster) reconnect() { c.away.Store(false) }

func newCluster(t testing.TB, n *podnet.Net, cfg Config, eps ...discoveryv1.Endpoint) *cluster {
	t.Helper()
	ip := n.Services.Addr().As4()
	ip[3] = 7
	api := fake.NewClientset(
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "engine"},
			Spec: corev1.ServiceSpec{
				ClusterIP: netip.AddrFrom4(ip).String(),
				Ports:     []corev1.ServicePort{{Name: "http", Port: servicePort}},
			},
		},
		slice("engine-1", "engine", "http", podPort, eps...),
	)
	c := &cluster{t: t, net: n, api: api}
	c.interpose()
	cfg.Client, cfg.Net = api, n
	if cfg.Delay == 0 {
		cfg.Delay = -1
	}
	if cfg.WatchRetry == 0 {
		cfg.WatchRetry = 40 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	p := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	var stopped atomic.Bool
	c.proxy, c.stop = p, func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(hung):
			t.Error("Run does not return after its context ended")
		}
	}
	t.Cleanup(c.stop)
	c.until("the Service is known", func() bool {
		a, ok := p.Addr("default", "engine", "http")
		c.target = a.String()
		return ok
	})
	c.until("the endpoints are in the table", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return (len(p.table[engineKey].endpoints) > 0) == (len(eps) > 0)
	})
	if len(eps) > 0 { // the listener is opened just after
		c.until("the Service accepts", func() bool {
			conn, err := net.Dial("tcp4", c.target)
			if err == nil {
				conn.Close()
			}
			return !errors.Is(err, syscall.ECONNREFUSED)
		})
		c.until("the probe is over", func() bool { s := c.stats(); return s.Accepted > 0 && s.Open == 0 })
	}
	return c
}

var engineKey = portKey{"default", "engine", "http"}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(hung); !ok(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("not reached: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// pod returns the API address of the i-th pod.
func pod(n *podnet.Net, i byte) string {
	ip := n.Pods.Addr().As4()
	ip[3] = i
	return netip.AddrFrom4(ip).String()
}

// setSlice makes the API server announce these endpoints and no others.
func (c *cluster) setSlice(eps ...discoveryv1.Endpoint) {
	c.t.Helper()
	s := slice("engine-1", "engine", "http", podPort, eps...)
	if _, err := c.api.DiscoveryV1().EndpointSlices("default").Update(c.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) stats() ServiceStats { return c.proxy.Stats().Services["default/engine"] }

// serve starts a server as the i-th pod; handle is called for each connection,
// which is closed when it returns.
func serve(t testing.TB, n *podnet.Net, i byte, handle func(*net.TCPConn)) net.Listener {
	t.Helper()
	api := netip.MustParseAddr(pod(n, i))
	l, err := net.Listen("tcp4", netip.AddrPortFrom(n.Loopback(api), podPort).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			}()
		}
	}()
	return l
}

// echo answers every line-sized message with the server's number before it.
func echo(i byte) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(c, "%d:%s", i, buf[:n]); err != nil {
				return
			}
		}
	}
}

func (c *cluster) dial() *net.TCPConn {
	c.t.Helper()
	conn, err := net.Dial("tcp4", c.target)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(hung))
	return conn.(*net.TCPConn)
}

// ask sends one message and returns the answer.
func ask(t testing.TB, conn net.Conn, msg string) string {
	t.Helper()
	if _, err := io.WriteString(conn, msg); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return string(buf[:n])
}

func claim(t testing.TB) *podnet.Net {
	t.Helper()
	n, err := podnet.Claim()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}
