package render

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// affinity holds a service to its pools and prefers the earlier ones. The
// fallback is only a preference away, so that a pod that finds no room in its
// own pool starts elsewhere and not never.
func affinity(s spec.Service) *corev1.Affinity {
	in := func(pools ...string) []corev1.NodeSelectorRequirement {
		return []corev1.NodeSelectorRequirement{{Key: poolLabel, Operator: corev1.NodeSelectorOpIn, Values: pools}}
	}
	a := &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: in(s.Pools...)}},
		},
	}
	if len(s.Pools) > 1 {
		for i, pool := range s.Pools[:len(s.Pools)-1] {
			a.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PreferredDuringSchedulingIgnoredDuringExecution,
				corev1.PreferredSchedulingTerm{
					Weight:     int32(max(100-20*i, 10)),
					Preference: corev1.NodeSelectorTerm{MatchExpressions: in(pool)},
				})
		}
	}
	return &corev1.Affinity{NodeAffinity: a}
}

// tolerations lets a service onto its pools' nodes. Nodes that vanish without a
// word are given up after half a minute instead of five: on spot that is the
// common way to fail.
func tolerations(p *spec.Platform, s spec.Service) []corev1.Toleration {
	var out []corev1.Toleration
	for _, name := range s.Pools {
		if pool, _ := p.Pool(name); pool.Taint != nil {
			out = append(out, corev1.Toleration{
				Key: pool.Taint.Key, Operator: corev1.TolerationOpEqual, Value: pool.Taint.Value, Effect: corev1.TaintEffect(pool.Taint.Effect),
			})
		}
	}
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		out = append(out, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr[int64](30),
		})
	}
	return out
}

// spreadConstraints spreads over zones and nodes. Cordoned and foreign nodes do
// not count as places: otherwise a zone that is being taken away would look
// empty, and attract or block the very replacements that leave it. The hash
// keeps the pods of an old revision, and pods that were handed off, out of the
// count.
func spreadConstraints(p *spec.Platform, s spec.Service) []corev1.TopologySpreadConstraint {
	honor := corev1.NodeInclusionPolicyHonor
	constraint := func(key string, spread spec.Spread) corev1.TopologySpreadConstraint {
		c := corev1.TopologySpreadConstraint{
			TopologyKey:        key,
			MaxSkew:            int32(spread.MaxSkew),
			WhenUnsatisfiable:  corev1.ScheduleAnyway,
			LabelSelector:      &metav1.LabelSelector{MatchLabels: selector(p, s.Name)},
			NodeAffinityPolicy: &honor,
			NodeTaintsPolicy:   &honor,
		}
		if spread.Strict {
			c.WhenUnsatisfiable = corev1.DoNotSchedule
		}
		if s.Stateful == nil {
			c.MatchLabelKeys = []string{"pod-template-hash"}
		}
		return c
	}
	return []corev1.TopologySpreadConstraint{constraint(zoneKey, s.ZoneSpread), constraint(hostKey, s.NodeSpread)}
}
