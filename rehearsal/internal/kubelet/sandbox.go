package kubelet

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// sandbox is what a pod's containers share: their address, and what was read
// and written for them before the first one started.
type sandbox struct {
	ip       netip.Addr        // as the API shows it
	folders  map[string]string // of the volumes, by name
	downward []downwardFile    // to be written again when the pod changes
	tokens   []token           // to be written again before they expire
	sources  sources
}

// prepare readies the pod's sandbox beside the worker: start delay, volumes,
// address. It tries until it succeeds.
func (w *worker) prepare() {
	ctx, cancel := context.WithCancel(w.ctx)
	w.stopPreparer = cancel
	p := &preparer{client: w.k.cfg.Client, pod: w.pod, dir: w.dir, allocatable: w.allocatable()}
	var delay time.Duration
	if w.k.cfg.StartDelay != nil {
		delay = w.k.cfg.StartDelay(w.pod)
	}
	w.task(func() {
		defer cancel()
		if !sleep(ctx, delay) {
			return
		}
		for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
			reason, err := w.tryPrepare(ctx, p)
			if err == nil {
				if !w.post(func() { w.prepared(p.box) }) {
					w.n.giveAddress(w.k.addrs, p.box.ip)
				}
				return
			}
			if ctx.Err() != nil {
				return
			}
			w.post(func() { w.unprepared(reason, err) })
			if !sleep(ctx, wait) {
				return
			}
		}
	})
}

// tryPrepare runs in a task; of the worker it reads only what never changes.
// With an error it returns the reason for the event that tells of it.
func (w *worker) tryPrepare(ctx context.Context, p *preparer) (reason string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, dir := range []string{w.dir, w.logDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return reasonFailedMount, err
		}
	}
	if err := p.prepare(ctx); err != nil {
		return reasonFailedMount, err
	}
	if w.k.cfg.Server != "" && wantsKubeconfig(p.pod) {
		if err := p.writeKubeconfig(ctx, w.k.cfg.Server, w.k.cfg.CAFile); err != nil {
			return reasonFailedMount, err
		}
	}
	// A value that is missing now can be waited for; later nothing is read again.
	for c := range containersOf(&p.pod.Spec) {
		_, err := environment(envInput{pod: p.pod, container: c, sources: p.box.sources, allocatable: p.allocatable})
		if err != nil {
			return reasonConfigError, fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	if p.pod.Spec.HostNetwork {
		p.box.ip = w.n.ip
		return "", nil
	}
	// Last, so that an attempt that fails leaves no address taken.
	if p.box.ip, err = w.n.takeAddress(w.k.addrs); err != nil {
		return "FailedCreatePodSandBox", err
	}
	return "", nil
}

func (w *worker) prepared(box *sandbox) {
	w.box = box
	w.refreshDownward() // the pod may have changed meanwhile
	if pod := w.pod; len(box.tokens) > 0 {
		w.task(func() {
			keepTokens(w.ctx, w.k.cfg.Client, pod, box.tokens, func(err error) { w.log.Warn("renewing a token", "err", err) })
		})
	}
}

func (w *worker) unprepared(reason string, err error) {
	w.log.Warn("preparing the pod", "reason", reason, "err", err)
	w.k.events.emit(w.n, w.pod, "", corev1.EventTypeWarning, reason, err.Error())
	if reason == reasonConfigError {
		for _, c := range w.containers() {
			c.waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: err.Error()}
		}
	}
}

// envInput gathers what the container's environment is made of.
func (w *worker) envInput(c *container, image Image) envInput {
	services, _ := w.k.serviceLister().Services(w.pod.Namespace).List(labels.Everything()) // a cache has no errors
	base := map[string]string{"PATH": w.k.path, "HOME": w.dir}
	if w.k.cfg.Server != "" && wantsKubeconfig(w.pod) {
		base["KUBECONFIG"] = kubeconfigPath(w.dir)
	}
	var all []mount
	for _, m := range c.spec.VolumeMounts {
		if folder, ok := w.box.folders[m.Name]; ok {
			all = append(all, mount{path: m.MountPath, folder: filepath.Join(folder, m.SubPath)})
		}
	}
	return envInput{
		pod: w.pod, container: c.spec, image: image,
		podIP: w.k.cfg.Net.Loopback(w.box.ip), hostIP: w.k.cfg.Net.Loopback(w.n.ip),
		allocatable: w.allocatable(), sources: w.box.sources,
		services: serviceEnv(w.pod, services, w.k.cfg.Net.Loopback, w.k.cfg.Net.Port, w.k.cfg.Server),
		base:     base, mounts: newMounts(all),
	}
}

func (w *worker) allocatable() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: w.n.spec.CPU, corev1.ResourceMemory: w.n.spec.Memory}
}

// translate replaces an address of the cluster by where it is listened at.
func (w *worker) translate(host string) string {
	net := w.k.cfg.Net
	if ip, err := netip.ParseAddr(host); err == nil && (net.Pods.Contains(ip) || net.Services.Contains(ip)) {
		return net.Loopback(ip).String()
	}
	return host
}
