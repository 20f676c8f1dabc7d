// Package problem makes errors that say to programs what is wrong, and in which field:
// a mibv1.Problem is a detail of each, over connect and over gRPC alike.
package problem

import (
	"context"
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

// Codes of problems, which do not change.
const (
	InvalidField  = "invalid_field"
	UnknownSymbol = "unknown_symbol"
	NotReady      = "not_ready"
	NotRecorded   = "not_recorded"
	Failed        = "failed"
	TimedOut      = "timed_out"
)

// An Error is one or several problems of a request.
type Error struct {
	Code     connect.Code // the same numbers as those of gRPC
	Problems []*mibv1.Problem
}

// New returns an error of one problem. The field may be empty.
func New(code connect.Code, name, field, message string) *Error {
	return &Error{code, []*mibv1.Problem{{Code: name, Field: field, Message: message}}}
}

// Invalid says that a field is wrong.
func Invalid(field, message string) *Error {
	return New(connect.CodeInvalidArgument, InvalidField, field, message)
}

func (e *Error) Error() string {
	if p := e.Problems[0]; p.Field != "" {
		return p.Field + " " + p.Message
	}
	return e.Problems[0].Message
}

// GRPCStatus makes google.golang.org/grpc/status understand the error.
func (e *Error) GRPCStatus() *status.Status {
	s := status.New(codes.Code(e.Code), e.Error())
	for _, p := range e.Problems {
		if with, err := s.WithDetails(p); err == nil {
			s = with
		}
	}
	return s
}

// Connect returns the error as connect sends it.
func (e *Error) Connect() *connect.Error {
	c := connect.NewError(e.Code, errors.New(e.Error()))
	for _, p := range e.Problems {
		if d, err := connect.NewErrorDetail(p); err == nil {
			c.AddDetail(d)
		}
	}
	return c
}

// Of returns what is wrong with a request, if it is an error that a client may see;
// for any other it is false.
func Of(err error) (*Error, bool) {
	var e *Error
	var field *stream.FieldError
	var invalid *protovalidate.ValidationError
	switch {
	case errors.As(err, &e):
		return e, true
	case errors.As(err, &field):
		return Invalid(field.Field, field.Problem), true
	case errors.As(err, &invalid):
		e = &Error{Code: connect.CodeInvalidArgument}
		for _, v := range invalid.Violations {
			e.Problems = append(e.Problems, &mibv1.Problem{
				Code: InvalidField, Field: protovalidate.FieldPathString(v.Proto.GetField()), Message: v.Proto.GetMessage(),
			})
		}
		return e, true
	case errors.Is(err, context.DeadlineExceeded):
		return New(connect.CodeDeadlineExceeded, TimedOut, "", "it took too long"), true
	case errors.Is(err, context.Canceled):
		return New(connect.CodeCanceled, "canceled", "", "the client has gone"), true
	}
	return nil, false
}

// Validate returns an *Error if a message is not what its definition says.
func Validate(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	if err := protovalidate.Validate(msg); err != nil {
		if e, ok := Of(err); ok {
			return e
		}
		return fmt.Errorf("validating: %w", err) // a definition is wrong, not a message
	}
	return nil
}

// Interceptor validates the requests of connect handlers and gives their errors
// details. Errors that are none of a client's are logged by failed and shown as
// nothing but that.
func Interceptor(failed func(procedure string, err error)) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			if req.Spec().IsClient {
				return next(ctx, req)
			}
			err := Validate(req.Any())
			var resp connect.AnyResponse
			if err == nil {
				resp, err = next(ctx, req)
			}
			if err == nil {
				return resp, nil
			}
			return nil, known(err, func(err error) { failed(req.Spec().Procedure, err) }).Connect()
		}
	})
}

func known(err error, failed func(error)) *Error {
	if e, ok := Of(err); ok {
		return e
	}
	failed(err)
	return New(connect.CodeInternal, Failed, "", "it failed here; it is no fault of the request")
}

// ServerOptions do the same for a grpc-go server.
func ServerOptions(failed func(procedure string, err error)) []grpc.ServerOption {
	judge := func(procedure string, err error) error {
		if err == nil {
			return nil
		}
		if _, ok := status.FromError(err); ok {
			return err
		}
		return known(err, func(err error) { failed(procedure, err) })
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := Validate(req); err != nil {
				return nil, judge(info.FullMethod, err)
			}
			resp, err := next(ctx, req)
			return resp, judge(info.FullMethod, err)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return judge(info.FullMethod, next(srv, validated{s}))
		}),
	}
}

// validated validates what a stream receives.
type validated struct{ grpc.ServerStream }

func (v validated) RecvMsg(m any) error {
	if err := v.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return Validate(m)
}
