package render

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// Names of ours that other parts of Evenkeel read.
const (
	poolLabel            = cluster.PoolLabel
	deadlineAnnotation   = cluster.DeadlineAnnotation
	handoffAnnotation    = cluster.HandoffAnnotation
	onDeadlineAnnotation = cluster.OnDeadlineAnnotation
	servingLabel         = cluster.ServingLabel
	// The limit of a budget that the API server does not accept beside the other.
	minAvailableAnnotation   = "evenkeel.dev/min-available"
	maxUnavailableAnnotation = "evenkeel.dev/max-unavailable"
)

const (
	zoneKey = "topology.kubernetes.io/zone"
	hostKey = "kubernetes.io/hostname"
)

// selector returns the labels by which a service's pods are found. They cannot
// change later, so there are only two.
func selector(p *spec.Platform, name string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":     name,
		"app.kubernetes.io/instance": p.Cluster.Name,
	}
}

func labels(p *spec.Platform, s spec.Service) map[string]string {
	l := ownLabels(p, s.Name)
	if s.Component != "" {
		l["app.kubernetes.io/component"] = s.Component
	}
	return l
}

func ownLabels(p *spec.Platform, name string) map[string]string {
	l := selector(p, name)
	l["app.kubernetes.io/part-of"] = p.Cluster.Name
	l["app.kubernetes.io/managed-by"] = "evenkeel"
	return l
}

func meta(p *spec.Platform, s spec.Service) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: s.Name, Namespace: p.Cluster.Namespace, Labels: labels(p, s)}
}

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func selectorOf(p *spec.Platform, s spec.Service) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: selector(p, s.Name)}
}

// seconds is written as Kubernetes does, for fields that are whole seconds.
func seconds[D ~int64](d D) int64 { return int64(d) / 1e9 }

func env(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }

func envField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}
