package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
)

// CapacityStore is the name of the ConfigMap with the Records of capacity.
const CapacityStore = "evenkeel-capacity"

// CapacityRecords keeps Records in a ConfigMap, an entry for each. It is used from one
// goroutine. Use NewCapacityRecords to make one.
type CapacityRecords struct {
	api             kubernetes.Interface
	namespace, name string
	seen            *corev1.ConfigMap // as it was read last; nil if there was none
}

// NewCapacityRecords returns the Records in the ConfigMap of that name.
func NewCapacityRecords(api kubernetes.Interface, namespace, name string) *CapacityRecords {
	return &CapacityRecords{api: api, namespace: namespace, name: name}
}

// Records reads all Records. One that cannot be read is an error: nothing must be
// changed of which it is not known how it was.
func (c *CapacityRecords) Records(ctx context.Context) (map[string]capacity.Record, error) {
	m, err := c.api.CoreV1().ConfigMaps(c.namespace).Get(ctx, c.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		c.seen = nil
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ConfigMap %s/%s: %w", c.namespace, c.name, err)
	}
	c.seen = m
	out := make(map[string]capacity.Record)
	for _, key := range slices.Sorted(maps.Keys(m.Data)) {
		if out[key], err = capacity.DecodeRecord(m.Data[key]); err != nil {
			return nil, fmt.Errorf("reading ConfigMap %s/%s: entry %s: %w", c.namespace, c.name, key, err)
		}
	}
	return out, nil
}

// Put writes one Record, or takes it away. The ConfigMap is written with the version
// that was read, so the API server refuses it if somebody else has written since.
func (c *CapacityRecords) Put(ctx context.Context, key string, r *capacity.Record) error {
	maps := c.api.CoreV1().ConfigMaps(c.namespace)
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: c.namespace, Name: c.name, Labels: map[string]string{"app.kubernetes.io/part-of": "evenkeel"},
	}}
	write := func() (*corev1.ConfigMap, error) { return maps.Create(ctx, m, metav1.CreateOptions{}) }
	if c.seen != nil {
		m = c.seen.DeepCopy()
		write = func() (*corev1.ConfigMap, error) { return maps.Update(ctx, m, metav1.UpdateOptions{}) }
	}
	if m.Data == nil {
		m.Data = make(map[string]string)
	}
	if r == nil {
		delete(m.Data, key)
	} else {
		m.Data[key] = r.Encode()
	}
	m, err := write()
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s/%s: %w", c.namespace, c.name, err)
	}
	c.seen = m
	return nil
}
