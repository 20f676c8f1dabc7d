package lint

import (
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func taintNotTolerated() Rule {
	return Rule{
		ID:       "EK025",
		Title:    "workload that asks for a pool whose taint it does not tolerate",
		Severity: Error,
		Why: `The node selector leaves only the nodes of this pool, and the pool's taint keeps the pods away from them: they stay
Pending for ever. An autoscaler does not help; it sees that a new node would not take them either.

Where other pools take the pods too, the finding is a warning: they run, but never on the pool that is named, and on
the dearer one at that if the tainted one is spot.`,
		Remedy: "Add the toleration, next to the node selector.",
		Bad: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: batch}
spec:
  template:
    metadata: {labels: {example.com/pool: batch}}
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: batch}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
      taints: [{key: example.com/batch, value: "true", effect: NoSchedule}]
---
apiVersion: apps/v1
kind: Deployment # EK025
metadata: {name: crawler}
spec:
  selector: {matchLabels: {app: crawler}}
  template:
    metadata: {labels: {app: crawler}}
    spec:
      nodeSelector: {example.com/pool: batch}
      containers:
        - {name: crawler, image: crawler, resources: {requests: {cpu: 200m, memory: 128Mi}}}
`,
		Good: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: batch}
spec:
  template:
    metadata: {labels: {example.com/pool: batch}}
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: batch}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
      taints: [{key: example.com/batch, value: "true", effect: NoSchedule}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: crawler}
spec:
  selector: {matchLabels: {app: crawler}}
  template:
    metadata: {labels: {app: crawler}}
    spec:
      nodeSelector: {example.com/pool: batch}
      tolerations: [{key: example.com/batch, value: "true", effect: NoSchedule}]
      containers:
        - {name: crawler, image: crawler, resources: {requests: {cpu: 200m, memory: 128Mi}}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if a.Kind == "DaemonSet" || len(a.Pod.NodeSelector) == 0 && len(a.Pod.NodeTerms) == 0 {
					continue
				}
				for _, pool := range t.Pools {
					taint := untolerated(pool, &a.Pod)
					if taint == nil || !wanted(pool, &a.Pod) || !chosen(pool, &a.Pod, a.Placement.Pools) {
						continue
					}
					f := at(&a.Meta, a.Meta.Pos, "asks for the nodes of pool %s and does not tolerate its taint %s", pool.Name, describeTaint(taint))
					if len(a.Placement.Pools) > 0 {
						f.Severity = Warning
						f.Message += "; it only ever runs on pool " + a.Placement.Pools[0].Name
					}
					out = append(out, f)
					break
				}
			}
			return out
		},
	}
}

// chosen reports whether the pod names something that the pool is known to have
// and none of the others is: what any pool might have is no choice.
func chosen(pool *manifest.Pool, pod *manifest.Pod, others []*manifest.Pool) bool {
	names := func(key, value string) bool {
		return has(pool, key, value) && !slices.ContainsFunc(others, func(other *manifest.Pool) bool { return has(other, key, value) })
	}
	for _, kv := range pod.NodeSelector {
		if names(kv.Key, kv.Value) {
			return true
		}
	}
	for _, term := range pod.NodeTerms {
		for i := range term {
			for _, v := range term[i].Values {
				if term[i].Operator == "In" && names(term[i].Key, v.Value) {
					return true
				}
			}
		}
	}
	return false
}

// has reports whether the pool is known to have nodes with a label.
func has(pool *manifest.Pool, key, value string) bool {
	values, known := poolValues(pool, key)
	return known && slices.Contains(values, value)
}

func describeTaint(t *manifest.Taint) string {
	if t.Value == "" {
		return t.Key + ":" + t.Effect
	}
	return t.Key + "=" + t.Value + ":" + t.Effect
}
