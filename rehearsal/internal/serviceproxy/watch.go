package serviceproxy

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
// the pause between retries be bounded (see Config.WatchRetry).
type feed[T metav1.Object] struct {
	versions map[string]string // resource version last emitted, by namespace/name; nil before the first list
	emit     func(key string, obj T, initial bool)
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

// watchServices emits Services until ctx ends, whatever happens to the API
// server in the meantime.
func watchServices(ctx context.Context, c kubernetes.Interface, retry time.Duration, emit func(string, *corev1.Service, bool)) {
	api := c.CoreV1().Services(metav1.NamespaceAll)
	observe(ctx, c, &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return api.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, o)
		},
	}, retry, emit)
}

// watchSlices is watchServices for EndpointSlices.
func watchSlices(ctx context.Context, c kubernetes.Interface, retry time.Duration, emit func(string, *discoveryv1.EndpointSlice, bool)) {
	api := c.DiscoveryV1().EndpointSlices(metav1.NamespaceAll)
	observe(ctx, c, &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return api.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, o)
		},
	}, retry, emit)
}

func observe[T metav1.Object](ctx context.Context, c kubernetes.Interface, lw *cache.ListWatch, retry time.Duration, emit func(string, T, bool)) {
	var kind T
	cache.NewReflectorWithOptions(
		cache.ToListWatcherWithWatchListSemantics(lw, c),
		kind,
		&feed[T]{emit: emit},
		cache.ReflectorOptions{
			Name: fmt.Sprintf("serviceproxy %T", kind),
			Backoff: &wait.Backoff{
				Duration: retry / 8, Factor: 2, Steps: 3, Cap: retry / 2,
				Jitter: 1, // adds up to as much again: at most retry
			},
		},
	).RunWithContext(ctx)
}

// withLogger makes client-go log through log instead of the process's stderr.
func withLogger(ctx context.Context, log *slog.Logger) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(log.Handler()))
}
