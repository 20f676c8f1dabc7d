package lint

func vetoIgnored() Rule {
	return Rule{
		ID:       "EK032",
		Title:    "annotation against disruption that a reclaim ignores",
		Severity: Warning,
		Why: `` + "`karpenter.sh/do-not-disrupt` and `cluster-autoscaler.kubernetes.io/safe-to-evict: \"false\"`" + ` stop what an autoscaler
does of its own accord: consolidation, scale-down. They do not stop the cloud. On a spot node the pod goes all the same,
and until then it keeps a node that might have been given back.`,
		Remedy: "Run what must not be disturbed on on-demand nodes, or drop the annotation and make the workload fit to be moved.",
		Bad: `apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  template:
    metadata:
      annotations:
        karpenter.sh/do-not-disrupt: "true" # EK032
    spec:
      restartPolicy: OnFailure
      nodeSelector: {karpenter.sh/capacity-type: spot}
      containers: [{name: train, image: train}]
`,
		Good: `apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  template:
    metadata:
      annotations:
        karpenter.sh/do-not-disrupt: "true"
    spec:
      restartPolicy: OnFailure
      nodeSelector: {karpenter.sh/capacity-type: on-demand}
      containers: [{name: train, image: train}]
`,
		Check: func(t *Target) (out []Finding) {
			vetoes := map[string]string{
				"karpenter.sh/do-not-disrupt":                    "true",
				"karpenter.sh/do-not-evict":                      "true",
				"cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
			}
			for _, a := range t.Apps {
				if !a.Placement.OnSpot() || a.Kind == "DaemonSet" {
					continue
				}
				for _, kv := range a.Pod.Annotations {
					if want, ok := vetoes[kv.Key]; ok && kv.Value == want {
						out = append(out, at(&a.Meta, kv.Pos, "%s does not stop the reclaim of a spot node (on spot: %s)", kv.Key, a.Placement.Why))
					}
				}
			}
			return out
		},
	}
}
