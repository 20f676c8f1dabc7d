package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const serveEnv = "LOAD_TEST_SERVE"

// TestMain makes the test binary a server when a benchmark starts it as one, so
// that the CPU time measured is the generator's alone.
func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		serveForBenchmark()
		return
	}
	os.Exit(m.Run())
}

func serveForBenchmark() {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go func() { // ends with the benchmark
		bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(0)
	}()
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o order
		json.NewDecoder(r.Body).Decode(&o)
		json.NewEncoder(w).Encode(map[string]string{"id": o.ID})
	}))
}

func benchmarkTarget(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stdin.Close(); cmd.Wait() })
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(addr)
}

// BenchmarkGenerator runs at a steady rate: it shares its machine with a
// cluster, so what counts is the CPU time of one request, and how late it gets.
func BenchmarkGenerator(b *testing.B) {
	for _, rate := range []float64{300, 2000} {
		b.Run(fmt.Sprintf("rate=%v", rate), func(b *testing.B) {
			target := benchmarkTarget(b)
			var requests, failed int
			var cpu, lag time.Duration
			var p99 float64
			for b.Loop() {
				g := New(Config{Target: target, Rate: rate, Seed: 1})
				ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
				before := cpuTime()
				if err := g.Run(ctx); err != nil {
					b.Fatal(err)
				}
				cpu += cpuTime() - before
				cancel()
				v := Reconcile(g.Result(), nil)
				requests += v.Sent
				failed += v.Failed - v.FailedByCause["lost"]
				lag, p99 = max(lag, g.Result().Lag), g.Result().Latency().P99
			}
			if failed > 0 {
				b.Errorf("%d requests failed", failed)
			}
			b.ReportMetric(float64(cpu.Microseconds())/float64(requests), "cpu-µs/req")
			b.ReportMetric(lag.Seconds()*1000, "lag-ms")
			b.ReportMetric(p99, "p99-ms")
		})
	}
}

// BenchmarkRequests is how many requests can be made at all on this machine,
// with the server's part of it.
func BenchmarkRequests(b *testing.B) {
	u, err := url.Parse(benchmarkTarget(b))
	if err != nil {
		b.Fatal(err)
	}
	cl := newClient(u, nil, 64)
	defer cl.close()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := cl.do(request{path: "/v1/quote?symbol=AAPL"}, time.Now().Add(hung)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
