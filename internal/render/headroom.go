package render

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

const pauseImage = "registry.k8s.io/pause:3.10"

// A demand is what the pods of one pool need elsewhere if all of it goes.
type demand struct {
	pool        string
	cpu, memory int64 // millicores, bytes: of all replicas at their floor
	podCPU      int64 // of the largest replica
	podMemory   int64
}

// chunks returns how many pause pods, each the size of the largest replica, hold
// the demand. Smaller ones would free room in pieces that no replica fits into.
func (d demand) chunks() int {
	if d.podCPU == 0 {
		return 0
	}
	return int(max((d.cpu+d.podCPU-1)/d.podCPU, (d.memory+d.podMemory-1)/d.podMemory))
}

// headroom returns, for each pool that others fall back to, pods that hold the
// room of the largest of those others and give way at once. One pool is one
// failure domain, so it is the unit that goes.
func headroom(p *spec.Platform) []any {
	if !p.Policies.Headroom {
		return nil
	}
	var out []any
	for _, fallback := range p.Pools {
		var largest demand
		for _, pool := range p.Pools {
			if pool.Fallback != fallback.Name {
				continue
			}
			if d := demandOf(p, pool); d.chunks() > 0 && (d.cpu > largest.cpu || d.cpu == largest.cpu && d.memory > largest.memory) {
				largest = d
			}
		}
		if largest.chunks() > 0 {
			out = append(out, headroomDeployment(p, fallback, largest))
		}
	}
	return out
}

func demandOf(p *spec.Platform, pool spec.Pool) demand {
	d := demand{pool: pool.Name}
	for _, s := range p.Services {
		if s.Pools[0] != pool.Name {
			continue
		}
		cpu, memory, n := s.Resources.CPU.MilliValue(), s.Resources.Memory.Value(), int64(s.Replicas)
		if n == 0 {
			continue // asleep at its floor: nothing would be missed at once
		}
		d.cpu += n * cpu
		d.memory += n * memory
		d.podCPU = max(d.podCPU, cpu)
		d.podMemory = max(d.podMemory, memory)
	}
	return d
}

func headroomDeployment(p *spec.Platform, pool spec.Pool, d demand) *appsv1.Deployment {
	name := "headroom-" + pool.Name
	// Placement and security are those of a service; only the container differs.
	s := spec.Service{
		Name: name, Component: "headroom", Image: pauseImage, Pools: []string{pool.Name}, Priority: "headroom",
		ZoneSpread: spec.Spread{MaxSkew: 1}, NodeSpread: spec.Spread{MaxSkew: 2},
		Resources: spec.Resources{
			CPU:         *resource.NewMilliQuantity(d.podCPU, resource.DecimalSI),
			Memory:      *resource.NewQuantity(d.podMemory, resource.BinarySI),
			MemoryLimit: *resource.NewQuantity(d.podMemory, resource.BinarySI),
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
	m.Annotations = map[string]string{"evenkeel.dev/headroom-for": d.pool}
	return &appsv1.Deployment{
		TypeMeta:   typeMeta("apps/v1", "Deployment"),
		ObjectMeta: m,
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(int32(d.chunks())),
			Selector: &metav1.LabelSelector{MatchLabels: selector(p, name)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: t,
		},
	}
}
