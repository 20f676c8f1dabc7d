package lint

import (
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func noReadiness() Rule {
	return Rule{
		ID:       "EK014",
		Title:    "container behind a Service without a readiness probe",
		Severity: Warning,
		Why: `Without a readiness probe a container counts as Ready the moment it starts. The replacement of a reclaimed pod gets
traffic before it listens, and the disruption budget, which counts Ready pods, releases the next old pod too early: a
drain that respects every budget still takes the service down.

Ports by which metrics are scraped, told by their name, are not traffic.`,
		Remedy: "Add a `readinessProbe` that succeeds when the process can answer.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: basket}
spec:
  replicas: 2
  selector: {matchLabels: {app: basket}}
  template:
    metadata: {labels: {app: basket}}
    spec:
      containers:
        - name: basket # EK014
          image: basket
          ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: basket}
spec:
  selector: {app: basket}
  ports: [{port: 80, targetPort: http}]
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: basket}
spec:
  replicas: 2
  selector: {matchLabels: {app: basket}}
  template:
    metadata: {labels: {app: basket}}
    spec:
      containers:
        - name: basket
          image: basket
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: http}}
---
apiVersion: v1
kind: Service
metadata: {name: basket}
spec:
  selector: {app: basket}
  ports: [{port: 80, targetPort: http}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if !a.LongRunning() {
					continue
				}
				reported := map[*manifest.Container]bool{}
				for _, s := range a.Services {
					if s.PublishNotReady {
						continue
					}
					for _, c := range serving(a, s) {
						if !c.Readiness && !reported[c] {
							reported[c] = true
							out = append(out, at(&a.Meta, c.Pos, "container %s serves Service %s and has no readiness probe", c.Name, s.Name))
						}
					}
				}
			}
			return out
		},
	}
}

// forMetrics reports whether a port's name says that metrics are scraped by it.
func forMetrics(name string) bool {
	for _, word := range []string{"metric", "exporter", "prometheus"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// serving returns the containers that a Service sends to. Declaring ports is
// optional: the only container of a pod serves whatever it declares.
func serving(a *App, s *manifest.Service) (out []*manifest.Container) {
	main := 0
	for i := range a.Pod.Containers {
		c := &a.Pod.Containers[i]
		if !c.Sidecar {
			main++
		}
		for _, sp := range s.Ports {
			if forMetrics(sp.Name) {
				continue
			}
			for _, p := range c.Ports {
				if sp.TargetName != "" && sp.TargetName == p.Name || sp.TargetPort != 0 && sp.TargetPort == p.Number {
					out = append(out, c)
				}
			}
		}
	}
	if len(out) == 0 && main == 1 && !slices.ContainsFunc(s.Ports, func(sp manifest.ServicePort) bool { return forMetrics(sp.Name) }) {
		return []*manifest.Container{&a.Pod.Containers[0]}
	}
	return out
}
