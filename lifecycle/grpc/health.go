package lifecyclegrpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// health is the health service: every service of the server is SERVING exactly
// when /readyz would be 200.
type health struct {
	healthpb.UnimplementedHealthServer
	l        *lifecycle.Lifecycle
	services map[string]bool // "" is the server as a whole
}

// watchTick is how soon those who watch learn of a change that is not the
// ending's.
const watchTick = 250 * time.Millisecond

func (h *health) status() healthpb.HealthCheckResponse_ServingStatus {
	if h.l.IsReady() {
		return healthpb.HealthCheckResponse_SERVING
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}

func (h *health) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !h.services[r.GetService()] {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthpb.HealthCheckResponse{Status: h.status()}, nil
}

func (h *health) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	out := &healthpb.HealthListResponse{Statuses: make(map[string]*healthpb.HealthCheckResponse)}
	for name := range h.services {
		out.Statuses[name] = &healthpb.HealthCheckResponse{Status: h.status()}
	}
	return out, nil
}

func (h *health) Watch(r *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	sent := healthpb.HealthCheckResponse_UNKNOWN
	unready := h.l.Reached(lifecycle.Unready)
	for {
		now := h.status()
		if !h.services[r.GetService()] {
			now = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if now != sent {
			if err := s.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
			sent = now
		}
		select {
		case <-tick.C:
		case <-unready:
			unready = nil // said once
		case <-h.l.Reached(lifecycle.Finish): // GracefulStop waits for us
			return status.Error(codes.Unavailable, "the process is draining")
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}
