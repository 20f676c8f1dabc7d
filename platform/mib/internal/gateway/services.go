package gateway

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/upstream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/history"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

// engine passes requests on to the engine.
type engine struct{ *gateway }

var _ mibv1connect.EngineServiceHandler = engine{}

// pass asks the engine by one of its methods.
func pass[Q, A any](ctx context.Context, g *gateway, method func(mibv1connect.EngineServiceClient, context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *connect.Request[Q]) (*connect.Response[A], error) {
	a, err := upstream.Call(ctx, g.Engine, method, q.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(a), nil
}

type client = mibv1connect.EngineServiceClient

func (e engine) ListSeries(ctx context.Context, q *connect.Request[mibv1.ListSeriesRequest]) (*connect.Response[mibv1.ListSeriesResponse], error) {
	return pass(ctx, e.gateway, client.ListSeries, q)
}

func (e engine) ListLive(ctx context.Context, q *connect.Request[mibv1.ListLiveRequest]) (*connect.Response[mibv1.ListLiveResponse], error) {
	return pass(ctx, e.gateway, client.ListLive, q)
}

func (e engine) FindSimilar(ctx context.Context, q *connect.Request[mibv1.FindSimilarRequest]) (*connect.Response[mibv1.FindSimilarResponse], error) {
	return pass(ctx, e.gateway, client.FindSimilar, q)
}

func (e engine) ListMoves(ctx context.Context, q *connect.Request[mibv1.ListMovesRequest]) (*connect.Response[mibv1.ListMovesResponse], error) {
	return pass(ctx, e.gateway, client.ListMoves, q)
}

func (e engine) ListReadings(ctx context.Context, q *connect.Request[mibv1.ListReadingsRequest]) (*connect.Response[mibv1.ListReadingsResponse], error) {
	return pass(ctx, e.gateway, client.ListReadings, q)
}

// intel is what the gateway answers itself.
type intel struct{ *gateway }

var _ mibv1connect.IntelServiceHandler = intel{}

// How much an answer has if the request does not say.
const (
	defaultPassages = 5
	defaultDays     = 60
)

func (in intel) Ask(ctx context.Context, r *connect.Request[mibv1.AskRequest]) (*connect.Response[mibv1.AskResponse], error) {
	q := r.Msg
	k, days := int32(defaultPassages), int32(defaultDays)
	if q.K != nil {
		k = q.GetK()
	}
	if q.Days != nil {
		days = q.GetDays()
	}
	search := func(kind string, way mibv1.Way) (*mibv1.SearchResponse, error) {
		return upstream.Call(ctx, in.VectorStore, mibv1connect.VectorStoreServiceClient.Search, &mibv1.SearchRequest{Text: q.GetQ(), Kind: kind, K: &k, Way: way})
	}
	var passages, filings *mibv1.SearchResponse
	var passagesErr, filingsErr error
	var both sync.WaitGroup
	both.Go(func() { passages, passagesErr = search(corpus.Passage, mibv1.Way_WAY_HYBRID) })
	// Of filings only the form and the company are known: a name that has a word of
	// the question is like it, a name whose letters mean something near is not.
	both.Go(func() { filings, filingsErr = search(corpus.Filing, mibv1.Way_WAY_WORDS) })
	both.Wait()
	for _, err := range []error{passagesErr, filingsErr} {
		if err != nil {
			return nil, err
		}
	}
	a := &mibv1.AskResponse{Question: q.GetQ(), Note: history.Note, Synthetic: passages.GetSynthetic() || filings.GetSynthetic(), Days: days}
	var dates []*timestamppb.Timestamp
	for _, h := range passages.GetHits() {
		d := h.GetDocument()
		p := &mibv1.Passage{
			Id: d.GetId(), Kind: d.GetKind(), Date: d.GetDate(), Exact: d.GetExact(), Title: d.GetTitle(), Text: d.GetText(), Source: d.GetSource(),
			Similarity: h.GetSimilarity(), Counted: counted(d),
		}
		a.Passages = append(a.Passages, p)
		dates = append(dates, p.Counted)
	}
	for _, h := range filings.GetHits() {
		d := h.GetDocument()
		a.Filings = append(a.Filings, &mibv1.Filing{
			Id: d.GetId(), Kind: d.GetKind(), Date: d.GetDate(), Exact: d.GetExact(), Title: d.GetTitle(), Text: d.GetText(), Source: d.GetSource(),
			Similarity: h.GetSimilarity(),
		})
	}
	if len(dates) > 0 {
		moves, err := upstream.Call(ctx, in.Engine, client.ListMoves, &mibv1.ListMovesRequest{Dates: dates, Days: &days})
		if err != nil {
			return nil, err
		}
		a.Synthetic = a.Synthetic || moves.GetSynthetic()
		var all []*mibv1.Move
		for i, m := range moves.GetMoves() {
			if i < len(a.Passages) {
				a.Passages[i].Moves = m.GetMoves()
				all = append(all, m.GetMoves()...)
			}
		}
		a.Summary = summarize(all)
	}
	return connect.NewResponse(a), nil
}

// counted is from when moves after a document are counted: where only its month is
// known, from the last day, so that nothing is counted that came before it.
func counted(d *mibv1.Document) *timestamppb.Timestamp {
	if d.GetExact() {
		return d.GetDate()
	}
	return timestamppb.New(d.GetDate().AsTime().AddDate(0, 1, -1))
}

// summarize counts moves by symbol, in the order in which symbols come.
func summarize(moves []*mibv1.Move) []*mibv1.Summary {
	var symbols []market.Symbol
	by := make(map[market.Symbol][]history.Move)
	for _, m := range moves {
		s := market.Symbol(m.GetSymbol())
		if _, ok := by[s]; !ok {
			symbols = append(symbols, s)
		}
		by[s] = append(by[s], history.Move{Symbol: s, From: market.Point{Date: day(m.GetFrom()), Close: m.GetFrom().GetClose()}, Change: m.GetChange()})
	}
	var list []*mibv1.Summary
	for _, s := range symbols {
		x := history.SummarizeMoves(s, by[s])
		list = append(list, &mibv1.Summary{Symbol: string(s), N: int32(x.N), Rose: int32(x.Rose), Median: x.Median, Low: x.Low, High: x.High})
	}
	return list
}

func day(p *mibv1.Point) time.Time { return p.GetDate().AsTime() }
