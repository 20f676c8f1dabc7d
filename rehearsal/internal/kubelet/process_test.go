package kubelet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// pid reads the number that a script wrote with "echo $$" as its first line.
func (c *cluster) pid(pod string) int {
	c.Helper()
	first, _, _ := strings.Cut(c.log(pod, "main"), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		c.Fatal(err)
	}
	return pid
}

func TestRunEndsWithoutProcesses(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("p", `trap '' TERM; sh -c 'echo $$$$; while :; do sleep 0.05; done'`, func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "60"}}}, TimeoutSeconds: 60}
	}))
	c.waitLog("p", "main", "\n")
	pid := c.pid("p")
	c.client.ClearActions()
	c.stop()
	if alive(pid) {
		t.Error("a process outlived Run")
	}
	if _, err := os.Stat(filepath.Join(c.k.cfg.Dir, "logs", "shop_p_uid-p", "main.log")); err != nil {
		t.Errorf("the log: %v", err)
	}
	if err := c.k.Run(t.Context()); err == nil {
		t.Error("ran a second time")
	}
}

// crashingRehearsal runs one pod until it is killed.
func crashingRehearsal() {
	share, err := podnet.Claim()
	if err != nil {
		panic(err)
	}
	client := fake.NewClientset()
	k := New(Config{Client: client, Net: share, Dir: os.Getenv("DIR"), Images: map[string]Image{"sh": {Command: []string{"/bin/sh", "-c"}}}})
	ctx := context.Background()
	if err := k.AddNode(ctx, testNode("n1")); err != nil {
		panic(err)
	}
	pod := testPod("p", showPID+`while :; do sleep 0.05; done`)
	if _, err := client.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		panic(err)
	}
	fmt.Println(k.Run(ctx))
}

func TestContainersDieWithTheRehearsal(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self)
	cmd.Env = []string{helperEnv + "=rehearsal", "DIR=" + dir, "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // for a test that ends early
	c := &cluster{T: t, k: New(Config{Dir: dir}), client: fake.NewClientset()}
	c.waitLog("p", "main", "\n")
	pid := c.pid("p")
	if !alive(pid) {
		t.Fatal("the container does not run")
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	c.eventually("the container dies with the rehearsal", func() bool { return !alive(pid) })
}

// BenchmarkTimeToReady is how long a pod takes from being assigned until the API
// says that it is ready.
func BenchmarkTimeToReady(b *testing.B) {
	for _, bench := range []struct {
		name  string
		probe bool
	}{{"without probe", false}, {"HTTP probe", true}} {
		b.Run(bench.name, func(b *testing.B) {
			share, err := podnet.Claim()
			if err != nil {
				b.Fatal(err)
			}
			defer share.Close()
			self, err := os.Executable()
			if err != nil {
				b.Fatal(err)
			}
			client := fake.NewClientset()
			k := New(Config{Client: client, Net: share, Dir: b.TempDir(), Images: map[string]Image{
				"serve": {Command: []string{self}, Env: map[string]string{helperEnv: "serve"}}}})
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- k.Run(ctx) }()
			defer func() { cancel(); <-ended }()
			if err := k.AddNode(ctx, testNode("n1")); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				pod := server(fmt.Sprintf("web%d", i))
				if !bench.probe {
					pod.Spec.Containers[0].ReadinessProbe = nil
				}
				w, err := client.CoreV1().Pods("shop").Watch(ctx, metav1.ListOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := client.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
					b.Fatal(err)
				}
				for e := range w.ResultChan() {
					if p, ok := e.Object.(*corev1.Pod); ok && p.Name == pod.Name && isReady(p) {
						break
					}
				}
				w.Stop()
			}
		})
	}
}
