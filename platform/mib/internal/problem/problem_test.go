package problem

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

func TestOf(t *testing.T) {
	k := int32(0)
	for _, c := range []struct {
		name        string
		err         error
		code        connect.Code
		problem     string
		field, says string
	}{
		{"a field", fmt.Errorf("around: %w", &stream.FieldError{Field: "price", Problem: "must be a number"}), connect.CodeInvalidArgument, InvalidField, "price", "price must be a number"},
		{"a message", Validate(&mibv1.FindSimilarRequest{Symbol: "WTI", K: &k}), connect.CodeInvalidArgument, InvalidField, "k", ""},
		{"a nested message", Validate(&mibv1.UpsertRequest{Items: []*mibv1.Item{{}}}), connect.CodeInvalidArgument, InvalidField, "items[0].document", ""},
		{"no symbol", New(connect.CodeNotFound, UnknownSymbol, "symbol", "is not there"), connect.CodeNotFound, UnknownSymbol, "symbol", "symbol is not there"},
		{"too late", fmt.Errorf("around: %w", context.DeadlineExceeded), connect.CodeDeadlineExceeded, TimedOut, "", "it took too long"},
	} {
		e, ok := Of(c.err)
		if !ok || e.Code != c.code || e.Problems[0].Code != c.problem || e.Problems[0].Field != c.field || c.says != "" && e.Error() != c.says {
			t.Errorf("%s: %v %+v", c.name, ok, e)
			continue
		}
		s, _ := status.FromError(e)
		if s.Code() != codes.Code(c.code) || len(s.Details()) != len(e.Problems) {
			t.Errorf("%s over gRPC: %v", c.name, s)
		}
		if got, ok := s.Details()[0].(*mibv1.Problem); !ok || got.Field != c.field {
			t.Errorf("%s over gRPC: %v", c.name, s.Details())
		}
		if got := e.Connect(); got.Code() != c.code || len(got.Details()) != len(e.Problems) {
			t.Errorf("%s over connect: %v", c.name, got)
		}
	}
	if err := Validate(&mibv1.FindSimilarRequest{Symbol: "WTI"}); err != nil {
		t.Error(err)
	}
	if e, ok := Of(errors.New("the disk is full")); ok {
		t.Errorf("a client would see %v", e)
	}
}
