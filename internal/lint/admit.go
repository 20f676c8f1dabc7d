package lint

import (
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// admits reports whether nodes of the pool may host the pod: labels and taints
// are compared, what the pool does not tell is taken to fit. A pool that may
// have more taints than it tells takes only pods that ask for it.
func admits(pool *manifest.Pool, pod *manifest.Pod) bool {
	return wanted(pool, pod) && untolerated(pool, pod) == nil && (!pool.TaintsUnknown || chosen(pool, pod, nil))
}

// wanted reports whether the pool's labels satisfy the pod's node selector and
// its required node affinity.
func wanted(pool *manifest.Pool, pod *manifest.Pod) bool {
	for _, kv := range pod.NodeSelector {
		in := manifest.Requirement{Key: kv.Key, Operator: "In", Values: []manifest.Field[string]{{Value: kv.Value, Set: true}}}
		if !satisfies(pool, &in) {
			return false
		}
	}
	if len(pod.NodeTerms) == 0 {
		return true
	}
	return slices.ContainsFunc(pod.NodeTerms, func(term []manifest.Requirement) bool {
		for i := range term {
			if !satisfies(pool, &term[i]) {
				return false
			}
		}
		return true
	})
}

// untolerated returns the first taint of the pool that keeps the pod away.
func untolerated(pool *manifest.Pool, pod *manifest.Pod) *manifest.Taint {
	for i := range pool.Taints {
		taint := &pool.Taints[i]
		if taint.Effect == "PreferNoSchedule" {
			continue
		}
		if !slices.ContainsFunc(pod.Tolerations, func(tol manifest.Toleration) bool { return tol.Tolerates(*taint) }) {
			return taint
		}
	}
	return nil
}

// satisfies reports whether a node of the pool can satisfy one requirement.
func satisfies(pool *manifest.Pool, r *manifest.Requirement) bool {
	if values, known := poolValues(pool, r.Key); known {
		if len(values) == 0 {
			return r.Admits("", false)
		}
		return slices.ContainsFunc(values, func(v string) bool { return r.Admits(v, true) })
	}
	return true
}

// poolValues returns the values that a label can have on the pool's nodes, none
// where they do not carry it, and whether that is known.
func poolValues(pool *manifest.Pool, key string) (values []string, known bool) {
	if kv, ok := pool.Labels.Find(key); ok {
		return []string{kv.Value}, true
	}
	switch key {
	case manifest.LabelCapacity:
		// Only Karpenter sets this label.
		if pool.Kind == "NodePool" {
			return pool.Capacity, true
		}
		return nil, false
	case manifest.LabelZone, manifest.LabelZoneOld:
		return pool.Zones, len(pool.Zones) > 0
	case manifest.LabelInstanceType:
		return pool.InstanceTypes, len(pool.InstanceTypes) > 0
	}
	for i := range pool.Requirements {
		if r := &pool.Requirements[i]; r.Key == key && r.Operator == "In" {
			for _, v := range r.Values {
				values = append(values, v.Value)
			}
			return values, true
		}
	}
	// A provider sets labels of its own that the pool's declaration does not
	// show. Any other label is on the nodes only if the pool says so.
	return nil, pool.LabelsKnown && !wellKnownLabel(key)
}

func wellKnownLabel(key string) bool {
	domain, _, found := strings.Cut(key, "/")
	if !found {
		return false
	}
	for _, suffix := range []string{"kubernetes.io", "k8s.io", "karpenter.sh", "k8s.aws", "amazonaws.com", "aws", "cloud.google.com", "azure.com", "eksctl.io", "openshift.io"} {
		if domain == suffix || strings.HasSuffix(domain, "."+suffix) {
			return true
		}
	}
	return false
}
