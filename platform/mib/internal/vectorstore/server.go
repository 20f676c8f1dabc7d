package vectorstore

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/texts"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

// callTime bounds what one call may take.
const callTime = 5 * time.Second

// defaultK is how many hits an answer has if nobody says.
const defaultK = 10

// Server answers VectorStoreService. Its requests have been validated by
// problem.Interceptor.
type Server struct {
	Replica   *Replica
	Synthetic bool // the texts of the library are generated, not observed
}

var _ mibv1connect.VectorStoreServiceHandler = (*Server)(nil)

// ready returns an error until the replica has read what there was when it started:
// its answers would lack something.
func (s *Server) ready() error {
	if !s.Replica.Started() {
		return problem.New(connect.CodeUnavailable, problem.NotReady, "", "the replica is reading what there is")
	}
	return nil
}

// Upsert implements mibv1connect.VectorStoreServiceHandler.
func (s *Server) Upsert(ctx context.Context, req *connect.Request[mibv1.UpsertRequest]) (*connect.Response[mibv1.UpsertResponse], error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	// What is on its way to the broker when the client goes is sent or not, never half.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	e := s.Replica.o.Embedder
	changes := make([]texts.Change, len(req.Msg.GetItems()))
	var without []int
	var list []string
	for i, item := range req.Msg.GetItems() {
		d := fromProto(item.GetDocument())
		at := fmt.Sprintf("items[%d].", i)
		if err := texts.Check(d); err != nil {
			if p, ok := problem.Of(err); ok {
				p.Problems[0].Field = at + "document." + p.Problems[0].Field
				return nil, p
			}
			return nil, err
		}
		changes[i] = texts.Change{ID: d.ID, Document: &d, Embedder: e.ID(), Vector: item.GetVector()}
		switch n := len(item.GetVector()); n {
		case e.Dim():
			if !unit(item.GetVector()) {
				return nil, problem.Invalid(at+"vector", "must be of length 1, or all zero")
			}
		case 0:
			without, list = append(without, i), append(list, d.Text)
		default:
			return nil, problem.Invalid(at+"vector", fmt.Sprintf("has %d elements, not %d", n, e.Dim()))
		}
	}
	vectors, err := e.Embed(ctx, list)
	if err != nil {
		return nil, problem.New(connect.CodeUnavailable, "embedder_failed", "", "the texts could not be embedded")
	}
	for i, v := range vectors {
		changes[without[i]].Vector = v
	}
	if err := s.change(ctx, changes); err != nil {
		return nil, err
	}
	return connect.NewResponse(&mibv1.UpsertResponse{}), nil
}

// unit reports whether a vector is of length 1, or all zero: cosines of others would
// not compare.
func unit(v []float32) bool {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return sum == 0 || sum > 0.998 && sum < 1.002
}

// Delete implements mibv1connect.VectorStoreServiceHandler.
func (s *Server) Delete(ctx context.Context, req *connect.Request[mibv1.DeleteRequest]) (*connect.Response[mibv1.DeleteResponse], error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	var changes []texts.Change
	for _, id := range req.Msg.GetIds() {
		changes = append(changes, texts.Change{ID: id})
	}
	if err := s.change(ctx, changes); err != nil {
		return nil, err
	}
	return connect.NewResponse(&mibv1.DeleteResponse{}), nil
}

func (s *Server) change(ctx context.Context, changes []texts.Change) error {
	if err := s.Replica.Change(ctx, changes...); err != nil {
		s.Replica.o.Logger.Warn("changing", "err", err)
		return problem.New(connect.CodeUnavailable, problem.NotRecorded, "", "the stream did not acknowledge; send it again")
	}
	return nil
}

// Search implements mibv1connect.VectorStoreServiceHandler.
func (s *Server) Search(ctx context.Context, req *connect.Request[mibv1.SearchRequest]) (*connect.Response[mibv1.SearchResponse], error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	m := req.Msg
	q := store.Query{Kind: m.GetKind(), K: defaultK}
	if m.K != nil {
		q.K = int(m.GetK())
	}
	if m.From != nil {
		q.From = m.GetFrom().AsTime()
	}
	if m.To != nil {
		q.To = m.GetTo().AsTime()
	}
	if m.GetWay() != mibv1.Way_WAY_MEANING {
		q.Text = m.GetText()
	}
	if m.GetWay() != mibv1.Way_WAY_WORDS {
		vectors, err := s.Replica.o.Embedder.Embed(ctx, []string{m.GetText()})
		if err != nil {
			return nil, problem.New(connect.CodeUnavailable, "embedder_failed", "", "the question could not be embedded")
		}
		q.Vector = vectors[0]
	}
	hits, err := s.Replica.o.Store.Search(q)
	if err != nil {
		return nil, err
	}
	answer := &mibv1.SearchResponse{Synthetic: s.Synthetic}
	for _, h := range hits {
		answer.Hits = append(answer.Hits, &mibv1.Hit{Document: toProto(h.Document), Similarity: h.Similarity})
	}
	return connect.NewResponse(answer), nil
}

// GetStatus implements mibv1connect.VectorStoreServiceHandler.
func (s *Server) GetStatus(context.Context, *connect.Request[mibv1.GetStatusRequest]) (*connect.Response[mibv1.GetStatusResponse], error) {
	e := s.Replica.o.Embedder
	return connect.NewResponse(&mibv1.GetStatusResponse{
		Documents: int64(s.Replica.o.Store.Len()), Embedder: e.ID(), Dimensions: int32(e.Dim()), NextOffset: s.Replica.Next(),
	}), nil
}

func fromProto(d *mibv1.Document) corpus.Document {
	return corpus.Document{
		ID: d.GetId(), Kind: d.GetKind(), Date: d.GetDate().AsTime(), Exact: d.GetExact(),
		Title: d.GetTitle(), Text: d.GetText(), Source: d.GetSource(),
	}
}

func toProto(d corpus.Document) *mibv1.Document {
	return &mibv1.Document{
		Id: d.ID, Kind: d.Kind, Date: timestamppb.New(d.Date), Exact: d.Exact, Title: d.Title, Text: d.Text, Source: d.Source,
	}
}
