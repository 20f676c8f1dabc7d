package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// recorder writes Kubernetes events, one after the other. Events are for people
// who look on: when the API server is away or slow they are dropped, and they
// never hold a worker up.
type recorder struct {
	client kubernetes.Interface
	log    *slog.Logger
	queue  chan podEvent
}

type podEvent struct {
	n     *node
	event *corev1.Event
}

func newRecorder(client kubernetes.Interface, log *slog.Logger) *recorder {
	return &recorder{client: client, log: log, queue: make(chan podEvent, 1024)}
}

// emit records an event of a pod on n. Kind is corev1.EventTypeNormal or
// EventTypeWarning; container may be empty.
func (r *recorder) emit(n *node, pod *corev1.Pod, container, kind, reason, message string) {
	now := metav1.Now()
	ref := corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
	if container != "" {
		ref.FieldPath = fmt.Sprintf("spec.containers{%s}", container)
	}
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, Name: fmt.Sprintf("%s.%x", pod.Name, now.UnixNano())},
		InvolvedObject: ref, Type: kind, Reason: reason, Message: message,
		Source:         corev1.EventSource{Component: "kubelet", Host: n.spec.Name},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	select {
	case r.queue <- podEvent{n, e}:
	default:
		r.log.Debug("event dropped", "pod", pod.Name, "reason", reason)
	}
}

func (r *recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.queue:
			if ctx.Err() != nil || e.n.ctx.Err() != nil {
				continue // nothing is written for a machine that is gone
			}
			call, cancel := context.WithTimeout(e.n.ctx, 2*time.Second)
			if _, err := r.client.CoreV1().Events(e.event.Namespace).Create(call, e.event, metav1.CreateOptions{}); err != nil {
				r.log.Debug("event dropped", "pod", e.event.InvolvedObject.Name, "reason", e.event.Reason, "err", err)
			}
			cancel()
		}
	}
}
