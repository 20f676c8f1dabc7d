package handofftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/cloud"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
)

const (
	region  = "us-east-1"
	account = "123456789012"
)

// buildFaulty builds the controller with fault points, which no other build has.
func buildFaulty(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "evenkeel-controller")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-tags=evenkeel_fault", "-o", bin, "../../../cmd/evenkeel-controller").CombinedOutput()
	if err != nil {
		t.Fatalf("building the controller: %v\n%s", err, out)
	}
	return bin
}

// writeKubeconfig writes one with the rights of the controller's service account,
// and returns its path.
func writeKubeconfig(t *testing.T, plane *controlplane.ControlPlane, admin kubernetes.Interface) string {
	t.Helper()
	token := withToken(t, plane, admin, "evenkeel-system", "evenkeel-controller", nil).BearerToken
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["test"] = &clientcmdapi.Cluster{Server: plane.URL(), CertificateAuthorityData: plane.CACertPEM()}
	cfg.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	cfg.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// crashProcess is the controller's process, started again after each crash.
type crashProcess struct {
	t          *testing.T
	bin        string
	kubeconfig string
	queue      *crashQueue

	cmd   *exec.Cmd
	log   string        // path, of the process that runs
	ended chan struct{} // closed when it is gone
	n     int
}

// start starts it with the points at which it is to die.
func (p *crashProcess) start(points []string) {
	p.t.Helper()
	p.n++
	p.log = filepath.Join(p.t.TempDir(), fmt.Sprintf("controller-%d.log", p.n))
	out, err := os.Create(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close() // the child has its own
	p.cmd = exec.Command(p.bin,
		"--sqs-queue="+crashQueueName, "--spot-notice="+lead.String(), "--hook-heartbeat=200ms", "--expire=1h", "--listen=127.0.0.1:0", "--proof=none", "--log-level=debug")
	p.queue.starts = append(p.queue.starts, time.Now()) // its predecessor is gone
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig, "EVENKEEL_FAULT="+strings.Join(points, ","),
		"AWS_ENDPOINT_URL="+p.queue.cloud.URL(), "AWS_REGION="+region,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true")
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd, ended, started := p.cmd, make(chan struct{}), make(chan error)
	p.ended = ended
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the child dies with the thread that started it: this one waits for it
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its state
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("starting the controller: %v", err)
	}
}

// killed waits until the process has killed itself, and returns at which point;
// empty if it has not within the time.
func (p *crashProcess) killed(within time.Duration) (point string) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		return ""
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	// Others may have written a line or two before the end.
	_, rest, said := strings.Cut("\n"+p.tail(), "\nkilled ")
	point, _, _ = strings.Cut(rest, "\n")
	if !status.Signaled() || status.Signal() != syscall.SIGKILL || !said {
		p.t.Fatalf("the controller ended by itself: %s\nthe end of its log:\n%s", p.cmd.ProcessState, p.tail())
	}
	return point
}

// kill ends what runs.
func (p *crashProcess) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // an error means that it has ended
		<-p.ended
	}
}

// tail is the end of its log.
func (p *crashProcess) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-8<<10):])
}

const crashQueueName = "crash"

// crashQueue is the queue that the notices come by.
type crashQueue struct {
	t     *testing.T
	cloud *cloud.Cloud
	sent  int

	starts []time.Time // of the processes that read it
}

func newCrashQueue(t *testing.T) *crashQueue {
	t.Helper()
	c := cloud.New(cloud.Config{Region: region, Account: account, Seed: 1})
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the cloud: %v", err)
		}
	})
	c.CreateQueue(crashQueueName)
	return &crashQueue{t: t, cloud: c}
}

func (q *crashQueue) send(body []byte) {
	q.t.Helper()
	if err := q.cloud.Send(crashQueueName, string(body)); err != nil {
		q.t.Fatal(err)
	}
	q.sent++
}

// empty returns nil once every message that was sent has been deleted.
func (q *crashQueue) empty() error {
	s, ok := q.cloud.QueueStats(crashQueueName)
	if !ok {
		return errors.New("there is no queue")
	}
	if s.Deleted != q.sent || s.Visible+s.InFlight+s.Delayed > 0 {
		return fmt.Errorf("%d sent: %+v", q.sent, s)
	}
	return nil
}

// check looks at what the cloud was told.
func (q *crashQueue) check(t *testing.T) {
	if s, _ := q.cloud.QueueStats(crashQueueName); s.Expired+s.DeadLettered > 0 {
		t.Errorf("messages were lost: %+v", s)
	}
	// A group cannot be told in one write with the Record. Who does not know whether it
	// was told tells it again, and it answers that this was one too many: once for each
	// process that was killed in between, and no process twice.
	type told struct {
		instance string
		process  int
	}
	completed := make(map[told]int)
	for _, call := range q.cloud.LifecycleCalls() {
		if call.Action != "CompleteLifecycleAction" {
			continue
		}
		process := sort.Search(len(q.starts), func(i int) bool { return q.starts[i].After(call.At) })
		completed[told{call.Instance, process}]++
	}
	for who, n := range completed {
		if n > 1 {
			t.Errorf("process %d told the group of %s %d times", who.process, who.instance, n)
		}
	}
}
