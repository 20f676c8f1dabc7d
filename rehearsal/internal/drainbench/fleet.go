package drainbench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// span is a range of durations, both ends included.
type span struct{ min, max time.Duration }

// fleet plays the kubelets of all nodes: a pod that is bound becomes Ready a while
// later, and one that is asked to go is gone a while later. It is told of pods by
// whoever watches them, so that there is one watch for all.
type fleet struct {
	ctx         context.Context
	client      kubernetes.Interface
	log         *slog.Logger
	ready, gone span
	// quick leaves the pauses out, while a cluster is being set up.
	quick atomic.Bool
	slots chan struct{} // bounds the writes under way
	wg    sync.WaitGroup

	mu      sync.Mutex
	random  *rand.Rand
	started map[types.UID]bool
	ending  map[types.UID]bool
	address uint32
}

func newFleet(ctx context.Context, client kubernetes.Interface, ready, gone span, seed uint64, log *slog.Logger) *fleet {
	return &fleet{
		ctx: ctx, client: client, log: log, ready: ready, gone: gone,
		slots: make(chan struct{}, 32), random: rand.New(rand.NewPCG(seed, 5)),
		started: make(map[types.UID]bool), ending: make(map[types.UID]bool),
	}
}

// pod is told of a pod as it is now.
func (f *fleet) pod(p *corev1.Pod) {
	if p.Spec.NodeName == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case p.DeletionTimestamp != nil:
		if !f.ending[p.UID] {
			f.ending[p.UID] = true
			f.after(f.pause(f.gone), func() error { return f.end(p.Namespace, p.Name, p.UID) })
		}
	case !f.started[p.UID]:
		f.started[p.UID] = true
		if isReady(p) {
			return
		}
		f.address++
		address := fmt.Sprintf("10.%d.%d.%d", 128+f.address>>16&0x7f, f.address>>8&0xff, f.address&0xff)
		f.after(f.pause(f.ready), func() error { return f.begin(p.Namespace, p.Name, address) })
	}
}

// podGone is told that a pod's object is gone.
func (f *fleet) podGone(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.started, uid)
	delete(f.ending, uid)
}

func (f *fleet) pause(s span) time.Duration {
	if f.quick.Load() {
		return 0
	}
	return s.min + time.Duration(f.random.Int64N(int64(s.max-s.min)+1))
}

// after does something later, again until it is done.
func (f *fleet) after(d time.Duration, do func() error) {
	f.wg.Go(func() {
		if !sleep(f.ctx, d) {
			return
		}
		for {
			select {
			case f.slots <- struct{}{}:
			case <-f.ctx.Done():
				return
			}
			err := do()
			<-f.slots
			if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || f.ctx.Err() != nil {
				return
			}
			f.log.Debug("playing a kubelet", "err", err)
			if !sleep(f.ctx, 250*time.Millisecond) { // the API server may be stopped
				return
			}
		}
	})
}

// begin reports a pod as running and Ready.
func (f *fleet) begin(namespace, name, address string) error {
	now := time.Now().UTC().Format(time.RFC3339)
	condition := func(t corev1.PodConditionType) map[string]any {
		return map[string]any{"type": t, "status": "True", "lastTransitionTime": now}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"phase": "Running", "podIP": address, "podIPs": []any{map[string]any{"ip": address}},
		"conditions": []any{condition(corev1.PodReady), condition(corev1.ContainersReady), condition(corev1.PodInitialized)},
	}})
	if err != nil {
		return err
	}
	_, err = f.client.CoreV1().Pods(namespace).Patch(f.ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// end removes a pod whose processes have ended.
func (f *fleet) end(namespace, name string, uid types.UID) error {
	now := int64(0)
	return f.client.CoreV1().Pods(namespace).Delete(f.ctx, name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid},
	})
}

// machine returns the Node that a kubelet of a spot instance registers. It takes
// so many pods.
func machine(i, pods int) *corev1.Node {
	name := fmt.Sprintf("node-%04d", i)
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods: *resource.NewQuantity(int64(pods), resource.DecimalSI),
	}
	zone := "us-east-1" + string(rune('a'+i%3))
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelTopologyZone: zone, corev1.LabelTopologyRegion: "us-east-1",
			corev1.LabelInstanceTypeStable: "m5.4xlarge", "karpenter.sh/capacity-type": "spot",
		}},
		Spec: corev1.NodeSpec{ProviderID: "aws:///" + zone + "/" + instanceOf(name)},
		Status: corev1.NodeStatus{
			Capacity: room, Allocatable: room,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
		},
	}
}

// instanceOf returns the ID of a node's instance.
func instanceOf(node string) string { return "i-0000000000000" + strings.TrimPrefix(node, "node-") }

// sleep waits, and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
