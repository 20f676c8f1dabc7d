package kube

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

// reconnect is how a broken watch is tried again. An API server that comes back
// in the middle of a notice must be heard at once, so the pause stays short; the
// default of client-go grows to 30 s, a quarter of an AWS notice.
var reconnect = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Cap: time.Second, Steps: 10, Jitter: 0.2}

// Watch sends what the cluster holds and then what changes, until ctx ends. One
// Update is Synced: the first after every kind has been listed. Nothing of an API object is kept but what
// convert makes of it.
func (c *Client) Watch(ctx context.Context, updates chan<- cluster.Update) error {
	kinds := []struct {
		client   rest.Interface
		resource string
		example  runtime.Object
	}{
		{c.api.CoreV1().RESTClient(), "nodes", &corev1.Node{}},
		{c.api.CoreV1().RESTClient(), "pods", &corev1.Pod{}},
		{c.api.CoreV1().RESTClient(), "services", &corev1.Service{}},
		{c.api.CoreV1().RESTClient(), "replicationcontrollers", &corev1.ReplicationController{}},
		{c.api.AppsV1().RESTClient(), "replicasets", &appsv1.ReplicaSet{}},
		{c.api.AppsV1().RESTClient(), "deployments", &appsv1.Deployment{}},
		{c.api.AppsV1().RESTClient(), "statefulsets", &appsv1.StatefulSet{}},
		{c.api.BatchV1().RESTClient(), "jobs", &batchv1.Job{}},
		{c.api.PolicyV1().RESTClient(), "poddisruptionbudgets", &policyv1.PodDisruptionBudget{}},
	}
	var unlisted atomic.Int64
	unlisted.Store(int64(len(kinds)))
	var wg sync.WaitGroup
	logger := klog.FromContext(ctx)
	for _, k := range kinds {
		s := &sink{
			resource: k.resource, client: c, known: make(map[string]cluster.Object),
			send: func(u cluster.Update) {
				select {
				case updates <- u:
				case <-ctx.Done():
				}
			},
			listed: func() bool { return unlisted.Add(-1) == 0 },
		}
		backoff := reconnect
		r := cache.NewReflectorWithOptions(
			cache.NewListWatchFromClient(k.client, k.resource, "", fields.Everything()),
			k.example, s, cache.ReflectorOptions{Logger: &logger, Name: k.resource, Backoff: &backoff})
		wg.Go(func() { r.RunWithContext(ctx) })
	}
	wg.Wait()
	return nil
}

// sink receives what one reflector hears, and passes it on as changes. A
// reflector calls it from one goroutine.
type sink struct {
	resource string
	client   *Client
	known    map[string]cluster.Object // by namespace/name: what was passed on and is still there
	send     func(cluster.Update)
	listed   func() bool // reports whether all sinks have been filled once
	filled   bool
}

var _ cache.TransformingStore = (*sink)(nil)

// item is what is kept of an API object while a list of them comes in.
type item struct {
	metav1.ObjectMeta // namespace and name only
	object            cluster.Object
	version           nodeapi.Version // of a node
}

// Transformer turns objects into items as they arrive. Without it, a list of
// thousands of pods would be held in full before the first could be forgotten.
func (s *sink) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return s.item(obj) }
}

func (s *sink) item(obj any) (*item, error) {
	if it, ok := obj.(*item); ok {
		return it, nil
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.resource, err)
	}
	it := &item{ObjectMeta: metav1.ObjectMeta{Namespace: m.GetNamespace(), Name: m.GetName()}}
	if it.object, err = convert(obj); err != nil {
		// One object that makes no sense must not hide all the others.
		s.client.log.Warn("watching "+s.resource, "err", err)
	}
	if n, ok := obj.(*corev1.Node); ok {
		it.version = nodeapi.VersionOf(n)
	}
	return it, nil
}

func (s *sink) Add(obj any) error    { return s.put(obj) }
func (s *sink) Update(obj any) error { return s.put(obj) }

func (s *sink) put(obj any) error {
	it, err := s.item(obj)
	if err != nil {
		return err
	}
	if ch, ok := s.change(it); ok {
		s.send(cluster.Update{Changes: []cluster.Change{ch}})
	}
	return nil
}

func (s *sink) Delete(obj any) error {
	k, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return fmt.Errorf("deleting from %s: %w", s.resource, err)
	}
	if ch, ok := s.gone(k); ok {
		s.send(cluster.Update{Changes: []cluster.Change{ch}})
	}
	return nil
}

// Replace is told of everything that there is: after the first list, and after a
// watch was broken for too long. What is known and not in it has gone.
func (s *sink) Replace(objs []any, _ string) error {
	there := make(map[string]bool, len(objs))
	var changes []cluster.Change
	for _, obj := range objs {
		it, err := s.item(obj)
		if err != nil {
			return err
		}
		there[nameOf(it.Namespace, it.Name)] = true
		if ch, ok := s.change(it); ok {
			changes = append(changes, ch)
		}
	}
	for k := range s.known {
		if !there[k] {
			ch, _ := s.gone(k)
			changes = append(changes, ch)
		}
	}
	u := cluster.Update{Changes: changes}
	if !s.filled {
		s.filled = true
		// The last one to be filled sends its list first, and then the word.
		s.send(u)
		u = cluster.Update{Synced: s.listed()}
	}
	s.send(u)
	return nil
}

func (s *sink) Resync() error { return nil }

// change returns what an item changes. It is false if that is nothing: most of
// what happens to an object concerns no decision.
func (s *sink) change(it *item) (cluster.Change, bool) {
	k := nameOf(it.Namespace, it.Name)
	if it.object == nil {
		return s.gone(k) // there was something to know about it, perhaps
	}
	if n, ok := it.object.(*cluster.Node); ok {
		s.client.remember(n.Name, it.version)
	}
	if old := s.known[k]; old != nil && cluster.Equal(old, it.object) {
		return cluster.Change{}, false
	}
	s.known[k] = it.object
	return cluster.Change{Object: it.object}, true
}

func (s *sink) gone(k string) (cluster.Change, bool) {
	o, ok := s.known[k]
	if !ok {
		return cluster.Change{}, false
	}
	delete(s.known, k)
	s.client.forget(k, o)
	return cluster.Change{Object: o, Gone: true}, true
}

func nameOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
