package kubelet

import (
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clienttesting "k8s.io/client-go/testing"
)

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
