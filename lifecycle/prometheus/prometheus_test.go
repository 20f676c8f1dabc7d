package lifecycleprom_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecycleprom "github.com/evenkeel-dev/evenkeel/lifecycle/prometheus"
)

func TestCollector(t *testing.T) {
	l := lifecycle.New(lifecycle.Options{Grace: 5 * time.Second, PropagationFloor: -1, TerminationLog: "none"})
	registry := prometheus.NewPedanticRegistry() // refuses what does not match its description
	registry.MustRegister(lifecycleprom.Collector(l))
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 3 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	l.Begin(lifecycle.Call{Protocol: "grpc"})
	_, done := l.Stream(t.Context())
	done()
	if n := testutil.CollectAndCount(lifecycleprom.Collector(l), "evenkeel_lifecycle_deadline_timestamp_seconds", "evenkeel_lifecycle_start_total"); n != 0 {
		t.Errorf("%d metrics of an ending that has not begun", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = l.Run(ctx)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP evenkeel_lifecycle_grace_seconds The grace period that the process was told.
# TYPE evenkeel_lifecycle_grace_seconds gauge
evenkeel_lifecycle_grace_seconds 5
# HELP evenkeel_lifecycle_phase 1 for the phase that the process is in, 0 for the others.
# TYPE evenkeel_lifecycle_phase gauge
evenkeel_lifecycle_phase{phase="serving"} 0
evenkeel_lifecycle_phase{phase="noticed"} 0
evenkeel_lifecycle_phase{phase="unready"} 0
evenkeel_lifecycle_phase{phase="propagate"} 0
evenkeel_lifecycle_phase{phase="discourage"} 0
evenkeel_lifecycle_phase{phase="finish"} 0
evenkeel_lifecycle_phase{phase="save"} 0
evenkeel_lifecycle_phase{phase="cut"} 1
# HELP evenkeel_lifecycle_requests_total Requests that are over, by how they ended.
# TYPE evenkeel_lifecycle_requests_total counter
evenkeel_lifecycle_requests_total{outcome="cut",protocol="grpc"} 1
evenkeel_lifecycle_requests_total{outcome="cut",protocol="hijacked"} 0
evenkeel_lifecycle_requests_total{outcome="cut",protocol="http1"} 0
evenkeel_lifecycle_requests_total{outcome="cut",protocol="http2"} 0
evenkeel_lifecycle_requests_total{outcome="cut",protocol="other"} 0
evenkeel_lifecycle_requests_total{outcome="cut",protocol="websocket"} 0
evenkeel_lifecycle_requests_total{outcome="finished",protocol="grpc"} 0
evenkeel_lifecycle_requests_total{outcome="finished",protocol="hijacked"} 0
evenkeel_lifecycle_requests_total{outcome="finished",protocol="http1"} 3
evenkeel_lifecycle_requests_total{outcome="finished",protocol="http2"} 0
evenkeel_lifecycle_requests_total{outcome="finished",protocol="other"} 0
evenkeel_lifecycle_requests_total{outcome="finished",protocol="websocket"} 0
# HELP evenkeel_lifecycle_start_total Endings that began, by what began them: 0 or 1 in the life of a process.
# TYPE evenkeel_lifecycle_start_total counter
evenkeel_lifecycle_start_total{trigger="context ended"} 1
# HELP evenkeel_lifecycle_streams_total Streams that are over, by how they ended.
# TYPE evenkeel_lifecycle_streams_total counter
evenkeel_lifecycle_streams_total{outcome="cut"} 0
evenkeel_lifecycle_streams_total{outcome="ended"} 1
evenkeel_lifecycle_streams_total{outcome="handed_over"} 0
`), "evenkeel_lifecycle_grace_seconds", "evenkeel_lifecycle_phase", "evenkeel_lifecycle_requests_total", "evenkeel_lifecycle_start_total", "evenkeel_lifecycle_streams_total"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(lifecycleprom.Collector(l), "evenkeel_lifecycle_deadline_timestamp_seconds"); n != 1 {
		t.Errorf("%d deadlines", n)
	}
}
