package drainproxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The cost of the proxy, against the same service without it, against
// httputil.ReverseProxy, and against a process that only passes bytes (bytePump), in one
// run. Service, proxy and client are a process each,
// as they are in a pod. The variants take turns in short slices, so that what else
// the machine does hits all of them alike.
//
//	go test -run '^$' -bench Cost -benchtime 5x ./internal/wrapper/drainproxy

// roleVariable makes the test binary a service or a proxy.
const roleVariable = "DRAINPROXY_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role, target, _ := strings.Cut(os.Getenv(roleVariable), " "); role {
	case "":
		os.Exit(m.Run())
	case "service":
		work, err := time.ParseDuration(target)
		if err != nil {
			panic(err)
		}
		serveRole(func(ln net.Listener) error { return http.Serve(ln, orders(work)) })
	case "proxy":
		serveRole(func(ln net.Listener) error {
			return New(Config{Target: target}).Serve(ln, func(c net.Conn) { c.Close() })
		})
	case "pump":
		serveRole(func(ln net.Listener) error { return bytePump(ln, target) })
	case "reverseproxy":
		serveRole(func(ln net.Listener) error {
			p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
			p.Transport = &http.Transport{MaxIdleConnsPerHost: 256}
			return http.Serve(ln, p)
		})
	}
}

// serveRole listens, says where, and serves until its input ends.
func serveRole(serve func(net.Listener) error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	panic(serve(ln))
}

// orders does what a small JSON service does, and then computes for a while.
func orders(work time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var order struct {
			ID       string `json:"id"`
			Symbol   string `json:"symbol"`
			Quantity int    `json:"quantity"`
		}
		if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for start := time.Now(); time.Since(start) < work; {
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(order)
	}
}

func startRole(tb testing.TB, role string) (addr string, pid int) {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(line), cmd.Process.Pid
}

func BenchmarkCost(b *testing.B) {
	for _, tt := range []struct {
		work   time.Duration // of the service, per request
		client string        // lean costs next to nothing; nethttp is Go's own
		conns  int
	}{
		{0, "lean", 1}, {0, "lean", 16}, {0, "nethttp", 1}, {0, "nethttp", 16},
		{100 * time.Microsecond, "lean", 1}, {100 * time.Microsecond, "lean", 16}, {100 * time.Microsecond, "nethttp", 16},
	} {
		b.Run(fmt.Sprintf("work=%s/client=%s/conns=%d", tt.work, tt.client, tt.conns), func(b *testing.B) {
			service, servicePID := startRole(b, "service "+tt.work.String())
			type variant struct {
				name, addr string
				pid        int // of the process on the way; 0: none
			}
			variants := []variant{{"direct", service, 0}}
			for _, name := range ways {
				addr, pid := startRole(b, name+" "+service)
				variants = append(variants, variant{name, addr, pid})
			}
			latency := make(map[string][]time.Duration)
			rate := make(map[string]float64)
			used := make(map[string]time.Duration)   // processor time of all processes
			client := make(map[string]time.Duration) // of the client alone
			for i := 0; i < b.N; i++ {
				for _, v := range variants {
					own, others := ownProcessorTime(), processorTime(servicePID)+processorTime(v.pid)
					l, r := closedLoop(b, tt.client, v.addr, tt.conns, 400*time.Millisecond)
					own = ownProcessorTime() - own
					client[v.name] += own
					used[v.name] += own + processorTime(servicePID) + processorTime(v.pid) - others
					latency[v.name] = append(latency[v.name], l...)
					rate[v.name] += r
				}
			}
			p50 := func(name string) float64 {
				slices.Sort(latency[name])
				return float64(latency[name][len(latency[name])/2]) / float64(time.Microsecond)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(p50("direct"), "direct-p50-µs")
			b.ReportMetric(rate["direct"]/float64(b.N), "direct-req/s")
			perRequest := func(name string) float64 {
				return float64(used[name].Microseconds()) / float64(len(latency[name]))
			}
			b.ReportMetric(perRequest("direct"), "direct-cpu-µs")
			b.ReportMetric(100*float64(client["direct"])/float64(used["direct"]), "client-share-of-cpu-%")
			for _, name := range ways {
				b.ReportMetric(p50(name)-p50("direct"), name+"-added-p50-µs")
				b.ReportMetric(100*rate[name]/rate["direct"], name+"-throughput-%")
				b.ReportMetric(perRequest(name)-perRequest("direct"), name+"-added-cpu-µs")
			}
		})
	}
}

// ways to stand between a client and the service.
var ways = []string{"proxy", "reverseproxy", "pump"}

// ownProcessorTime is what this process has used: user and system, of all threads.
func ownProcessorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// processorTime is what another process has used, to 10 ms; 0 if it is none, and
// where there is no /proc.
func processorTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	var user, system time.Duration
	// Fields 14 and 15; the second one, a name in brackets, may hold spaces.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	_, _ = fmt.Sscan(fields[11], &user)
	_, _ = fmt.Sscan(fields[12], &system)
	return (user + system) * 10 * time.Millisecond
}

// closedLoop sends requests on each of some connections, one after the other.
func closedLoop(b *testing.B, client, addr string, conns int, d time.Duration) (latency []time.Duration, perSecond float64) {
	const message = `{"id":"run-000000017","symbol":"NVDA","quantity":100}`
	raw := fmt.Appendf(nil, "POST /v1/orders HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(message), message)
	transport := &http.Transport{MaxIdleConnsPerHost: conns}
	defer transport.CloseIdleConnections()

	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for range conns {
		wg.Go(func() {
			var own []time.Duration
			once := func() error {
				resp, err := (&http.Client{Transport: transport}).Post("http://"+addr+"/v1/orders", "application/json", strings.NewReader(message))
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
				return err
			}
			if client == "lean" {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				var buf [4096]byte
				once = func() error { // the answer is short and comes in one piece
					if _, err := c.Write(raw); err != nil {
						return err
					}
					n, err := c.Read(buf[:])
					if err == nil && !strings.HasPrefix(string(buf[:min(n, 12)]), "HTTP/1.1 200") {
						err = fmt.Errorf("answer %q", buf[:n])
					}
					return err
				}
			}
			for time.Since(start) < d {
				t := time.Now()
				if err := once(); err != nil {
					b.Error(err)
					return
				}
				own = append(own, time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			latency = append(latency, own...)
		})
	}
	wg.Wait()
	return latency, float64(len(latency)) / time.Since(start).Seconds()
}
