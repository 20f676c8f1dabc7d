package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// worker runs one pod. Everything below "Owned by run" is touched by the
// goroutine of run alone: probes, hooks and waits for processes are tasks beside
// it that post a function for it to call.
type worker struct {
	k       *Kubelet
	n       *node
	uid     types.UID
	log     *slog.Logger
	dir     string // of the pod; removed with it
	logDir  string
	updates chan podUpdate // of capacity 1; tell replaces what has not been taken
	posts   chan func()
	writer  *statusWriter
	tasks   sync.WaitGroup
	ctx     context.Context // of the tasks
	cancel  context.CancelFunc

	seen *corev1.Pod // guarded by k.mu: the newest version, for those who look from outside

	// Owned by run.
	now          time.Time // of the step under way
	wake         time.Time // when to step next if nothing happens; zero: never
	pod          *corev1.Pod
	removed      bool // the object is gone from the API
	ran          bool // the pod had ended before this worker began
	startTime    metav1.Time
	box          *sandbox // nil until it is prepared
	stopPreparer context.CancelFunc
	inits, mains []*container
	end          *ending // nil while the pod is to run
	reported     corev1.PodStatus
}

type podUpdate struct {
	pod     *corev1.Pod
	removed bool
}

// ending is the end of a pod: it was deleted or has nothing left to do.
type ending struct {
	deadline time.Time
	atOnce   bool // with a grace period of zero
}

func newWorker(k *Kubelet, n *node, pod *corev1.Pod) *worker {
	log := k.log.With("pod", pod.Namespace+"/"+pod.Name, "node", n.spec.Name)
	w := &worker{
		k: k, n: n, uid: pod.UID, log: log,
		dir:       filepath.Join(k.cfg.Dir, "pods", string(pod.UID)),
		logDir:    filepath.Join(k.cfg.Dir, "logs", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID)),
		updates:   make(chan podUpdate, 1),
		posts:     make(chan func()),
		writer:    newStatusWriter(k.cfg.Client, log, pod),
		seen:      pod,
		pod:       pod,
		startTime: stamp(time.Now()),
		ran:       pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed,
	}
	w.ctx, w.cancel = context.WithCancel(n.ctx)
	first := reasonContainerCreating
	if len(pod.Spec.InitContainers) > 0 {
		first = reasonPodInitializing
	}
	add := func(spec *corev1.Container, kind containerKind, policy corev1.RestartPolicy) *container {
		return &container{
			spec: spec, kind: kind, policy: policy,
			waiting: &corev1.ContainerStateWaiting{Reason: first},
			back:    backoff{base: k.cfg.CrashBackoff, forgive: k.cfg.CrashForgive},
		}
	}
	for i := range pod.Spec.InitContainers {
		spec, kind, policy := &pod.Spec.InitContainers[i], initContainer, corev1.RestartPolicyOnFailure
		switch {
		case isSidecar(spec):
			kind, policy = sidecar, corev1.RestartPolicyAlways
		case pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
			policy = corev1.RestartPolicyNever
		}
		w.inits = append(w.inits, add(spec, kind, policy))
	}
	for i := range pod.Spec.Containers {
		spec := &pod.Spec.Containers[i]
		w.mains = append(w.mains, add(spec, mainContainer, policyOf(pod, spec)))
	}
	return w
}

// tell hands the worker the newest version of its pod. Callers hold k.mu, so
// that there is one at a time.
func (w *worker) tell(u podUpdate) {
	select {
	case <-w.updates:
	default:
	}
	w.updates <- u
}

// run returns when the pod's object is gone from the API and its processes are
// gone from the machine, or when the machine has lost power.
func (w *worker) run() {
	defer func() {
		w.cancel()
		w.tasks.Wait() // for the processes, too: each has a task that waits for it
		if w.box != nil {
			w.n.giveAddress(w.k.addrs, w.box.ip)
		}
		if err := os.RemoveAll(w.dir); err != nil {
			w.log.Warn("removing the pod's folder", "err", err)
		}
	}()
	w.task(func() { w.writer.run(w.ctx) })
	if !w.ran {
		w.prepare()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if timer.Stop(); !w.wake.IsZero() {
			timer.Reset(time.Until(w.wake))
		}
		select {
		case <-w.ctx.Done():
			return
		case u := <-w.updates:
			w.now = time.Now()
			w.observe(u)
		case f := <-w.posts:
			w.now = time.Now()
			f()
		case <-timer.C:
			w.now = time.Now()
		}
		if w.step(); w.removed && !anyAlive(w.containers()) {
			return
		}
	}
}

// task runs f beside the worker, which does not end before f has.
func (w *worker) task(f func()) { w.tasks.Go(f) }

// post makes the worker call f, and reports false if the worker has ended or is
// about to. It is for tasks.
func (w *worker) post(f func()) bool {
	select {
	case w.posts <- f:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// wakeAt makes sure that the worker steps at t at the latest.
func (w *worker) wakeAt(t time.Time) {
	if w.wake.IsZero() || t.Before(w.wake) {
		w.wake = t
	}
}

// observe takes note of a change of the object.
func (w *worker) observe(u podUpdate) {
	before := w.pod
	w.pod, w.removed = u.pod, w.removed || u.removed
	if !maps.Equal(before.Labels, u.pod.Labels) || !maps.Equal(before.Annotations, u.pod.Annotations) {
		w.refreshDownward()
	}
	switch {
	case u.removed:
		// Removed while we ran it: nobody waits for a graceful end.
		w.finish(0)
	case u.pod.DeletionTimestamp != nil:
		grace := w.grace()
		if s := u.pod.DeletionGracePeriodSeconds; s != nil {
			grace = time.Duration(*s) * time.Second
		}
		w.finish(grace)
	}
}

func (w *worker) refreshDownward() {
	if w.box == nil {
		return
	}
	for _, f := range w.box.downward {
		if err := f.write(w.pod); err != nil {
			w.log.Warn("refreshing a file of the downward API", "path", f.path, "err", err)
		}
	}
}

// grace is the time that the pod asks for between the wish to end it and a kill.
func (w *worker) grace() time.Duration {
	if s := w.pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// finish makes the pod end within the grace period, counted from now as kubelets
// do. A later call can shorten it.
func (w *worker) finish(grace time.Duration) {
	deadline := w.now.Add(grace)
	if w.end == nil {
		w.end = &ending{deadline: deadline}
	}
	if deadline.Before(w.end.deadline) {
		w.end.deadline = deadline
	}
	w.end.atOnce = w.end.atOnce || grace <= 0
	if w.stopPreparer != nil {
		w.stopPreparer()
	}
}

// step compares what is with what should be, acts on the difference and reports.
func (w *worker) step() {
	w.wake = time.Time{}
	if w.box != nil && w.end == nil {
		w.stepRunning()
	}
	for _, c := range w.containers() {
		switch {
		case c.run == nil && c.ended != nil && w.end != nil:
			c.waiting = nil // for a restart that will not come
		case w.end != nil:
			w.stop(c, w.end.deadline)
		default:
			w.advance(c)
		}
	}
	w.report()
}

// stepRunning starts the containers whose turn it is: init containers one after
// the other, a sidecar staying behind once it has started, then all others.
func (w *worker) stepRunning() {
	initialized := true
	for _, c := range w.inits {
		if c.succeeded() {
			continue
		}
		w.converge(c)
		// The second look is for one that could not even be started.
		if initialized = c.kind == sidecar && c.served || c.succeeded(); !initialized {
			break
		}
	}
	if initialized {
		for _, c := range w.mains {
			w.converge(c)
		}
	}
	unfinished := func(c *container) bool { return !c.finished() }
	if slices.ContainsFunc(w.inits, (*container).failed) || !slices.ContainsFunc(w.mains, unfinished) {
		w.finish(max(w.grace(), time.Second)) // nothing is left to do; sidecars are asked to end
	}
}

func (w *worker) containers() []*container { return slices.Concat(w.inits, w.mains) }

// report hands the pod's status to the writer, which knows whether it is news.
func (w *worker) report() {
	if w.removed {
		return
	}
	s := podState{
		pod: w.pod, hostIP: w.n.ip.String(), startTime: w.startTime,
		terminal: w.end != nil && !anyAlive(w.containers()),
	}
	r := report{seen: w.pod, final: s.terminal && w.pod.DeletionTimestamp != nil}
	if w.ran {
		// Whatever is said of a pod that had ended before stays as it is.
		r.own, r.final = w.pod.Status, w.pod.DeletionTimestamp != nil
		w.writer.put(r)
		return
	}
	if w.box != nil {
		s.podIP = w.box.ip.String()
	}
	for _, c := range w.inits {
		s.inits = append(s.inits, c.status())
	}
	for _, c := range w.mains {
		s.mains = append(s.mains, c.status())
	}
	w.reported = s.status(w.reported, w.now)
	r.own = w.reported
	w.writer.put(r)
}

func (w *worker) event(c *container, reason, message string) {
	w.k.events.emit(w.n, w.pod, c.spec.Name, corev1.EventTypeNormal, reason, message)
}

func (w *worker) warn(c *container, reason, message string) {
	w.k.events.emit(w.n, w.pod, c.spec.Name, corev1.EventTypeWarning, reason, message)
}
