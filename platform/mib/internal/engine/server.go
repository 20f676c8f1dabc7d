package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclegrpc "github.com/evenkeel-dev/evenkeel/lifecycle/grpc"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/history"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/indicator"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

const (
	defaultK    = 10
	defaultDays = 60
	beatEvery   = 15 * time.Second
	batch       = 500 // signals that are taken from the state at once
)

// Server answers EngineService. Its requests have been validated by
// problem.ServerOptions.
type Server struct {
	mibv1.UnimplementedEngineServiceServer
	Service *Service
	Sample  *market.Sample

	pasts history.Pasts
}

func (s *Server) ready() error {
	if !s.Service.Started() {
		return problem.New(connect.CodeUnavailable, problem.NotReady, "", "the engine is reading what there is")
	}
	return nil
}

// ListSeries implements mibv1.EngineServiceServer.
func (s *Server) ListSeries(context.Context, *mibv1.ListSeriesRequest) (*mibv1.ListSeriesResponse, error) {
	answer := &mibv1.ListSeriesResponse{Synthetic: s.Sample.Synthetic}
	for _, x := range s.Sample.Series {
		if n := len(x.Points); n > 0 {
			answer.Series = append(answer.Series, &mibv1.Series{
				Symbol: string(x.Symbol), Name: x.Name, Unit: x.Unit, Source: x.Source,
				First: timestamppb.New(x.Points[0].Date), Last: timestamppb.New(x.Points[n-1].Date), Count: int32(n),
			})
		}
	}
	return answer, nil
}

// ListLive implements mibv1.EngineServiceServer.
func (s *Server) ListLive(_ context.Context, req *mibv1.ListLiveRequest) (*mibv1.ListLiveResponse, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	answer := new(mibv1.ListLiveResponse)
	latest, _ := s.Service.Latest(req.GetFeed())
	slices.SortFunc(latest, func(a, b Kept) int { return cmp.Or(cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.Symbol, b.Symbol)) })
	for _, k := range latest {
		answer.Prices = append(answer.Prices, livePrice(k.Signal))
	}
	return answer, nil
}

// FindSimilar implements mibv1.EngineServiceServer.
func (s *Server) FindSimilar(_ context.Context, req *mibv1.FindSimilarRequest) (*mibv1.FindSimilarResponse, error) {
	series, ok := s.Sample.Lookup(market.Symbol(req.GetSymbol()))
	if !ok || len(series.Points) == 0 {
		return nil, problem.New(connect.CodeNotFound, problem.UnknownSymbol, "symbol", "is not a symbol of ListSeries")
	}
	at := series.Points[len(series.Points)-1].Date
	if req.GetAt() != "" {
		var err error
		if at, err = time.Parse(time.DateOnly, req.GetAt()); err != nil {
			return nil, problem.Invalid("at", "must be a date like 2008-10-15")
		}
	}
	days := number(req.Days, defaultDays)
	like, err := history.Like(&s.pasts, s.Sample, series, at, number(req.K, defaultK), days)
	if err != nil {
		return nil, problem.Invalid("at", err.Error())
	}
	answer := &mibv1.FindSimilarResponse{
		Symbol: string(series.Symbol), At: timestamppb.New(at), Note: history.Note, Source: series.Source, Days: int32(days),
		N: int32(like.N), Rose: int32(like.Rose), Median: like.Median, Low: like.Low, High: like.High, Correlations: make(map[string]float64),
	}
	for _, e := range like.Episodes {
		out := &mibv1.Episode{Date: timestamppb.New(e.Date), Distance: e.Distance}
		if e.After != nil {
			out.After = move(*e.After)
		}
		answer.Episodes = append(answer.Episodes, out)
	}
	for symbol, c := range like.Correlations {
		answer.Correlations[string(symbol)] = c
	}
	return answer, nil
}

// ListMoves implements mibv1.EngineServiceServer.
func (s *Server) ListMoves(_ context.Context, req *mibv1.ListMovesRequest) (*mibv1.ListMovesResponse, error) {
	symbols := history.Watched
	if list := req.GetSymbols(); len(list) > 0 {
		symbols = nil
		for i, symbol := range list {
			if _, ok := s.Sample.Lookup(market.Symbol(symbol)); !ok {
				return nil, problem.New(connect.CodeNotFound, problem.UnknownSymbol, fmt.Sprintf("symbols[%d]", i), "is not a symbol of ListSeries")
			}
			symbols = append(symbols, market.Symbol(symbol))
		}
	}
	answer := &mibv1.ListMovesResponse{Synthetic: s.Sample.Synthetic}
	for _, date := range req.GetDates() {
		moves := &mibv1.Moves{Date: date}
		for _, symbol := range symbols {
			if series, ok := s.Sample.Lookup(symbol); ok {
				if m, ok := history.After(series, date.AsTime(), number(req.Days, defaultDays)); ok {
					moves.Moves = append(moves.Moves, move(m))
				}
			}
		}
		answer.Moves = append(answer.Moves, moves)
	}
	return answer, nil
}

// ListReadings implements mibv1.EngineServiceServer.
func (s *Server) ListReadings(_ context.Context, req *mibv1.ListReadingsRequest) (*mibv1.ListReadingsResponse, error) {
	n := number(req.N, keptReadings)
	answer := &mibv1.ListReadingsResponse{Feed: req.GetFeed(), Symbol: req.GetSymbol()}
	if req.GetFeed() != "" {
		if err := s.ready(); err != nil {
			return nil, err
		}
		past := s.Service.Past(req.GetFeed(), req.GetSymbol(), n)
		if past == nil {
			return nil, problem.New(connect.CodeNotFound, problem.UnknownSymbol, "symbol", "has no price in this feed; see ListLive")
		}
		for _, x := range past {
			answer.Readings = append(answer.Readings, livePrice(x))
		}
		return answer, nil
	}
	series, ok := s.Sample.Lookup(market.Symbol(req.GetSymbol()))
	if !ok {
		return nil, problem.New(connect.CodeNotFound, problem.UnknownSymbol, "symbol", "is not a symbol of ListSeries")
	}
	points := series.Points
	if req.GetTo() != "" {
		to, err := time.Parse(time.DateOnly, req.GetTo())
		if err != nil {
			return nil, problem.Invalid("to", "must be a date like 2008-10-15")
		}
		for len(points) > 0 && points[len(points)-1].Date.After(to) {
			points = points[:len(points)-1]
		}
	}
	live := indicator.NewLive()
	for i, p := range points {
		reading := live.Add(p.Date, p.Close)
		if i >= len(points)-n {
			answer.Readings = append(answer.Readings, livePrice(Signal{Symbol: req.GetSymbol(), Time: p.Date, Source: series.Source, Reading: reading}))
		}
	}
	return answer, nil
}

// StreamSignals implements mibv1.EngineServiceServer. When the process ends, the
// stream ends without an error, with a trailer from where to go on; every message has
// said so before.
func (s *Server) StreamSignals(req *mibv1.StreamSignalsRequest, out grpc.ServerStreamingServer[mibv1.StreamSignalsResponse]) error {
	at, err := s.Follow(out.Context(), req, out.Send)
	if errors.Is(err, lifecycle.ErrDraining) {
		lifecyclegrpc.Resume(out, at)
		return nil
	}
	return err
}

// Follow calls send with the messages of StreamSignals until the context ends, whose
// cause it returns, and the token of the last one.
func (s *Server) Follow(ctx context.Context, req *mibv1.StreamSignalsRequest, send func(*mibv1.StreamSignalsResponse) error) (token string, _ error) {
	if err := s.ready(); err != nil {
		return "", err
	}
	var at Position
	if token = req.GetResumeToken(); token != "" {
		var err error
		if at, err = ParseToken(token); err != nil {
			return "", problem.Invalid("resume_token", err.Error())
		}
	} else {
		var latest []Kept
		latest, at = s.Service.Latest(req.GetFeed())
		token = at.Token()
		if err := send(&mibv1.StreamSignalsResponse{ResumeToken: token, Event: &mibv1.StreamSignalsResponse_Latest{Latest: prices(req, latest)}}); err != nil {
			return "", err
		}
	}
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		signals, from, gap, more := s.Service.After(at, batch)
		if gap {
			at, token = from, from.Token()
			if err := send(&mibv1.StreamSignalsResponse{ResumeToken: token, Event: &mibv1.StreamSignalsResponse_Gap{Gap: true}}); err != nil {
				return token, err
			}
		}
		for _, k := range signals {
			at[k.Partition] = k.Offset + 1
		}
		if list := prices(req, signals); len(list.GetPrices()) > 0 {
			token = at.Token()
			if err := send(&mibv1.StreamSignalsResponse{ResumeToken: token, Event: &mibv1.StreamSignalsResponse_Prices{Prices: list}}); err != nil {
				return token, err
			}
		}
		if len(signals) > 0 && ctx.Err() == nil {
			continue // there may be others
		}
		select {
		case <-more:
		case <-beat.C:
			token = at.Token()
			if err := send(&mibv1.StreamSignalsResponse{ResumeToken: token, Event: &mibv1.StreamSignalsResponse_Beat{Beat: true}}); err != nil {
				return token, err
			}
		case <-ctx.Done():
			return token, context.Cause(ctx)
		}
	}
}

func prices(req *mibv1.StreamSignalsRequest, list []Kept) *mibv1.LivePrices {
	out := new(mibv1.LivePrices)
	for _, k := range list {
		if wanted(req, k) {
			out.Prices = append(out.Prices, livePrice(k.Signal))
		}
	}
	return out
}

func wanted(req *mibv1.StreamSignalsRequest, k Kept) bool {
	return (req.GetFeed() == "" || req.GetFeed() == k.Feed) && (len(req.GetSymbols()) == 0 || slices.Contains(req.GetSymbols(), k.Symbol))
}

func number(n *int32, absent int) int {
	if n == nil {
		return absent
	}
	return int(*n)
}

func livePrice(s Signal) *mibv1.LivePrice {
	r := s.Reading
	return &mibv1.LivePrice{
		Feed: s.Feed, Symbol: s.Symbol, Time: timestamppb.New(s.Time), Source: s.Source,
		Price: r.Price, Change: r.Change, Ema20: r.EMA, Rsi14: r.RSI, Macd: r.MACD, MacdSignal: r.Signal,
		BollingerUpper: r.Upper, BollingerLower: r.Lower, Atr14: r.ATR,
		Volatility: r.Volatility, VolatilityRatio: r.Ratio, Score: r.Score, Regime: string(r.Regime),
	}
}

func move(m history.Move) *mibv1.Move {
	return &mibv1.Move{
		Symbol: string(m.Symbol), Unit: m.Unit, Change: m.Change, Source: m.Source,
		From: &mibv1.Point{Date: timestamppb.New(m.From.Date), Close: m.From.Close},
		To:   &mibv1.Point{Date: timestamppb.New(m.To.Date), Close: m.To.Close},
	}
}
