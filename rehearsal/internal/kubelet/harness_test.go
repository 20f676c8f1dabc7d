package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// hung is how long a condition may take before a test gives up. It bounds
// nothing but a test that hangs.
const hung = 30 * time.Second

// cluster is a Kubelet that runs against a memory API.
type cluster struct {
	*testing.T
	k      *Kubelet
	client *fake.Clientset
	net    *podnet.Net
	down   atomic.Bool // the API server refuses connections

	stop func() // ends Run and waits for it; may be called again

	removed sync.Map // name -> corev1.PodStatus that the pod had when it was removed
}

// newCluster runs a Kubelet with one node, "n1", until the test ends.
func newCluster(t *testing.T, change func(*Config), objects ...runtime.Object) *cluster {
	t.Helper()
	t.Parallel() // these tests wait more than they work
	share, err := podnet.Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { share.Close() })
	c := &cluster{T: t, client: fake.NewClientset(objects...), net: share}
	c.countVersions()
	c.client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		if c.down.Load() {
			return true, nil, errors.New("connection refused")
		}
		return false, nil, nil
	})
	c.client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if p := c.pod(a.(clienttesting.DeleteAction).GetName()); p != nil {
			c.removed.Store(p.Name, p.Status)
		}
		return false, nil, nil
	})
	c.client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "token" {
			return false, nil, nil
		}
		spec := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenRequest).Spec
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
			Token:               "token for pod " + spec.BoundObjectRef.Name,
			ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour)),
		}}, nil
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Client: c.client, Net: share, Dir: t.TempDir(), CrashBackoff: 50 * time.Millisecond,
		Images: map[string]Image{
			"sh":    {Command: []string{"/bin/sh", "-c"}},
			"serve": {Command: []string{self}, Env: map[string]string{helperEnv: "serve"}},
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if change != nil {
		change(&cfg)
	}
	c.k = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.k.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(hung):
			t.Error("Run does not return")
		}
	})
	t.Cleanup(c.stop)
	if err := c.k.AddNode(t.Context(), testNode("n1")); err != nil {
		t.Fatal(err)
	}
	return c
}

// countVersions gives pods resource versions, which the memory API does not.
func (c *cluster) countVersions() {
	version := 0 // guarded by the client's lock, under which reactors run
	next := func() string { version++; return strconv.Itoa(version) }
	store := clienttesting.ObjectReaction(c.client.Tracker())
	c.client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		a.(clienttesting.CreateAction).GetObject().(*corev1.Pod).ResourceVersion = next()
		return false, nil, nil
	})
	c.client.PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		patch := a.(clienttesting.PatchActionImpl)
		var body map[string]any
		if err := json.Unmarshal(patch.Patch, &body); err != nil {
			return true, nil, err
		}
		meta, _ := body["metadata"].(map[string]any)
		if meta == nil {
			meta = make(map[string]any)
			body["metadata"] = meta
		}
		meta["resourceVersion"] = next()
		var err error
		if patch.Patch, err = json.Marshal(body); err != nil {
			return true, nil, err
		}
		return store(patch)
	})
}

func testNode(name string) NodeSpec {
	return NodeSpec{
		Name: name, InstanceID: "i-" + name, InstanceType: "m5.large", Region: "us-east-1", Zone: "us-east-1a",
		Pool: "general", CapacityType: "spot", CPU: resource.MustParse("2"), Memory: resource.MustParse("8Gi"), Pods: 110,
	}
}

// testPod is a pod on n1 with one container that runs script.
func testPod(name, script string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, ServiceAccountName: "default",
			TerminationGracePeriodSeconds: new(int64(30)),
			Containers:                    []corev1.Container{{Name: "main", Image: "sh", Args: []string{script}}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

// forever is a script that keeps running until SIGTERM. The shell's own remarks
// on its children go nowhere.
const forever = `exec 2>/dev/null; trap 'echo got term; exit 0' TERM; echo up; while :; do sleep 0.02; done`

// stubborn is a script that does not heed SIGTERM.
const stubborn = `exec 2>/dev/null; trap 'echo ignoring term' TERM; echo up; while :; do sleep 0.02; done`

// showPID prints the shell's process number; $$ is an escape in an argument.
const showPID = `echo $$$$; `

func (c *cluster) create(pod *corev1.Pod) {
	c.Helper()
	if _, err := c.client.CoreV1().Pods(pod.Namespace).Create(c.Context(), pod, metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
}

// pod returns what the API has, or nil.
func (c *cluster) pod(name string) *corev1.Pod {
	// Through the tracker, which answers while the API server is down.
	obj, err := c.client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("pods"), "shop", name)
	if err != nil {
		return nil
	}
	return obj.(*corev1.Pod)
}

// edit changes a pod in the API, as another client would.
func (c *cluster) edit(name string, change func(*corev1.Pod)) {
	c.Helper()
	old := c.pod(name)
	pod := old.DeepCopy()
	change(pod)
	before, err1 := json.Marshal(old)
	after, err2 := json.Marshal(pod)
	patch, err3 := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	_, err4 := c.client.CoreV1().Pods("shop").Patch(c.Context(), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		c.Fatal(err)
	}
}

// delete asks for a graceful end, as the API server records it.
func (c *cluster) delete(name string, grace int64) {
	c.Helper()
	c.edit(name, func(p *corev1.Pod) {
		now := metav1.Now()
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
	})
}

// eventually waits until ok holds. It says what for if that never comes.
func (c *cluster) eventually(what string, ok func() bool) {
	c.Helper()
	for end := time.Now().Add(hung); !ok(); {
		if time.Now().After(end) {
			for _, name := range c.podNames() {
				c.Logf("pod %s: %+v\n%s", name, c.pod(name).Status, c.log(name, "main"))
			}
			c.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (c *cluster) podNames() []string {
	list, err := c.client.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), "shop")
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range list.(*corev1.PodList).Items {
		names = append(names, p.Name)
	}
	return names
}

// waitPod waits until the pod in the API is as wanted, and returns it.
func (c *cluster) waitPod(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	c.Helper()
	var pod *corev1.Pod
	c.eventually("pod "+name+" "+what, func() bool { pod = c.pod(name); return pod != nil && ok(pod) })
	return pod
}

func (c *cluster) waitReady(name string) *corev1.Pod {
	c.Helper()
	return c.waitPod(name, "is ready", isReady)
}

// waitGone waits until the pod's object was removed, checks how, and returns the
// status that it had then.
func (c *cluster) waitGone(name string) corev1.PodStatus {
	c.Helper()
	c.eventually("pod "+name+" is gone", func() bool { return c.pod(name) == nil })
	for _, a := range c.client.Actions() {
		if d, ok := a.(clienttesting.DeleteActionImpl); ok && d.Name == name {
			opts := d.DeleteOptions
			if opts.GracePeriodSeconds == nil || *opts.GracePeriodSeconds != 0 || opts.Preconditions == nil || *opts.Preconditions.UID != types.UID("uid-"+name) {
				c.Errorf("pod %s was deleted with %+v", name, opts)
			}
		}
	}
	status, _ := c.removed.Load(name)
	return status.(corev1.PodStatus)
}

func isReady(p *corev1.Pod) bool { return conditionIs(p, corev1.PodReady, corev1.ConditionTrue) }

func conditionIs(p *corev1.Pod, t corev1.PodConditionType, s corev1.ConditionStatus) bool {
	got := condition(p.Status.Conditions, t)
	return got != nil && got.Status == s
}

// log returns what the container has written so far.
func (c *cluster) log(pod, container string) string {
	data, err := os.ReadFile(filepath.Join(c.k.cfg.Dir, "logs", "shop_"+pod+"_uid-"+pod, container+".log"))
	if err != nil {
		return ""
	}
	return string(data)
}

func (c *cluster) waitLog(pod, container, want string) {
	c.Helper()
	c.eventually(fmt.Sprintf("%s/%s logs %q", pod, container, want), func() bool { return strings.Contains(c.log(pod, container), want) })
}

// twin returns where the pod's processes listen.
func (c *cluster) twin(p *corev1.Pod) string {
	return c.net.Loopback(netip.MustParseAddr(p.Status.PodIP)).String()
}

// eventReasons returns the reasons of the events so far.
func (c *cluster) eventReasons() []string {
	list, err := c.client.Tracker().List(corev1.SchemeGroupVersion.WithResource("events"), corev1.SchemeGroupVersion.WithKind("Event"), "shop")
	if err != nil {
		c.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, e := range list.(*corev1.EventList).Items {
		seen[e.Reason] = true
	}
	return slices.Sorted(maps.Keys(seen))
}
