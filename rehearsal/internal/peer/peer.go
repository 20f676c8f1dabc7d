// Package peer handles interruptions as today's tools do: at the notice the node
// is cordoned and all its pods are evicted at once, through the Eviction API,
// again and again until the budgets let them go. It is what Evenkeel is compared
// with. It has more than its fair share of luck: no queue backlog, no client-side
// rate limit, every node at once.
package peer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// retry is the time between attempts to evict a pod that a budget protects:
// kubectl drain waits 5 s, Karpenter up to 10 s.
const retry = time.Second

// Drainer cordons and evicts. Use New to make one.
type Drainer struct {
	client kubernetes.Interface
	queue  *aws.SQS
	log    *slog.Logger
	drains sync.WaitGroup
}

// New returns a Drainer that reads notices from a queue.
func New(client kubernetes.Interface, queue *aws.SQS, log *slog.Logger) *Drainer {
	return &Drainer{client: client, queue: queue, log: log}
}

// Run drains until ctx ends.
func (d *Drainer) Run(ctx context.Context) error {
	defer d.drains.Wait()
	return d.queue.Run(ctx, func(_ context.Context, n interruption.Notice) error { return d.notice(ctx, n) })
}

// notice cordons and starts a drain, which outlives the message: ctx is Run's.
func (d *Drainer) notice(ctx context.Context, n interruption.Notice) error {
	nodes, err := d.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	for _, node := range nodes.Items {
		if id, _ := interruption.InstanceOfProviderID(node.Spec.ProviderID); id != n.Instance {
			continue
		}
		patch := []byte(`{"spec":{"unschedulable":true}}`)
		if _, err := d.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("cordoning %s: %w", node.Name, err)
		}
		d.drains.Go(func() { d.drain(ctx, node.Name, n.Deadline) })
		return nil
	}
	return interruption.ErrNotOurs
}

// drain evicts every pod of a node until there is none, or the machine has gone.
func (d *Drainer) drain(ctx context.Context, node string, deadline time.Time) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for {
		pods, err := d.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		if err == nil {
			left := 0
			for _, p := range pods.Items {
				if mustMove(&p) {
					left++
					d.evict(ctx, &p)
				}
			}
			if left == 0 {
				return
			}
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
	}
}

func mustMove(p *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(p)
	return p.DeletionTimestamp == nil && (owner == nil || owner.Kind != "DaemonSet") &&
		p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func (d *Drainer) evict(ctx context.Context, p *corev1.Pod) {
	err := d.client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: metav1.NewPreconditionDeleteOptions(string(p.UID)),
	})
	if err != nil && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) {
		d.log.Debug("evicting", "pod", p.Name, "err", err)
	}
}
