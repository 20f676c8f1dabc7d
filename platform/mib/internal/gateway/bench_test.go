package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/limit"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/upstream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"

	"connectrpc.com/connect"
	"log/slog"
)

// oneSeries answers ListSeries, without a network.
type oneSeries struct {
	mibv1connect.EngineServiceClient
}

func (oneSeries) ListSeries(context.Context, *connect.Request[mibv1.ListSeriesRequest]) (*connect.Response[mibv1.ListSeriesResponse], error) {
	m := &mibv1.ListSeriesResponse{}
	for range 37 {
		m.Series = append(m.Series, &mibv1.Series{Symbol: "WTI", Name: "Crude oil", Unit: "USD/barrel", Source: "test", First: at(1986, 1, 2), Last: at(2026, 1, 2), Count: 10000})
	}
	return connect.NewResponse(m), nil
}

// BenchmarkCachedReads asks over 64 connections of loopback for an answer that is
// kept, beside a bare handler that writes as many bytes. Client and server share the
// processors; requests a second and the 99th percentile are those of this run.
func BenchmarkCachedReads(b *testing.B) {
	g := gateway.New(gateway.Config{
		Lifecycle: lifecycle.New(lifecycle.Options{}), Hub: api.NewHub(), Cache: time.Hour, Limits: limit.New(1e9, 1e9, 100),
		Engine: upstream.New[mibv1connect.EngineServiceClient](upstream.Options{Name: "engine"}, oneSeries{}, nil, nil),
		Log:    slog.New(slog.DiscardHandler), Now: time.Now,
	})
	body := mibtest.Do(g, "GET", "/v1/series", "").Body.Bytes()
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	for _, c := range []struct {
		name string
		h    http.Handler
	}{{"bare", bare}, {"gateway", g}} {
		b.Run(c.name, func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			srv := &http.Server{Handler: c.h}
			go func() { _ = srv.Serve(ln) }()
			defer srv.Close()
			const clients = 64
			took := make([][]time.Duration, clients)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			defer client.CloseIdleConnections()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range clients {
				n := b.N / clients
				if i < b.N%clients {
					n++
				}
				wg.Go(func() {
					for range n {
						begun := time.Now()
						resp, err := client.Get("http://" + ln.Addr().String() + "/v1/series")
						if err != nil {
							b.Error(err)
							return
						}
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
						if err != nil || resp.StatusCode != 200 {
							b.Error(resp.Status, err)
							return
						}
						took[i] = append(took[i], time.Since(begun))
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			all := slices.Sorted(func(yield func(time.Duration) bool) {
				for _, t := range took {
					for _, d := range t {
						if !yield(d) {
							return
						}
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			if len(all) > 0 {
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
			}
		})
	}
}
