package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
)

// The waits between attempts to write a status. The longest is short, because
// what a rehearsal measures after an outage should not be our back-off.
const (
	firstWriteRetry = 100 * time.Millisecond
	lastWriteRetry  = time.Second
)

// report is what a worker wants the API to say of its pod.
type report struct {
	seen  *corev1.Pod      // the pod as the API showed it last
	own   corev1.PodStatus // see podState.status
	final bool             // the pod has ended and was deleted: remove the object
}

// statusWriter brings one pod's reports to the API, the newest one always, and
// tries until it succeeds. It writes only what differs from what the API has.
type statusWriter struct {
	client kubernetes.Interface
	log    *slog.Logger
	in     chan report // of capacity 1; put replaces what has not been taken

	// Owned by run.
	base *corev1.Pod // the newest version of the pod that was seen or written
}

func newStatusWriter(client kubernetes.Interface, log *slog.Logger, pod *corev1.Pod) *statusWriter {
	return &statusWriter{client: client, log: log, in: make(chan report, 1), base: pod}
}

// put is called by one goroutine only, the pod's worker.
func (s *statusWriter) put(r report) {
	select {
	case <-s.in:
	default:
	}
	s.in <- r
}

// run ends with ctx or when the object is gone.
func (s *statusWriter) run(ctx context.Context) {
	wait := firstWriteRetry
	var r report
	for retry := false; ; {
		if retry {
			if !sleep(ctx, wait) {
				return
			}
			wait = min(2*wait, lastWriteRetry)
			select {
			case r = <-s.in:
			default:
			}
		} else {
			wait = firstWriteRetry
			select {
			case r = <-s.in:
			case <-ctx.Done():
				return
			}
		}
		gone, err := s.write(ctx, r)
		if gone || ctx.Err() != nil {
			return
		}
		if retry = err != nil; retry {
			s.log.Debug("status not written", "err", err, "retry", wait)
		}
	}
}

// write reports whether the object is gone, so that nothing is left to write.
func (s *statusWriter) write(ctx context.Context, r report) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// Not every version that the watch shows is news: those that we wrote come
	// back.
	if order, err := resourceversion.CompareResourceVersion(r.seen.ResourceVersion, s.base.ResourceVersion); err != nil || order > 0 {
		s.base = r.seen
	}
	pods := s.client.CoreV1().Pods(s.base.Namespace)
	want := mergeStatus(s.base.Status, r.own)
	if !equality.Semantic.DeepEqual(s.base.Status, want) {
		patch, err := statusPatch(s.base, want)
		if err != nil {
			return false, err
		}
		pod, err := pods.Patch(ctx, s.base.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		switch {
		case apierrors.IsNotFound(err):
			return true, nil
		case apierrors.IsConflict(err) || apierrors.IsInvalid(err):
			// Somebody else wrote at the same moment, or the name belongs to another
			// pod by now.
			now, getErr := pods.Get(ctx, s.base.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(getErr) || getErr == nil && now.UID != s.base.UID {
				return true, nil
			}
			if getErr == nil {
				s.base = now
			}
			return false, fmt.Errorf("patching the status: %w", err)
		case err != nil:
			return false, fmt.Errorf("patching the status: %w", err)
		}
		s.base = pod
	}
	if !r.final {
		return false, nil
	}
	now := int64(0)
	err = pods.Delete(ctx, s.base.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(s.base.UID)),
	})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return true, nil
	}
	return false, fmt.Errorf("removing the pod object: %w", err)
}

// statusPatch changes base's status to want. It carries the UID, so that it
// cannot meet a namesake.
func statusPatch(base *corev1.Pod, want corev1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(corev1.Pod{Status: base.Status})
	if err != nil {
		return nil, fmt.Errorf("encoding a status: %w", err)
	}
	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: base.UID}, Status: want})
	if err != nil {
		return nil, fmt.Errorf("encoding a status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("computing a status patch: %w", err)
	}
	return patch, nil
}
