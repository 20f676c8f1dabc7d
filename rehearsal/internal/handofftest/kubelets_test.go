package handofftest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// kubelets plays the kubelets of all nodes: pods that are scheduled run, those
// that may be Ready are, and those that are terminating end.
type kubelets struct {
	t      *testing.T
	client kubernetes.Interface

	mu   sync.Mutex
	hold bool            // new pods do not become Ready
	held map[string]bool // namespaces in which they do not
	dead map[string]bool // nodes whose kubelets are no more
}

// testLabel of a node names the test that it is for.
const testLabel = "evenkeel.dev/test"

func startKubelets(t *testing.T, client kubernetes.Interface) *kubelets {
	k := &kubelets{t: t, client: client, held: make(map[string]bool), dead: make(map[string]bool)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); k.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return k
}

func (k *kubelets) holdBack(hold bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hold = hold
}

// holdBackIn is holdBack for the pods of one namespace.
func (k *kubelets) holdBackIn(namespace string, hold bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[namespace] = hold
}

// kill ends a node's kubelet: nothing happens to its pods any more.
func (k *kubelets) kill(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead[node] = true
}

// run watches pods, and looks at all of them again now and then: what was held
// back may have become free.
func (k *kubelets) run(ctx context.Context) {
	for ctx.Err() == nil {
		pods, err := k.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err == nil {
			for i := range pods.Items {
				k.sync(ctx, &pods.Items[i])
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (k *kubelets) sync(ctx context.Context, p *corev1.Pod) {
	k.mu.Lock()
	held, dead := k.hold || k.held[p.Namespace], k.dead[p.Spec.NodeName]
	k.mu.Unlock()
	if p.Spec.NodeName == "" || dead {
		return
	}
	if p.DeletionTimestamp != nil {
		err := k.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, *metav1.NewDeleteOptions(0))
		k.check(ctx, err)
		return
	}
	if held || isReady(p) {
		return
	}
	now := metav1.Now()
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
	}
	_, err := k.client.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{})
	k.check(ctx, err)
}

// check passes over what a busy cluster answers as a matter of course.
func (k *kubelets) check(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		k.t.Logf("kubelet: %v", err)
	}
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func addNode(t *testing.T, client kubernetes.Interface, name, test string) {
	t.Helper()
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("50"),
	}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name, testLabel: test}},
		Spec:       corev1.NodeSpec{ProviderID: fmt.Sprintf("aws:///us-east-1a/%s", instanceOf(name))},
		Status: corev1.NodeStatus{
			Capacity: room, Allocatable: room,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
		},
	}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func instanceOf(node string) string { return "i-0" + node }
