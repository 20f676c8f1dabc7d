// Package rest serves RPCs as JSON over plain HTTP, as their google.api.http rules
// say: fields from the query or the body, the answer as protobuf's JSON.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
)

// Limits of what is read and written.
const (
	maxBody   = 64 << 10
	maxAnswer = 16 << 20
)

// A Call is one method.
type Call struct {
	empty func() proto.Message
	do    func(ctx context.Context, in http.Header, q proto.Message) (proto.Message, http.Header, error)
}

// Unary makes a Call of a handler's method.
func Unary[Q, A any, PQ message[Q], PA message[A]](f func(context.Context, *connect.Request[Q]) (*connect.Response[A], error)) Call {
	return Call{
		empty: func() proto.Message { return PQ(new(Q)) },
		do: func(ctx context.Context, in http.Header, q proto.Message) (proto.Message, http.Header, error) {
			req := connect.NewRequest((*Q)(q.(PQ)))
			if key := in.Get("Idempotency-Key"); key != "" {
				req.Header().Set("Idempotency-Key", key)
			}
			resp, err := f(ctx, req)
			if err != nil {
				return nil, nil, err
			}
			return PA(resp.Msg), resp.Header(), nil
		},
	}
}

type message[T any] interface {
	proto.Message
	*T
}

// A Route is where a Call is served, and how.
type Route struct {
	Call
	Method, Path string
	procedure    string
	body, answer string        // fields; empty: none, and the whole message
	Status       int           // of an answer; 200 if zero
	Time         time.Duration // for a request
	Log          *slog.Logger
}

// Rule returns the route that the google.api.http rule of a method asks for.
func Rule(m protoreflect.MethodDescriptor) (Route, bool) {
	rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	r := Route{body: rule.GetBody(), answer: rule.GetResponseBody(), procedure: string(m.FullName())}
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r.Method, r.Path = http.MethodGet, p.Get
	case *annotations.HttpRule_Post:
		r.Method, r.Path = http.MethodPost, p.Post
	default:
		return Route{}, false
	}
	return r, true
}

// ServeHTTP implements http.Handler.
func (rt Route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), rt.Time)
	defer cancel()
	q := rt.empty()
	status := rt.Status
	if status == 0 {
		status = http.StatusOK
	}
	b, header, err := func() ([]byte, http.Header, error) {
		if err := rt.read(q, w, r); err != nil {
			return nil, nil, err
		}
		if err := problem.Validate(q); err != nil {
			return nil, nil, rt.shorten(err)
		}
		a, header, err := rt.do(ctx, r.Header, q)
		if err != nil {
			return nil, nil, rt.shorten(err)
		}
		b, err := rt.encode(a)
		return b, header, err
	}()
	if err != nil {
		Fail(w, rt.procedure, err, rt.Log)
		return
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client has gone; nobody is left to tell
}

// read fills the message from the query and the body.
func (rt Route) read(q proto.Message, w http.ResponseWriter, r *http.Request) error {
	if err := Query(q, r.URL.RawQuery); err != nil {
		return err
	}
	if rt.body == "" {
		return nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problem.New(connect.CodeResourceExhausted, bodyTooLarge, "", fmt.Sprintf("a body has at most %d bytes", maxBody))
	case err != nil:
		return problem.New(connect.CodeCanceled, "canceled", "", "the body did not come")
	}
	into := q
	if rt.body != "*" {
		f := q.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(rt.body))
		into = q.ProtoReflect().Mutable(f).Message().Interface()
	}
	return decode(b, into)
}

const bodyTooLarge = "body_too_large"

// What protojson says about a field. Its texts are not promised to stay; the test
// that reads them fails when they do not.
var (
	wrongValue   = regexp.MustCompile(`invalid value for \w+ (?:type|field) ([\w.]+)?`)
	unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)
)

func decode(b []byte, into proto.Message) error {
	err := protojson.Unmarshal(b, into)
	if err == nil {
		return nil
	}
	// The prefix has a space of one kind or another, so that nobody relies on it.
	text := strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0")
	if m := unknownField.FindStringSubmatch(text); m != nil {
		return problem.Invalid(m[1], "is not a field")
	}
	if m := wrongValue.FindStringSubmatch(text); m != nil && m[1] != "" {
		return problem.Invalid(m[1], "must be of another type")
	}
	return problem.New(connect.CodeInvalidArgument, "invalid_body", "", text)
}

// shorten takes the field that the body stands for from the names of fields: who
// sends a tick has not heard of a request around it.
func (rt Route) shorten(err error) error {
	var e *problem.Error
	if errors.As(err, &e) && rt.body != "" && rt.body != "*" {
		for _, p := range e.Problems {
			p.Field = strings.TrimPrefix(p.Field, rt.body+".")
		}
	}
	return err
}

// Query sets fields from a query: numbers, texts, truths, and lists of these.
func Query(q proto.Message, raw string) error {
	if raw == "" {
		return nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return problem.New(connect.CodeInvalidArgument, "invalid_query", "", "the query cannot be read")
	}
	m := q.ProtoReflect()
	fields := m.Descriptor().Fields()
	for name, list := range values {
		f := fields.ByJSONName(name)
		if f == nil {
			f = fields.ByName(protoreflect.Name(name))
		}
		if f == nil || f.Message() != nil || f.IsMap() {
			return problem.Invalid(name, "is not a parameter")
		}
		if !f.IsList() && len(list) > 1 {
			return problem.Invalid(name, "may be there once")
		}
		for _, text := range list {
			if text == "" && f.Kind() != protoreflect.StringKind {
				continue // as if it were not there
			}
			v, want := scalar(f.Kind(), text)
			if want != "" {
				return problem.Invalid(name, "must be "+want)
			}
			if f.IsList() {
				m.Mutable(f).List().Append(v)
			} else {
				m.Set(f, v)
			}
		}
	}
	return nil
}

// scalar reads a value, or says what it should be.
func scalar(k protoreflect.Kind, text string) (v protoreflect.Value, want string) {
	switch k {
	case protoreflect.StringKind:
		if !isText(text) {
			return v, "text in UTF-8"
		}
		return protoreflect.ValueOfString(text), ""
	case protoreflect.BoolKind:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return v, "true or false"
		}
		return protoreflect.ValueOfBool(b), ""
	case protoreflect.Int32Kind:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return v, "a whole number"
		}
		return protoreflect.ValueOfInt32(int32(n)), ""
	case protoreflect.Int64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return v, "a whole number"
		}
		return protoreflect.ValueOfInt64(n), ""
	case protoreflect.DoubleKind:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return v, "a number"
		}
		return protoreflect.ValueOfFloat64(x), ""
	}
	return v, "in the body"
}

func isText(s string) bool { return strings.ToValidUTF8(s, "") == s }

// Marshal writes a message as JSON: fields that are not set are there with their
// default. It is the same text for the same message, which protojson alone does not
// promise.
func Marshal(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Grow(len(b))
	if err := json.Compact(&out, b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (rt Route) encode(a proto.Message) ([]byte, error) {
	if size := proto.Size(a); size > maxAnswer {
		return nil, problem.New(connect.CodeResourceExhausted, "answer_too_large", "", fmt.Sprintf("the answer would have more than %d bytes; ask for less", maxAnswer))
	}
	b, err := Marshal(a)
	if err != nil {
		return nil, err
	}
	if rt.answer != "" {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(b, &fields); err != nil {
			return nil, err
		}
		f := a.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(rt.answer))
		b = fields[f.JSONName()]
	}
	return append(b, '\n'), nil
}

// Fail answers with an error: {"error":{"code","field","message"}}. What a client
// need not know is logged and not shown.
func Fail(w http.ResponseWriter, procedure string, err error, log *slog.Logger) {
	e, ok := problem.Of(err)
	if !ok {
		log.Error("a request failed", "procedure", procedure, "err", err)
		e = problem.New(connect.CodeInternal, problem.Failed, "", "it failed here; it is no fault of the request")
	}
	p := e.Problems[0]
	body, _ := json.Marshal(map[string]any{"error": struct {
		Code    string `json:"code"`
		Field   string `json:"field,omitempty"`
		Message string `json:"message"`
	}{p.GetCode(), p.GetField(), p.GetMessage()}})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if status := Status(e); status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(Status(e))
	_, _ = w.Write(append(body, '\n'))
}

// Status returns the status of HTTP that says the same as an error.
func Status(e *problem.Error) int {
	if e.Problems[0].GetCode() == bodyTooLarge {
		return http.StatusRequestEntityTooLarge
	}
	switch e.Code {
	case connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeFailedPrecondition:
		return http.StatusBadRequest
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeAlreadyExists, connect.CodeAborted:
		return http.StatusConflict
	case connect.CodeResourceExhausted:
		return http.StatusTooManyRequests
	case connect.CodeCanceled:
		return 499 // the client has gone; nobody reads it but the metrics
	case connect.CodeUnimplemented:
		return http.StatusNotImplemented
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	case connect.CodeDeadlineExceeded:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
