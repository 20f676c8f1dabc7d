package lint

func graceBeyondNotice() Rule {
	return Rule{
		ID:       "EK011",
		Title:    "grace period longer than the notice of a spot node",
		Severity: Warning,
		Why: `A reclaimed machine goes at its deadline whether or not the pods have ended: 120 s after the notice on AWS, about
30 s on GCP and Azure. A grace period (which includes preStop) beyond that promises time that does not exist. Whatever
the process does last, commits offsets or flushes, never happens.

Where the input does not tell the cloud, the rule assumes the longest notice.`,
		Remedy: "Shorten the shutdown until it fits with some seconds to spare, move the workload to on-demand, or let it save its work as it goes.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: encoder}
spec:
  replicas: 1
  selector: {matchLabels: {app: encoder}}
  template:
    metadata: {labels: {app: encoder}}
    spec:
      nodeSelector: {eks.amazonaws.com/capacityType: SPOT}
      terminationGracePeriodSeconds: 600 # EK011
      containers:
        - {name: encoder, image: encoder, resources: {requests: {cpu: "2", memory: 4Gi}}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: encoder}
spec:
  replicas: 1
  selector: {matchLabels: {app: encoder}}
  template:
    metadata: {labels: {app: encoder}}
    spec:
      nodeSelector: {eks.amazonaws.com/capacityType: SPOT}
      terminationGracePeriodSeconds: 90
      containers:
        - {name: encoder, image: encoder, resources: {requests: {cpu: "2", memory: 4Gi}}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				notice, known := a.Placement.Notice()
				if !a.Placement.OnSpot() || a.Kind == "DaemonSet" || !a.Pod.Grace.Set || a.Pod.Grace.Value <= notice {
					continue
				}
				whose := "any cloud's"
				if known {
					whose = "the cloud's"
				}
				out = append(out, at(&a.Meta, a.Pod.Grace.Pos, "grace period of %s exceeds %s notice of %s (on spot: %s)",
					seconds(a.Pod.Grace.Value), whose, seconds(notice), a.Placement.Why))
			}
			return out
		},
	}
}
