package engine

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

// Connect answers over connect what Server answers over gRPC, for a process that has
// both in it. Its requests have been validated by problem.Interceptor, those of streams
// here.
type Connect struct {
	Server    *Server
	Lifecycle *lifecycle.Lifecycle // ends streams
}

var _ mibv1connect.EngineServiceHandler = Connect{}

func answer[Q, A any](ctx context.Context, q *connect.Request[Q], f func(context.Context, *Q) (*A, error)) (*connect.Response[A], error) {
	a, err := f(ctx, q.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(a), nil
}

// ListSeries implements mibv1connect.EngineServiceHandler.
func (c Connect) ListSeries(ctx context.Context, q *connect.Request[mibv1.ListSeriesRequest]) (*connect.Response[mibv1.ListSeriesResponse], error) {
	return answer(ctx, q, c.Server.ListSeries)
}

// ListLive implements mibv1connect.EngineServiceHandler.
func (c Connect) ListLive(ctx context.Context, q *connect.Request[mibv1.ListLiveRequest]) (*connect.Response[mibv1.ListLiveResponse], error) {
	return answer(ctx, q, c.Server.ListLive)
}

// FindSimilar implements mibv1connect.EngineServiceHandler.
func (c Connect) FindSimilar(ctx context.Context, q *connect.Request[mibv1.FindSimilarRequest]) (*connect.Response[mibv1.FindSimilarResponse], error) {
	return answer(ctx, q, c.Server.FindSimilar)
}

// ListMoves implements mibv1connect.EngineServiceHandler.
func (c Connect) ListMoves(ctx context.Context, q *connect.Request[mibv1.ListMovesRequest]) (*connect.Response[mibv1.ListMovesResponse], error) {
	return answer(ctx, q, c.Server.ListMoves)
}

// ListReadings implements mibv1connect.EngineServiceHandler.
func (c Connect) ListReadings(ctx context.Context, q *connect.Request[mibv1.ListReadingsRequest]) (*connect.Response[mibv1.ListReadingsResponse], error) {
	return answer(ctx, q, c.Server.ListReadings)
}

// StreamSignals implements mibv1connect.EngineServiceHandler.
func (c Connect) StreamSignals(ctx context.Context, q *connect.Request[mibv1.StreamSignalsRequest], s *connect.ServerStream[mibv1.StreamSignalsResponse]) error {
	err := problem.Validate(q.Msg)
	if err == nil {
		ctx, done := c.Lifecycle.Stream(ctx)
		defer done()
		_, err = c.Server.Follow(ctx, q.Msg, s.Send)
	}
	if e, ok := problem.Of(err); ok {
		return e.Connect()
	}
	if errors.Is(err, lifecycle.ErrDraining) {
		return nil // the client goes on with the token of the last message
	}
	return err
}
