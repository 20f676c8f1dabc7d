package render

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

const pauseImage = "registry.k8s.io/pause:3.10"

// headroom returns pods that hold the room of the platform's Headroom and give
// way at once.
func headroom(p *spec.Platform) []any {
	var out []any
	for _, h := range p.Headroom() {
		out = append(out, headroomDeployment(p, h))
	}
	return out
}

func headroomDeployment(p *spec.Platform, h spec.Headroom) *appsv1.Deployment {
	name := "headroom-" + h.Pool
	// Placement and security are those of a service; only the container differs.
	s := spec.Service{
		Name: name, Component: "headroom", Image: pauseImage, Pools: []string{h.Pool}, Priority: "headroom",
		ZoneSpread: spec.Spread{MaxSkew: 1}, NodeSpread: spec.Spread{MaxSkew: 2},
		Resources: spec.Resources{
			CPU:         *resource.NewMilliQuantity(h.CPUMilli, resource.DecimalSI),
			Memory:      *resource.NewQuantity(h.Memory, resource.BinarySI),
			MemoryLimit: *resource.NewQuantity(h.Memory, resource.BinarySI),
		},
	}
	t := podTemplate(p, s)
	t.Annotations = nil
	t.Spec.ServiceAccountName = "default"
	t.Spec.AutomountServiceAccountToken = new(bool)
	t.Spec.TerminationGracePeriodSeconds = ptr[int64](1) // nothing to finish: the room is needed now
	t.Spec.Volumes = nil
	t.Spec.Containers[0].Env = nil
	t.Spec.Containers[0].VolumeMounts = nil
	m := meta(p, s)
	m.Annotations = map[string]string{"evenkeel.dev/headroom-for": h.For}
	return &appsv1.Deployment{
		TypeMeta:   typeMeta("apps/v1", "Deployment"),
		ObjectMeta: m,
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(int32(h.Pods)),
			Selector: &metav1.LabelSelector{MatchLabels: selector(p, name)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: t,
		},
	}
}
