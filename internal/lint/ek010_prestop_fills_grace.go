package lint

import (
	"strconv"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func preStopFillsGrace() Rule {
	return Rule{
		ID:       "EK010",
		Title:    "preStop hook that uses up the whole grace period",
		Severity: Error,
		Why: `The grace period counts from the start of the preStop hook, not from SIGTERM. A hook as long as the grace period
leaves the process two seconds (the kubelet's extension), then SIGKILL: requests in flight are cut at every rollout and
every reclaim, with the very setting that was meant to save them.`,
		Remedy: "Set `terminationGracePeriodSeconds` to the hook plus what the process needs after SIGTERM. " +
			"`--fix` sets it to the hook plus 30 s where the cloud's notice has room for that.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
        - name: web
          image: web
          lifecycle:
            preStop: {sleep: {seconds: 30}} # EK010
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 60
      containers:
        - name: web
          image: web
          lifecycle:
            preStop: {sleep: {seconds: 30}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				grace := a.Pod.Grace.Or(manifest.DefaultGrace)
				if grace == 0 {
					continue // EK015
				}
				for i := range a.Pod.Containers {
					c := &a.Pod.Containers[i]
					if c.PreStop == nil || !c.PreStop.Sleep.Set || c.PreStop.Sleep.Value < grace {
						continue
					}
					sleep := c.PreStop.Sleep.Value
					f := at(&a.Meta, c.PreStop.Pos, "container %s sleeps %s of its %s grace period: no time is left after SIGTERM", c.Name, seconds(sleep), seconds(grace))
					f.Fix = raiseGrace(a, sleep+manifest.DefaultGrace)
					out = append(out, f)
				}
			}
			return out
		},
	}
}

// raiseGrace returns a fix that sets the grace period, unless the notice of a
// spot node has no room for it.
func raiseGrace(a *App, to int) *Fix {
	if notice, _ := a.Placement.Notice(); to >= notice {
		return nil
	}
	if g := a.Pod.Grace; g.Set {
		return replaceAt(g.Pos, strconv.Itoa(g.Value), strconv.Itoa(to))
	}
	return insertBefore(a.Pod.Pos, "terminationGracePeriodSeconds: "+strconv.Itoa(to))
}
