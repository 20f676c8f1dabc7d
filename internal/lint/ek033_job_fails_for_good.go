package lint

func jobFailsForGood() Rule {
	return Rule{
		ID:       "EK033",
		Title:    "job on spot that the first reclaim fails for good",
		Severity: Warning,
		Why: `A pod that is evicted or lost with its node counts as a failure of its Job. With ` + "`backoffLimit: 0`" + ` the first reclaim
ends the Job, and nobody runs it again. A pod failure policy that ignores the condition ` + "`DisruptionTarget`" + ` tells the
loss of a node from a fault of the program.`,
		Remedy: "Add a `podFailurePolicy` with the action `Ignore` on `DisruptionTarget` (it needs `restartPolicy: Never`), or raise `backoffLimit`.",
		Bad: `apiVersion: batch/v1
kind: CronJob
metadata: {name: settle}
spec:
  schedule: "0 2 * * *"
  jobTemplate:
    spec:
      backoffLimit: 0 # EK033
      template:
        spec:
          restartPolicy: Never
          tolerations: [{key: cloud.google.com/gke-spot, value: "true", effect: NoSchedule}]
          containers: [{name: settle, image: settle}]
`,
		Good: `apiVersion: batch/v1
kind: CronJob
metadata: {name: settle}
spec:
  schedule: "0 2 * * *"
  jobTemplate:
    spec:
      backoffLimit: 0
      podFailurePolicy:
        rules:
          - action: Ignore
            onPodConditions: [{type: DisruptionTarget}]
      template:
        spec:
          restartPolicy: Never
          tolerations: [{key: cloud.google.com/gke-spot, value: "true", effect: NoSchedule}]
          containers: [{name: settle, image: settle}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if a.Job == nil || !a.Placement.OnSpot() || !a.Job.BackoffLimit.Set || a.Job.BackoffLimit.Value > 0 || a.Job.IgnoresDisruption {
					continue
				}
				out = append(out, at(&a.Meta, a.Job.BackoffLimit.Pos, "the reclaim of its node fails the job for good (on spot: %s)", a.Placement.Why))
			}
			return out
		},
	}
}
