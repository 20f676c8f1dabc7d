package lint

func noGrace() Rule {
	return Rule{
		ID:       "EK015",
		Title:    "grace period of zero",
		Severity: Warning,
		Why: `With ` + "`terminationGracePeriodSeconds: 0`" + ` every pod is killed without SIGTERM and without preStop. For a StatefulSet
it is worse: the API object is gone before the process is known to have ended, so a second pod of the same identity can
run beside the first.

A workload that nobody calls and that has no identity is not reported: pause pods that keep room free want no grace.`,
		Remedy: "Leave the field out (30 s), or set what the process needs.",
		Bad: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: queue}
spec:
  serviceName: queue
  selector: {matchLabels: {app: queue}}
  template:
    metadata: {labels: {app: queue}}
    spec:
      terminationGracePeriodSeconds: 0 # EK015
      containers: [{name: queue, image: queue}]
`,
		Good: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: queue}
spec:
  serviceName: queue
  selector: {matchLabels: {app: queue}}
  template:
    metadata: {labels: {app: queue}}
    spec:
      terminationGracePeriodSeconds: 10
      containers: [{name: queue, image: queue}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if (a.Kind == "StatefulSet" || a.LongRunning() && a.Serves()) && a.Pod.Grace.Set && a.Pod.Grace.Value == 0 {
					out = append(out, at(&a.Meta, a.Pod.Grace.Pos, "the pods of %s are killed without SIGTERM or preStop", a.Name))
				}
			}
			return out
		},
	}
}
