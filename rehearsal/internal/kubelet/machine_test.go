package kubelet

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

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

func TestAddNode(t *testing.T) {
	c := newCluster(t, nil)
	spec := testNode("n2")
	spec.Labels = map[string]string{"team": "shop"}
	spec.Annotations = map[string]string{"note": "x"}
	spec.Taints = []corev1.Taint{{Key: "spot", Effect: corev1.TaintEffectNoSchedule}}
	if err := c.k.AddNode(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	n, err := c.client.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"kubernetes.io/hostname": "n2", "kubernetes.io/os": "linux", "kubernetes.io/arch": runtime.GOARCH,
		"node.kubernetes.io/instance-type": "m5.large", "topology.kubernetes.io/region": "us-east-1", "topology.kubernetes.io/zone": "us-east-1a",
		"evenkeel.dev/pool": "general", "karpenter.sh/capacity-type": "spot", "team": "shop",
	}
	if !maps.Equal(n.Labels, want) {
		t.Errorf("labels %v, want %v", n.Labels, want)
	}
	if n.Spec.ProviderID != "aws:///us-east-1a/i-n2" || len(n.Spec.Taints) != 1 || n.Annotations["note"] != "x" {
		t.Errorf("node: %+v", n)
	}
	if n.Status.Allocatable.Cpu().String() != "2" || n.Status.Capacity.Memory().String() != "8Gi" || n.Status.Allocatable.Pods().Value() != 110 {
		t.Errorf("allocatable: %v", n.Status.Allocatable)
	}
	lease, err := c.client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "n2", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "n2" {
		t.Errorf("lease: %+v, %v", lease, err)
	}
	if err := c.k.AddNode(t.Context(), spec); err == nil {
		t.Error("added a node twice")
	}
}

func TestHeartbeat(t *testing.T) {
	c := newCluster(t, nil)
	leases := c.client.CoordinationV1().Leases("kube-node-lease")
	before, err := leases.Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("the lease is renewed", func() bool {
		now, err := leases.Get(t.Context(), "n1", metav1.GetOptions{})
		return err == nil && now.Spec.RenewTime.After(before.Spec.RenewTime.Time)
	})
	// As the node controller does when it has heard nothing for long.
	n, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].Status = corev1.ConditionUnknown
	}
	if _, err := c.client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the node is ready again", func() bool {
		n, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

func TestPodAssignedBeforeItsNode(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("early", forever, func(p *corev1.Pod) { p.Spec.NodeName = "n2" }))
	c.create(testPod("other", forever))
	c.waitReady("other") // so that the first one has been seen, too
	if err := c.k.AddNode(t.Context(), testNode("n2")); err != nil {
		t.Fatal(err)
	}
	c.waitReady("early")
}

func TestReclaim(t *testing.T) {
	c := newCluster(t, nil)
	c.create(server("web"))
	c.create(testPod("shell", `sh -c 'echo $$$$; while :; do sleep 0.05; done'`, func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "old"}
	}))
	c.create(testPod("done", "exit 0", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	web := c.waitReady("web")
	c.waitReady("shell")
	c.waitLog("shell", "main", "\n")
	c.waitPod("done", "has ended", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	c.edit("shell", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "new"}
		p.Annotations = map[string]string{"seen": "yes"}
	})
	c.eventually("the kubelet has seen the new label", func() bool {
		c.k.mu.Lock()
		defer c.k.mu.Unlock()
		return c.k.workers["uid-shell"].seen.Labels["app"] == "new"
	})

	// A peer with an open connection sees the reset that the kernel sends for the
	// dead process. By then the address must be silent.
	conn, err := net.Dial("tcp", c.twin(web)+":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	silent := c.net.Silent(netip.MustParseAddr(web.Status.PodIP))
	wasSilent := make(chan bool, 1)
	go func() {
		_, _ = io.ReadAll(conn)
		select {
		case <-silent:
			wasSilent <- true
		default:
			wasSilent <- false
		}
	}()

	lost, err := c.k.Reclaim("n1")
	if err != nil {
		t.Fatal(err)
	}
	c.client.ClearActions()
	if !<-wasSilent {
		t.Error("the process died before its address was silent")
	}
	got := make(map[string]string)
	for _, p := range lost {
		got[p.Namespace+"/"+p.Name+" "+string(p.UID)] = p.Labels["app"]
	}
	if want := map[string]string{"shop/web uid-web": "web", "shop/shell uid-shell": "new"}; !maps.Equal(got, want) {
		t.Errorf("lost %v, want %v", got, want)
	}
	pid := c.pid("shell")
	c.eventually("a process forked by a container is gone", func() bool { return !alive(pid) })
	if _, err := c.k.Reclaim("n1"); err == nil {
		t.Error("reclaimed a machine twice")
	}

	// Deleting its pods is now up to others, and a new pod waits for nobody.
	c.delete("web", 0)
	c.create(testPod("late", forever))
	if err := c.k.AddNode(t.Context(), testNode("n2")); err != nil {
		t.Fatal(err)
	}
	c.create(testPod("after", forever, func(p *corev1.Pod) { p.Spec.NodeName = "n2" }))
	c.waitReady("after") // seen after the others
	if p := c.pod("web"); p == nil || !isReady(p) {
		t.Errorf("the pod of a dead machine was written or removed: %+v", p)
	}
	if p := c.pod("late"); p.Status.Phase != "" {
		t.Errorf("a pod was run on a dead machine: %+v", p.Status)
	}
	for _, a := range c.client.Actions() {
		named, ok := a.(interface{ GetName() string })
		ours := a.GetVerb() == "delete" || a.GetVerb() == "patch" && (a.GetSubresource() == "status" || a.GetResource().Resource == "leases")
		if ok && ours && named.GetName() != "after" && named.GetName() != "n2" {
			t.Errorf("written for a dead machine: %s %s %s", a.GetVerb(), a.GetResource().Resource, named.GetName())
		}
	}
	if _, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{}); err != nil {
		t.Errorf("the Node object: %v", err)
	}
	// Its addresses are not given again.
	if after := c.pod("after"); after.Status.PodIP == web.Status.PodIP {
		t.Errorf("address %s was given again", web.Status.PodIP)
	}
}

func TestOutageOfTheAPIServer(t *testing.T) {
	c := newCluster(t, nil)
	c.create(server("web"))
	c.create(testPod("ending", stubborn))
	c.create(testPod("crashing", showPID+forever))
	c.waitReady("web")
	c.waitReady("ending")
	c.waitReady("crashing")
	c.waitLog("crashing", "main", "up\n")

	c.delete("ending", 2) // the last thing that is heard
	c.waitLog("ending", "main", "ignoring term")
	c.down.Store(true)
	first := c.pid("crashing")
	if err := c.k.KillContainer("shop", "crashing", "main"); err != nil {
		t.Fatal(err)
	}
	flag := filepath.Join(c.k.cfg.Dir, "pods", "uid-web", "containers", "main", "unready")
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// Meanwhile life goes on.
	c.eventually("the crashed container runs again", func() bool { return strings.Count(c.log("crashing", "main"), "up\n") == 2 })
	c.eventually("the pod is killed at the end of its grace period", func() bool {
		c.k.mu.Lock()
		w := c.k.workers["uid-ending"]
		c.k.mu.Unlock()
		w.n.mu.Lock()
		defer w.n.mu.Unlock()
		for p := range w.n.groups {
			if p.pod == "uid-ending" {
				return false
			}
		}
		return true
	})
	if alive(first) {
		t.Error("the killed process lives")
	}
	if p := c.pod("ending"); p == nil || p.Status.ContainerStatuses[0].State.Running == nil {
		t.Errorf("something was written during the outage: %+v", p)
	}

	c.down.Store(false)
	c.waitGone("ending")
	c.waitPod("web", "is not ready", func(p *corev1.Pod) bool { return !isReady(p) })
	c.waitPod("crashing", "shows its restart", func(p *corev1.Pod) bool {
		return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
}

func TestStatusIsWrittenOnlyWhenItChanges(t *testing.T) {
	c := newCluster(t, nil)
	c.create(server("web"))
	c.waitReady("web")
	patches := func() (n int) {
		for _, a := range c.client.Actions() {
			if p, ok := a.(clienttesting.PatchAction); ok && p.GetName() == "web" {
				n++
			}
		}
		return n
	}
	probes := func() int { return strings.Count(c.log("web", "main"), "probed") }
	settled := probes() + 1
	c.eventually("readiness is probed once more", func() bool { return probes() >= settled })
	c.client.ClearActions()
	c.eventually("and twice more, which tells nothing new", func() bool { return probes() >= settled+2 })
	if n := patches(); n > 0 {
		t.Errorf("%d patches although nothing changed", n)
	}
	// What somebody else makes of the status is put right, as after an outage that
	// made the node controller give the pod up.
	c.edit("web", func(p *corev1.Pod) { condition(p.Status.Conditions, corev1.PodReady).Status = corev1.ConditionFalse })
	c.waitReady("web")
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
