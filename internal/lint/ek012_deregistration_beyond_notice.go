package lint

import (
	"strconv"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func deregistrationBeyondNotice() Rule {
	return Rule{
		ID:       "EK012",
		Title:    "load balancer that deregisters targets more slowly than spot nodes go",
		Severity: Warning,
		Why: `An AWS load balancer keeps the connections of a target that is being deregistered for
` + "`deregistration_delay.timeout_seconds`, 300 s by default" + `. A spot node has 120 s. Clients with longer
requests or streams are not told to go elsewhere; their connections break when the machine does.

The delay runs beside the pod's grace period, not after it, so the two are compared with the notice one by one.`,
		Remedy: "Set `deregistration_delay.timeout_seconds` in the target group attributes to less than 120, at most the grace period.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  replicas: 3
  selector: {matchLabels: {app: edge}}
  template:
    metadata: {labels: {app: edge}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: edge}}}
      containers:
        - name: edge
          image: edge
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: 8080}}
          resources: {requests: {cpu: 500m, memory: 128Mi}}
---
apiVersion: v1
kind: Service
metadata:
  name: edge
  annotations:
    service.beta.kubernetes.io/aws-load-balancer-type: external
    service.beta.kubernetes.io/aws-load-balancer-target-group-attributes: deregistration_delay.timeout_seconds=180 # EK012
spec:
  type: LoadBalancer
  selector: {app: edge}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: edge}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector: {matchLabels: {app: edge}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  replicas: 3
  selector: {matchLabels: {app: edge}}
  template:
    metadata: {labels: {app: edge}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: edge}}}
      containers:
        - name: edge
          image: edge
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: 8080}}
          resources: {requests: {cpu: 500m, memory: 128Mi}}
---
apiVersion: v1
kind: Service
metadata:
  name: edge
  annotations:
    service.beta.kubernetes.io/aws-load-balancer-type: external
    service.beta.kubernetes.io/aws-load-balancer-target-group-attributes: deregistration_delay.timeout_seconds=45
spec:
  type: LoadBalancer
  selector: {app: edge}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: edge}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector: {matchLabels: {app: edge}}
`,
		Check: func(t *Target) (out []Finding) {
			byService := map[*manifest.Service]*App{}
			byName := map[string]*App{}
			for _, a := range t.Apps {
				if !a.Placement.OnSpot() {
					continue
				}
				for _, s := range a.Services {
					byService[s] = a
					byName[a.Namespace+"/"+s.Name] = a
				}
			}
			check := func(m *manifest.Meta, a *App, prefix string) {
				delay, pos, ok := deregistrationDelay(m.Annotations, prefix)
				if notice, _ := a.Placement.Notice(); ok && delay > notice {
					out = append(out, at(m, pos, "connections to %s are kept %s after deregistration; its spot nodes go %s after the notice", a.Name, seconds(delay), seconds(notice)))
				}
			}
			for _, s := range t.Set.Services {
				if a := byService[s]; a != nil && s.Type == "LoadBalancer" {
					check(&s.Meta, a, "service.beta.kubernetes.io/aws-load-balancer-")
				}
			}
			for _, in := range t.Ingresses {
				for _, name := range in.Services {
					if a := byName[t.namespace(&in.Meta)+"/"+name]; a != nil {
						check(&in.Meta, a, "alb.ingress.kubernetes.io/")
						break
					}
				}
			}
			return out
		},
	}
}

// deregistrationDelay returns the delay in seconds of the target groups that
// annotations with this prefix configure; ok is false where there are none.
func deregistrationDelay(annotations manifest.Pairs, prefix string) (delay int, pos manifest.Pos, ok bool) {
	if kv, found := annotations.Find(prefix + "target-group-attributes"); found {
		for attr := range strings.SplitSeq(kv.Value, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(attr), "=")
			if n, err := strconv.Atoi(value); err == nil && key == "deregistration_delay.timeout_seconds" {
				return n, kv.Pos, true
			}
		}
		return 300, kv.Pos, true
	}
	for _, kv := range annotations {
		if strings.HasPrefix(kv.Key, prefix) {
			return 300, kv.Pos, true
		}
	}
	return 0, manifest.Pos{}, false
}
