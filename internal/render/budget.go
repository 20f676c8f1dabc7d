package render

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// budget returns the service's PodDisruptionBudget. The API server refuses one
// with both limits, so the stricter is enforced and the other left in an
// annotation, for whoever reconciles the budget as the replicas change. Pods
// that are not healthy never hold up a drain: they serve nobody.
func budget(p *spec.Platform, s spec.Service) *policyv1.PodDisruptionBudget {
	always := policyv1.AlwaysAllow
	b := &policyv1.PodDisruptionBudget{
		TypeMeta:   typeMeta("policy/v1", "PodDisruptionBudget"),
		ObjectMeta: meta(p, s),
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selectorOf(p, s), UnhealthyPodEvictionPolicy: &always},
	}
	lo, hi := s.Availability.MinAvailable, s.Availability.MaxUnavailable
	if s.StricterIsMax() {
		b.Spec.MaxUnavailable = limit(*hi)
		if lo != nil {
			b.Annotations = map[string]string{minAvailableAnnotation: lo.String()}
		}
		return b
	}
	b.Spec.MinAvailable = limit(*lo)
	if hi != nil {
		b.Annotations = map[string]string{maxUnavailableAnnotation: hi.String()}
	}
	return b
}

func limit(c spec.Count) *intstr.IntOrString {
	v := intstr.FromInt32(int32(c.N))
	if c.Percent {
		v = intstr.FromString(c.String())
	}
	return &v
}
