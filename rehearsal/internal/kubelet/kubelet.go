package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// Config says what a Kubelet works with. Client, Net and Dir are required.
type Config struct {
	// Client reaches the API server. Its rate limit is shared by all nodes, so it
	// should be far above a single kubelet's.
	Client kubernetes.Interface
	// Net is the rehearsal's share of the loopback range. Nodes and pods take
	// their addresses from Net.Pods; nobody else may.
	Net *podnet.Net
	// Dir takes the pods' folders (pods/<uid>, removed with the pod) and logs
	// (logs/<namespace>_<pod>_<uid>/<container>.log, kept).
	Dir string
	// Images maps a container's image to a local program. A pod with any other
	// image waits in ErrImagePull.
	Images map[string]Image
	// Server and CAFile are the API server's URL and the file with its CA, for the
	// kubeconfig of pods with a service account. No Server, no kubeconfig.
	Server, CAFile string
	// StartDelay stands for a pod's sandbox and image pull; nil means none.
	StartDelay func(*corev1.Pod) time.Duration
	// CrashBackoff is how long a container's second restart waits. As in a
	// kubelet the first one is immediate, and the wait doubles up to 30 times
	// this. Default 10 s.
	CrashBackoff time.Duration
	// CrashForgive is how long a container must have run for its earlier crashes to
	// be forgotten. Default 60 times CrashBackoff, 10 min where that is not set.
	CrashForgive time.Duration
	// Log takes the log; nil discards it.
	Log *slog.Logger
}

// Image is a local program that stands for a container image.
type Image struct {
	// Command is the entry point. A container's command replaces it; a container's
	// args are appended.
	Command []string
	// Env is overridden by a container's env.
	Env map[string]string
}

// LostPod is a pod that had a living process when its machine lost power.
type LostPod struct {
	Name, Namespace string
	UID             types.UID
	Labels          map[string]string
}

// Kubelet plays the kubelet of every node that was added to it. Its methods are
// safe for concurrent use.
type Kubelet struct {
	cfg    Config
	log    *slog.Logger
	path   string // PATH of the containers
	addrs  *addresses
	spawn  *spawner
	events *recorder

	pods     cache.SharedIndexInformer
	nodes    cache.SharedIndexInformer
	services cache.SharedIndexInformer

	workersDone sync.WaitGroup

	mu       sync.Mutex // held before a node's mu, never after it
	state    runState
	machines map[string]*node // by node name; a reclaimed one stays, dead
	workers  map[types.UID]*worker
}

type runState int

const (
	notRun runState = iota
	running
	stopping // no worker starts any more
)

// New returns a Kubelet without nodes. It starts nothing.
func New(cfg Config) *Kubelet {
	if cfg.CrashBackoff <= 0 {
		cfg.CrashBackoff = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	assigned := func(o *metav1.ListOptions) { o.FieldSelector = "spec.nodeName!=" }
	return &Kubelet{
		cfg:      cfg,
		log:      cfg.Log,
		path:     os.Getenv("PATH"),
		addrs:    newAddresses(cfg.Net),
		spawn:    newSpawner(),
		events:   newRecorder(cfg.Client, cfg.Log),
		pods:     coreinformers.NewFilteredPodInformer(cfg.Client, metav1.NamespaceAll, 0, cache.Indexers{}, assigned),
		nodes:    coreinformers.NewNodeInformer(cfg.Client, 0, cache.Indexers{}),
		services: coreinformers.NewServiceInformer(cfg.Client, metav1.NamespaceAll, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}),
		machines: make(map[string]*node),
		workers:  make(map[types.UID]*worker),
	}
}

// Run runs pods until ctx ends, kills what is left of them and returns when all
// processes are gone. Nothing is written to the API after ctx has ended. A
// Kubelet can be run once.
func (k *Kubelet) Run(ctx context.Context) error {
	k.mu.Lock()
	if k.state != notRun {
		k.mu.Unlock()
		return errors.New("running the kubelet: it has been run before")
	}
	k.state = running
	k.mu.Unlock()

	for _, dir := range []string{"pods", "logs"} {
		if err := os.MkdirAll(filepath.Join(k.cfg.Dir, dir), 0o755); err != nil {
			return fmt.Errorf("making the kubelet's folder: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer func() { cancel(); loops.Wait() }()
	for _, inf := range []cache.SharedIndexInformer{k.services, k.nodes, k.pods} {
		loops.Go(func() { inf.RunWithContext(ctx) })
	}
	// A worker needs the services for its containers' environment from the start,
	// so pods are looked at when both caches are filled.
	if cache.WaitForCacheSync(ctx.Done(), k.services.HasSynced, k.nodes.HasSynced, k.pods.HasSynced) {
		if _, err := k.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(obj any) { k.see(obj.(*corev1.Pod), false) },
			UpdateFunc: func(old, obj any) {
				before, pod := old.(*corev1.Pod), obj.(*corev1.Pod)
				if before.UID != pod.UID { // deleted and made again between two lists
					k.see(before, true)
				}
				k.see(pod, false)
			},
			DeleteFunc: func(obj any) {
				if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = gone.Obj
				}
				if pod, ok := obj.(*corev1.Pod); ok {
					k.see(pod, true)
				}
			},
		}); err != nil {
			return fmt.Errorf("watching pods: %w", err)
		}
	}
	loops.Go(func() { k.heartbeat(ctx) })
	loops.Go(func() { k.events.run(ctx) })

	// The spawner's thread must outlive every process that it started.
	spawnCtx, stopSpawner := context.WithCancel(context.WithoutCancel(ctx))
	loops.Go(func() { k.spawn.run(spawnCtx) })
	defer stopSpawner()

	<-ctx.Done()
	k.mu.Lock()
	k.state = stopping
	for _, n := range k.machines {
		n.powerOff(nil)
	}
	k.mu.Unlock()
	k.workersDone.Wait()
	return nil
}

// see tells a pod's worker what the API says of the pod, and starts the worker
// of a pod that is new here.
func (k *Kubelet) see(pod *corev1.Pod, removed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state != running {
		return
	}
	w, ok := k.workers[pod.UID]
	if !ok {
		n := k.machines[pod.Spec.NodeName]
		if removed || n == nil || n.ctx.Err() != nil {
			return // not ours, or of a machine that is gone: nobody is left to act for it
		}
		w = newWorker(k, n, pod)
		k.workers[pod.UID] = w
		k.workersDone.Go(func() {
			w.run()
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.workers, pod.UID)
		})
	}
	w.seen = pod
	w.tell(podUpdate{pod: pod, removed: removed})
}

// Reclaim takes the node's machine away, as a cloud does at the deadline: its
// addresses fall silent, then every process group on it is killed at once,
// without a signal that could be handled. From then on nothing is written for
// the node; its Node and Pod objects stay as they are, and deleting one of its
// pods is completed by nobody but the cluster's own garbage collection.
// It returns the pods that had a living process, in no particular order.
func (k *Kubelet) Reclaim(node string) ([]LostPod, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.machines[node]
	if n == nil {
		return nil, fmt.Errorf("reclaiming node %s: no such node here", node)
	}
	if n.ctx.Err() != nil {
		return nil, fmt.Errorf("reclaiming node %s: its machine is gone already", node)
	}
	var lost []LostPod
	for uid := range n.powerOff(k.cfg.Net) {
		// A worker with a living process is registered until that process is reaped
		// and k.mu, which we hold, is free.
		pod := k.workers[uid].seen
		lost = append(lost, LostPod{Name: pod.Name, Namespace: pod.Namespace, UID: uid, Labels: pod.Labels})
	}
	k.log.Info("machine reclaimed", "node", node, "pods", len(lost))
	return lost, nil
}

// KillContainer kills the container's process group with SIGKILL, as a kernel
// short of memory would. The pod's restart policy decides what comes next.
func (k *Kubelet) KillContainer(namespace, pod, container string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for uid, w := range k.workers {
		if w.seen.Namespace != namespace || w.seen.Name != pod {
			continue
		}
		if w.n.killContainer(uid, container) {
			return nil
		}
	}
	return fmt.Errorf("killing container %s of pod %s/%s: it is not running here", container, namespace, pod)
}

// serviceLister reads the services from the cache.
func (k *Kubelet) serviceLister() corelisters.ServiceLister {
	return corelisters.NewServiceLister(k.services.GetIndexer())
}
