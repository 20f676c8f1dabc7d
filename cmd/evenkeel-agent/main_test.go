package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/azure/azuretest"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/gcp/gcptest"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi/nodeapitest"
	"github.com/evenkeel-dev/evenkeel/internal/program"
	"github.com/evenkeel-dev/evenkeel/internal/program/programtest"
)

func TestReferencePage(t *testing.T) { programtest.Reference(t, command()) }

// TestUsage: mistakes are told apart from trouble.
func TestUsage(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	for _, args := range [][]string{
		{},
		{"--node=n", "--cloud=ibm"},
		{"--node=n", "--poll=0s"},
		{"--node=n", "--rebalance=perhaps"},
		{"--node=n", "--poll=often"},
	} {
		cmd := command()
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		if _, ok := errors.AsType[program.UsageError](err); !ok {
			t.Errorf("%q: %v, want a usage error", args, err)
		}
	}
}

// start runs the agent of node "n" until the test ends.
func start(t *testing.T, api *nodeapitest.Server, args ...string) {
	t.Helper()
	cmd := command()
	cmd.SetArgs(append([]string{"--node=n", "--kubeconfig=" + api.Kubeconfig(t), "--poll=100ms"}, args...))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
}

// record returns the Record of node "n", and whether there is one that can be read.
func record(api *nodeapitest.Server) (drain.Record, bool) {
	value, cordoned := api.Annotation("n", cluster.RecordAnnotation)
	if value == "" || !cordoned {
		return drain.Record{}, false
	}
	rec, err := drain.DecodeRecord(value)
	return rec, err == nil
}

func recorded(t *testing.T, api *nodeapitest.Server, kind interruption.Kind) drain.Record {
	t.Helper()
	var rec drain.Record
	api.WaitFor(t, "a Record of kind "+string(kind)+", with the cordon", func() bool {
		var ok bool
		rec, ok = record(api)
		return ok && rec.Notice.Kind == kind
	})
	return rec
}

func TestGCP(t *testing.T) {
	api, cloud := nodeapitest.New(t), gcptest.New(t)
	api.Put("n", "gce://project/us-central1-a/vm")
	api.Put("other", "gce://project/us-central1-a/vm2")
	start(t, api, "--metadata="+cloud.URL)
	// The API server is away when the notice comes.
	for cloud.Asked() < 4 {
		time.Sleep(time.Millisecond) // until both ears wait for a change
	}
	api.Refuse(http.StatusServiceUnavailable)
	cloud.Set("instance/preempted", "TRUE")
	api.WaitFor(t, "a refused request", func() bool { return len(api.Asked()) > 1 })
	api.Refuse(0)
	rec := recorded(t, api, interruption.SpotInterruption)
	if left := rec.Deadline.Sub(rec.Notice.Seen); rec.Notice.Instance != "project/us-central1-a/vm" || left != 30*time.Second {
		t.Errorf("%+v", rec)
	}
	for _, r := range api.Asked() {
		if !strings.HasSuffix(r, " /api/v1/nodes/n") || !strings.HasPrefix(r, "GET ") && !strings.HasPrefix(r, "PATCH ") {
			t.Errorf("asked the API for more than its own node: %s", r)
		}
	}
}

func TestAzureIsToldThatTheNodeIsEmpty(t *testing.T) {
	api, cloud := nodeapitest.New(t), azuretest.New(t, "vmss_0")
	api.Put("n", "azure:///subscriptions/1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/vmss/virtualMachines/0")
	start(t, api, "--metadata="+cloud.URL)
	cloud.Schedule("event", "Preempt", time.Now().Add(30*time.Second), "vmss_0")
	rec := recorded(t, api, interruption.SpotInterruption)
	if got := cloud.Approved(); len(got) != 0 {
		t.Fatalf("approved %v before the node is empty", got)
	}
	// What a controller does when it is.
	rec.Emptied = time.Now().UTC()
	approved := cloud.Changed()
	api.Annotate("n", cluster.RecordAnnotation, rec.Encode())
	<-approved
	if got := cloud.Approved(); !slices.Equal(got, []string{"event"}) {
		t.Errorf("approved %v", got)
	}
}

// TestAWS runs against amazon-ec2-metadata-mock, which computes the time of an
// interruption anew for each request: it must be marked once.
func TestAWS(t *testing.T) {
	mock := countRequests(t, startMock(t), "/spot/instance-action")
	api := nodeapitest.New(t)
	api.Put("n", "aws:///us-east-1a/i-1234567890abcdef0")
	start(t, api, "--metadata="+mock.URL)
	rec := recorded(t, api, interruption.SpotInterruption)
	if rec.Notice.Action != "terminate" || rec.Notice.Instance != "i-1234567890abcdef0" {
		t.Errorf("%+v", rec)
	}
	if left := time.Until(rec.Deadline); left > 2*time.Minute+5*time.Second || left < time.Minute {
		t.Errorf("%s left of 2 minutes", left)
	}
	// The agent asks for one after the other: when it asks for the fifth time, it is
	// done with four more that it has heard.
	mock.wait(t, 5)
	if after, ok := record(api); !ok || !after.Deadline.Equal(rec.Deadline) || !after.Stored.Equal(rec.Stored) {
		t.Errorf("marked again:\n%+v\n%+v", rec, after)
	}
}

// counted is a server before another one that counts requests of one kind.
type counted struct {
	*httptest.Server
	n atomic.Int64
}

func countRequests(t *testing.T, endpoint, suffix string) *counted {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		// The mock may not listen yet; the agent asks again.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	c := &counted{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, suffix) {
			c.n.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// wait returns when so many more requests have come.
func (c *counted) wait(t *testing.T, more int64) {
	t.Helper()
	end := time.Now().Add(time.Minute) // means hung
	for until := c.n.Load() + more; c.n.Load() < until; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d more requests have not come", until-c.n.Load())
		}
	}
}

// mockVersion is the release of amazon-ec2-metadata-mock that is tested with.
const mockVersion = "v1.13.0"

// startMock runs amazon-ec2-metadata-mock, with tokens required, until the test
// ends. Unless it is installed it is built, which takes the module proxy.
func startMock(t *testing.T) (endpoint string) {
	t.Helper()
	program, err := exec.LookPath("ec2-metadata-mock")
	if err != nil {
		bin := t.TempDir()
		install := exec.CommandContext(t.Context(), "go", "install", "github.com/aws/amazon-ec2-metadata-mock/cmd/ec2-metadata-mock@"+mockVersion)
		install.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod")
		if out, err := install.CombinedOutput(); err != nil {
			t.Skipf("amazon-ec2-metadata-mock is not installed and could not be built, so the agent is not tested against it: %v\n%s", err, out)
		}
		program = filepath.Join(bin, "ec2-metadata-mock")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	mock := exec.Command(program, "--hostname=127.0.0.1", "--port="+strconv.Itoa(port), "--imdsv2")
	mock.Env = append(os.Environ(), "HOME="+t.TempDir())
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = mock.Process.Kill()
		_ = mock.Wait() // killed
	})
	return "http://127.0.0.1:" + strconv.Itoa(port)
}
