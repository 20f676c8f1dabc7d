package tlsxtest

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A Workload is a SPIFFE workload API on a socket, as an agent of SPIRE serves it to
// the processes of a machine. Whoever asks there is the same workload.
type Workload struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	Addr string // unix:///...

	mu      sync.Mutex
	now     *workload.X509SVIDResponse
	changed chan struct{} // closed when now is replaced
}

// NewWorkload serves one that has no certificate for anybody yet, until the test
// ends.
func NewWorkload(t testing.TB) *Workload {
	t.Helper()
	// Not in t.TempDir, which has the test's name: that of a socket has a limit.
	dir, err := os.MkdirTemp("", "w")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	w := &Workload{Addr: "unix://" + socket, changed: make(chan struct{})}
	srv := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(srv, w)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(ln); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { srv.Stop(); serving.Wait() })
	return w
}

// Issue gives the workload a certificate of an authority for a name such as
// spiffe://test/engine. Besides that authority it trusts the others.
func (w *Workload) Issue(t testing.TB, a *Authority, id string, others ...*Authority) {
	t.Helper()
	cert, key := a.issue(t, "localhost", id)
	bundle := slices.Clone(a.cert.Raw)
	for _, o := range others {
		bundle = append(bundle, o.cert.Raw...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = &workload.X509SVIDResponse{Svids: []*workload.X509SVID{{SpiffeId: id, X509Svid: cert, X509SvidKey: key, Bundle: bundle}}}
	close(w.changed)
	w.changed = make(chan struct{})
}

// FetchX509SVID sends the certificate, and each that replaces it.
func (w *Workload) FetchX509SVID(_ *workload.X509SVIDRequest, out grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	md, _ := metadata.FromIncomingContext(out.Context())
	if !slices.Equal(md.Get("workload.spiffe.io"), []string{"true"}) { // against requests that a browser was made to send
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		w.mu.Lock()
		now, changed := w.now, w.changed
		w.mu.Unlock()
		if now == nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := out.Send(now); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-out.Context().Done():
			return out.Context().Err()
		}
	}
}
