package lifecycleprom_test

import (
	"context"
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecycleprom "github.com/evenkeel-dev/evenkeel/lifecycle/prometheus"
)

// A service with metrics. It cannot run here: it waits for SIGTERM.
func Example() {
	l := lifecycle.New(lifecycle.Options{Addr: ":8081"})
	registry := prometheus.NewRegistry()
	registry.MustRegister(lifecycleprom.Collector(l))
	http.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	if err := l.HTTP(&http.Server{Addr: ":8080"}).Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
