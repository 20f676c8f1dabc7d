// Package feed follows objects of the API server and hands on single changes. It
// is for those who only look: it keeps versions, not objects, and after an outage
// of the API server it is back as soon as it is told to be, where client-go's own
// pause between attempts grows to half a minute.
package feed

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// feed turns what a reflector observes into single changes, and hands each to
// emit: the object as it is now, or nil when it is gone. It is a
// cache.ReflectorStore that remembers versions instead of objects, so that the
// full list a reflector brings after a broken watch becomes the few changes
// that were missed.
//
// A plain reflector, and not a shared informer, because only the reflector lets
// the pause between retries be bounded.
type feed[T metav1.Object] struct {
	versions map[string]string // resource version last emitted, by namespace/name; nil before the first list
	emit     Emit[T]
}

func (f *feed[T]) Add(obj any) error    { return f.set(obj.(T), false) }
func (f *feed[T]) Update(obj any) error { return f.set(obj.(T), false) }
func (f *feed[T]) Resync() error        { return nil }

func (f *feed[T]) Delete(obj any) error {
	f.drop(keyOf(obj.(T)))
	return nil
}

func (f *feed[T]) Replace(list []any, _ string) error {
	initial := f.versions == nil
	if initial {
		f.versions = make(map[string]string)
	}
	present := make(map[string]bool, len(list))
	for _, obj := range list {
		present[keyOf(obj.(T))] = true
		f.set(obj.(T), initial)
	}
	for key := range f.versions {
		if !present[key] {
			f.drop(key)
		}
	}
	return nil
}

func (f *feed[T]) set(obj T, initial bool) error {
	key := keyOf(obj)
	// The fake clientset leaves the version empty; then every event counts.
	if v := obj.GetResourceVersion(); v == "" || f.versions[key] != v {
		f.versions[key] = v
		f.emit(key, obj, initial)
	}
	return nil
}

func (f *feed[T]) drop(key string) {
	var gone T
	delete(f.versions, key)
	f.emit(key, gone, false)
}

func keyOf(obj metav1.Object) string { return obj.GetNamespace() + "/" + obj.GetName() }

// Emit is told of one change: the object as it is now, or nil when it is gone.
// Initial says that the object was there when the watching began.
type Emit[T metav1.Object] func(key string, obj T, initial bool)

// api is what every typed client of a kind has.
type api[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// Services emits the Services of all namespaces until ctx ends, whatever happens
// to the API server in the meantime. It tries again at most retry after a failure.
func Services(ctx context.Context, c kubernetes.Interface, retry time.Duration, log *slog.Logger, emit Emit[*corev1.Service]) {
	follow(ctx, c, c.CoreV1().Services(metav1.NamespaceAll), retry, log, emit)
}

// EndpointSlices is Services for EndpointSlices.
func EndpointSlices(ctx context.Context, c kubernetes.Interface, retry time.Duration, log *slog.Logger, emit Emit[*discoveryv1.EndpointSlice]) {
	follow(ctx, c, c.DiscoveryV1().EndpointSlices(metav1.NamespaceAll), retry, log, emit)
}

// Pods is Services for the pods of one namespace.
func Pods(ctx context.Context, c kubernetes.Interface, namespace string, retry time.Duration, log *slog.Logger, emit Emit[*corev1.Pod]) {
	follow(ctx, c, c.CoreV1().Pods(namespace), retry, log, emit)
}

// Nodes is Services for nodes.
func Nodes(ctx context.Context, c kubernetes.Interface, retry time.Duration, log *slog.Logger, emit Emit[*corev1.Node]) {
	follow(ctx, c, c.CoreV1().Nodes(), retry, log, emit)
}

func follow[T metav1.Object, L runtime.Object](ctx context.Context, c kubernetes.Interface, from api[L], retry time.Duration, log *slog.Logger, emit Emit[T]) {
	var kind T
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return from.List(ctx, o)
		},
		WatchFuncWithContext: from.Watch,
	}
	cache.NewReflectorWithOptions(
		cache.ToListWatcherWithWatchListSemantics(lw, c),
		kind,
		&feed[T]{emit: emit},
		cache.ReflectorOptions{
			Name: fmt.Sprintf("feed of %T", kind),
			Backoff: &wait.Backoff{
				Duration: retry / 8, Factor: 2, Steps: 3, Cap: retry / 2,
				Jitter: 1, // adds up to as much again: at most retry
			},
		},
	).RunWithContext(withLogger(ctx, log))
}

// withLogger makes client-go log through log instead of the process's stderr.
func withLogger(ctx context.Context, log *slog.Logger) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(log.Handler()))
}
