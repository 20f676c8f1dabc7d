package lint

import (
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func noRequests() Rule {
	return Rule{
		ID:       "EK031",
		Title:    "container on spot without resource requests",
		Severity: Warning,
		Why: `When a pool is reclaimed, all of its pods look for room at once. Without requests the scheduler packs them onto the
nodes that are left until those fail, an autoscaler sees no reason to add any, and headroom cannot be sized. A limit
counts: the request defaults to it.`,
		Remedy: "Set `resources.requests` for cpu and memory from what the container uses (its 95th percentile is a good start).",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: tagger}
spec:
  selector: {matchLabels: {app: tagger}}
  template:
    metadata: {labels: {app: tagger}}
    spec:
      nodeSelector: {kubernetes.azure.com/scalesetpriority: spot}
      containers:
        - name: tagger # EK031
          image: tagger
          resources: {limits: {memory: 256Mi}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: tagger}
spec:
  selector: {matchLabels: {app: tagger}}
  template:
    metadata: {labels: {app: tagger}}
    spec:
      nodeSelector: {kubernetes.azure.com/scalesetpriority: spot}
      containers:
        - name: tagger
          image: tagger
          resources: {requests: {cpu: 100m}, limits: {memory: 256Mi}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if !a.Replicated() || !a.Placement.OnSpot() {
					continue
				}
				for i := range a.Pod.Containers {
					c := &a.Pod.Containers[i]
					var missing []string
					for _, resource := range []string{"cpu", "memory"} {
						if !requests(c, resource) {
							missing = append(missing, resource)
						}
					}
					if len(missing) > 0 {
						out = append(out, at(&a.Meta, c.Pos, "container %s requests no %s (on spot: %s)", c.Name, strings.Join(missing, " and no "), a.Placement.Why))
					}
				}
			}
			return out
		},
	}
}

func requests(c *manifest.Container, resource string) bool {
	_, requested := c.Requests.Find(resource)
	_, limited := c.Limits.Find(resource)
	return requested || limited
}
