package lifecyclegrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclegrpc "github.com/evenkeel-dev/evenkeel/lifecycle/grpc"
)

// hung is how long a test waits for what must happen at all.
const hung = 30 * time.Second

// service answers unary calls at once, and streams until its context ends.
type service struct {
	pb.UnimplementedTestServiceServer
	unary   func(context.Context)
	streams atomic.Int64
}

func (s *service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if s.unary != nil {
		s.unary(ctx)
	}
	return &pb.SimpleResponse{Payload: r.Payload}, nil
}

func (s *service) StreamingOutputCall(_ *pb.StreamingOutputCallRequest, out grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	s.streams.Add(1)
	for n := 0; ; n++ {
		if err := out.Send(&pb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
		select {
		case <-out.Context().Done():
			lifecyclegrpc.Resume(out, fmt.Sprint(n))
			return out.Context().Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// FullDuplexCall echoes; most of the time it waits for its client.
func (s *service) FullDuplexCall(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	s.streams.Add(1)
	for {
		if _, err := both.Recv(); err != nil {
			return err
		}
		if err := both.Send(&pb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
}

// process is a server under a Lifecycle.
type process struct {
	*service
	l    *lifecycle.Lifecycle
	addr string
	done chan error
}

func start(t *testing.T, s *service, o lifecycle.Options) *process {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.TerminationLog = "none"
	p := &process{service: s, l: lifecycle.New(o), addr: ln.Addr().String(), done: make(chan error, 1)}
	g := grpc.NewServer(lifecyclegrpc.ServerOptions(p.l)...)
	pb.RegisterTestServiceServer(g, s)
	lifecyclegrpc.Serve(p.l, g, ln)
	go func() { p.done <- p.l.Run(context.WithoutCancel(t.Context())) }()
	return p
}

func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(hung):
		t.Fatal("hung: Run")
		return nil
	}
}

func dial(t *testing.T, addr func() string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///service",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr())
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Unary calls and streams of 12 connections, through a layer 4 balancer that
// learns late who leaves: no call fails, every stream is handed over.
func TestDrainLosesNothing(t *testing.T) {
	const (
		conns   = 12
		streams = 20 // of each kind
		lag     = 500 * time.Millisecond
	)
	o := lifecycle.Options{Grace: 12 * time.Second, PropagationFloor: time.Second}
	leaving, staying := start(t, &service{}, o), start(t, &service{}, o)
	var backends atomic.Pointer[[]string]
	backends.Store(&[]string{leaving.addr})
	var next atomic.Int64
	addr := func() string { b := *backends.Load(); return b[int(next.Add(1))%len(b)] }

	var clients []pb.TestServiceClient
	for range conns {
		clients = append(clients, pb.NewTestServiceClient(dial(t, addr)))
	}
	ctx, stop := context.WithTimeout(t.Context(), hung)
	defer stop()
	type end struct {
		kind    string
		err     error
		trailer metadata.MD
	}
	ends := make(chan end, 2*streams)
	for i := range streams {
		out, err := clients[i%conns].StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		both, err := clients[i%conns].FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := both.Send(&pb.StreamingOutputCallRequest{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			var err error
			for err == nil {
				_, err = out.Recv()
			}
			ends <- end{"out", err, out.Trailer()}
		}()
		go func() {
			var err error
			for err == nil {
				_, err = both.Recv()
			}
			ends <- end{"both", err, both.Trailer()}
		}()
	}
	for leaving.streams.Load() < 2*streams {
		time.Sleep(time.Millisecond)
	}
	backends.Store(&[]string{leaving.addr, staying.addr})

	var sent, failed atomic.Int64
	var load, calls sync.WaitGroup
	stopLoad := make(chan struct{})
	load.Go(func() {
		tick := time.NewTicker(time.Second / 300)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stopLoad:
				return
			case <-tick.C:
			}
			calls.Go(func() {
				sent.Add(1)
				if _, err := clients[i%conns].UnaryCall(ctx, &pb.SimpleRequest{}); err != nil {
					failed.Add(1)
					t.Errorf("unary: %v", err)
				}
			})
		}
	})

	begun := time.Now()
	leaving.l.Drain()
	time.AfterFunc(lag, func() { backends.Store(&[]string{staying.addr}) })
	for range 2 * streams {
		e := <-ends
		resume := e.trailer.Get(lifecyclegrpc.ResumeTrailer)
		if e.err != io.EOF || strings.Join(e.trailer.Get(lifecyclegrpc.DrainingTrailer), "") != "true" || (e.kind == "out") != (len(resume) == 1) {
			t.Errorf("stream %s: %v, trailer %v", e.kind, e.err, e.trailer)
		}
	}
	if err := leaving.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	took := time.Since(begun)
	time.Sleep(300 * time.Millisecond) // load on the one that stays
	close(stopLoad)
	load.Wait()
	calls.Wait()
	t.Logf("%d calls, %d failed, %d streams handed over, the ending took %s", sent.Load(), failed.Load(), leaving.l.Stats().Streams.HandedOver, took.Round(time.Millisecond))
	if s := leaving.l.Stats().Streams; s.HandedOver != 2*streams || s.Cut != 0 {
		t.Errorf("streams %+v", s)
	}
	if n := leaving.l.Stats().Requests[2]; n.Protocol != "grpc" || n.Finished == 0 || n.Cut != 0 {
		t.Errorf("calls %+v", n)
	}
	staying.l.Drain()
	if err := staying.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A handler that ignores its context does not keep the process: neither
// GracefulStop nor Stop hangs, and the record names the call.
func TestStubbornCallIsCut(t *testing.T) {
	release, began := make(chan struct{}), make(chan struct{})
	defer close(release)
	var record bytes.Buffer
	const grace = 1500 * time.Millisecond
	p := start(t, &service{unary: func(context.Context) { close(began); <-release }}, lifecycle.Options{Grace: grace, CutRecord: &record})
	client := pb.NewTestServiceClient(dial(t, func() string { return p.addr }))
	failed := make(chan error, 1)
	go func() {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		_, err := client.UnaryCall(ctx, &pb.SimpleRequest{})
		failed <- err
	}()
	<-began
	p.l.Drain()
	if err := p.wait(t); !errors.Is(err, lifecycle.ErrCut) { // in time: see TestRunStubbornWork
		t.Errorf("Run: %v", err)
	}
	if err := <-failed; status.Code(err) != codes.Unavailable {
		t.Errorf("the client saw %v", err)
	}
	for _, want := range []string{`"protocol":"grpc"`, `"route":"/grpc.testing.TestService/UnaryCall"`, `"trace_id":"0af7651916cd43dd8448eb211c80319c"`, `"cut":1`} {
		if !strings.Contains(record.String(), want) {
			t.Errorf("no %s in %s", want, &record)
		}
	}
}

// The health service says what /readyz says, and those who watch it do not hold
// up the end.
func TestHealth(t *testing.T) {
	p := start(t, &service{}, lifecycle.Options{Grace: 5 * time.Second, PropagationFloor: 300 * time.Millisecond})
	client := healthpb.NewHealthClient(dial(t, func() string { return p.addr }))
	check := func(name string) string {
		r, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
		if err != nil {
			return status.Code(err).String()
		}
		return r.GetStatus().String()
	}
	for !p.l.IsReady() {
		time.Sleep(time.Millisecond)
	}
	for name, want := range map[string]string{"": "SERVING", "grpc.testing.TestService": "SERVING", "other": "NotFound"} {
		if got := check(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
	if list, err := client.List(t.Context(), &healthpb.HealthListRequest{}); err != nil || len(list.GetStatuses()) != 2 {
		t.Errorf("list: %v, %v", list, err)
	}
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() string {
		r, err := watch.Recv()
		if err != nil {
			return status.Code(err).String()
		}
		return r.GetStatus().String()
	}
	if got := next(); got != "SERVING" {
		t.Errorf("watched %s", got)
	}
	p.l.Ready(false)
	if got := next(); got != "NOT_SERVING" {
		t.Errorf("watched %s", got)
	}
	p.l.Ready(true)
	if got := next(); got != "SERVING" {
		t.Errorf("watched %s", got)
	}
	p.l.Drain()
	if got := next(); got != "NOT_SERVING" {
		t.Errorf("watched %s", got)
	}
	if got := check(""); got != "NOT_SERVING" {
		t.Errorf("checked %s", got)
	}
	if got := next(); got != "Unavailable" {
		t.Errorf("watched %s", got)
	}
	if err := p.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := p.l.Stats().Requests[2]; n.Finished != 0 {
		t.Errorf("probes were counted: %+v", n)
	}
}
