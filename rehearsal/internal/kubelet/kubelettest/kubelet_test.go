package kubelettest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/controlplanetest"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/kubelet"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

const hung = time.Minute

func TestMain(m *testing.M) { controlplanetest.Main(m) }

// TestLifeOfAPod follows a pod from the scheduler's decision through an outage of
// the API server to its eviction.
func TestLifeOfAPod(t *testing.T) {
	share, err := podnet.Claim()
	if err != nil {
		t.Fatal(err)
	}
	defer share.Close()
	plane := controlplanetest.StartConfig(t, controlplane.Config{ServiceCIDR: share.Services.String()})
	rest := plane.AdminConfig()
	rest.QPS, rest.Burst = 1000, 1000
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	k := kubelet.New(kubelet.Config{
		Client: client, Net: share, Dir: dir, Server: plane.URL(), CAFile: plane.CAFile(),
		Images: map[string]kubelet.Image{"sh": {Command: []string{"/bin/sh", "-c"}}},
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if err := k.AddNode(t.Context(), kubelet.NodeSpec{
		Name: "n1", InstanceID: "i-1", InstanceType: "m5.large", Region: "us-east-1", Zone: "us-east-1a", CapacityType: "spot",
		CPU: resource.MustParse("2"), Memory: resource.MustParse("4Gi"), Pods: 20,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	pods := client.CoreV1().Pods("default")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "web",
			InitContainers:     []corev1.Container{{Name: "init", Image: "sh", Args: []string{"exit 0"}}},
			Containers: []corev1.Container{{
				Name: "main", Image: "sh", Args: []string{`echo $KUBECONFIG >/shared/kubeconfig; trap 'exit 0' TERM; while :; do sleep 0.02; done`},
				VolumeMounts: []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}},
				Lifecycle:    &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}},
				ReadinessProbe: &corev1.Probe{
					ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-s", "/shared/kubeconfig"}}}, PeriodSeconds: 1,
				},
			}},
			Volumes: []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
	w, err := pods.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var assigned time.Time
	var ready *corev1.Pod
	await(t, w, "ready", func(e watch.Event) bool {
		ready = e.Object.(*corev1.Pod)
		if ready.Spec.NodeName != "" && assigned.IsZero() {
			assigned = time.Now()
		}
		return is(ready, corev1.PodReady)
	})
	t.Logf("from assigned to ready: %s", time.Since(assigned))

	// The token in its kubeconfig is its own.
	config, err := clientcmd.BuildConfigFromFlags("", fmt.Sprintf("%s/pods/%s/kubeconfig", dir, ready.UID))
	if err != nil {
		t.Fatal(err)
	}
	itself, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = itself.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) { // known, but not allowed to
		t.Errorf("listing pods as the pod: %v", err)
	}

	// A crash during an outage is reported after it.
	if err := plane.Stop(controlplane.APIServer); err != nil {
		t.Fatal(err)
	}
	if err := k.KillContainer("default", "web", "main"); err != nil {
		t.Fatal(err)
	}
	if err := plane.Start(t.Context(), controlplane.APIServer); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(hung); ; time.Sleep(20 * time.Millisecond) {
		p, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
		if err == nil && is(p, corev1.PodReady) && p.Status.ContainerStatuses[0].RestartCount == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the restart was not reported: %+v, %v", p.Status, err)
		}
	}

	if w, err = pods.Watch(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "web"}}); err != nil {
		t.Fatal(err)
	}
	var phases []corev1.PodPhase
	await(t, w, "gone", func(e watch.Event) bool {
		p := e.Object.(*corev1.Pod)
		if len(phases) == 0 || phases[len(phases)-1] != p.Status.Phase {
			phases = append(phases, p.Status.Phase)
		}
		return e.Type == watch.Deleted
	})
	if want := []corev1.PodPhase{corev1.PodRunning, corev1.PodSucceeded}; !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
}

// await reads events until ok holds for one.
func await(t *testing.T, w watch.Interface, what string, ok func(watch.Event) bool) {
	t.Helper()
	defer w.Stop()
	for timeout := time.After(hung); ; {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				t.Fatalf("the watch ended before the pod was %s", what)
			}
			if ok(e) {
				return
			}
		case <-timeout:
			t.Fatalf("the pod is not %s", what)
		}
	}
}

func is(p *corev1.Pod, t corev1.PodConditionType) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == t && c.Status == corev1.ConditionTrue })
}
