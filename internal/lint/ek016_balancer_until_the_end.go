package lint

import (
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func balancerUntilTheEnd() Rule {
	return Rule{
		ID:       "EK016",
		Title:    "pods that their load balancer sends traffic to until they are stopped",
		Severity: Warning,
		Why: `A load balancer with a target group goes on sending traffic to a pod for some seconds after the pod has left its
endpoints. The pods declare a slice of the notice for that, by the annotation ` + "`evenkeel.dev/deregistration`" + ` or by the
readiness gate of the AWS Load Balancer Controller. Evenkeel spends it between the two by taking the label
` + "`evenkeel.dev/serving`" + ` away, which only works where the Service selects on it. Elsewhere a pod leaves its endpoints and
gets its SIGTERM in the same moment, as with any other eviction.`,
		Remedy: "Give the pods the label `evenkeel.dev/serving: \"true\"`, wait until all of them have it, and then have the Service select on it too. The Deployment and its budget must not.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  replicas: 3
  selector: {matchLabels: {app: edge}}
  template:
    metadata:
      labels: {app: edge}
      annotations: {evenkeel.dev/deregistration: 20s}
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
metadata: {name: edge}
spec:
  selector: {app: edge} # EK016
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: elbv2.k8s.aws/v1beta1
kind: TargetGroupBinding
metadata: {name: edge}
spec:
  serviceRef: {name: edge, port: 80}
  targetGroupARN: arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/edge/0123456789abcdef
  targetType: ip
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
    metadata:
      labels: {app: edge, evenkeel.dev/serving: "true"}
      annotations: {evenkeel.dev/deregistration: 20s}
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
metadata: {name: edge}
spec:
  selector: {app: edge, evenkeel.dev/serving: "true"}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: elbv2.k8s.aws/v1beta1
kind: TargetGroupBinding
metadata: {name: edge}
spec:
  serviceRef: {name: edge, port: 80}
  targetGroupARN: arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/edge/0123456789abcdef
  targetType: ip
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
			balanced := behindTargetGroups(t)
			for _, a := range t.Apps {
				gated := slices.ContainsFunc(a.Pod.ReadinessGates, func(g string) bool { return strings.HasPrefix(g, targetHealth) })
				slice := a.Pod.Annotations.Get(cluster.DeregistrationAnnotation)
				if !a.Handoff() || !a.Placement.OnSpot() || !gated && slice == "" {
					continue // elsewhere a pod is not handed off, or asks for nothing
				}
				for _, s := range a.Services {
					if !gated && !balanced[a.Namespace+"/"+s.Name] && s.Type != "LoadBalancer" {
						continue // within the cluster nobody keeps a pod for longer than its endpoints
					}
					if s.Selector.Get(cluster.ServingLabel) == "" {
						out = append(out, at(&s.Meta, s.Selector[0].Pos, "Service %s does not select on %s, so the pods of %s cannot leave its load balancer before they are stopped", s.Name, cluster.ServingLabel, a.Name))
					}
				}
			}
			return out
		},
	}
}

// targetHealth is how the readiness gates of the AWS Load Balancer Controller begin.
const targetHealth = "target-health.elbv2.k8s.aws"

// behindTargetGroups returns the Services, as namespace/name, whose pods are kept in
// a target group.
func behindTargetGroups(t *Target) map[string]bool {
	out := make(map[string]bool)
	for _, g := range t.TargetGroups {
		out[t.namespace(&g.Meta)+"/"+g.Service] = true
	}
	for _, in := range t.Ingresses {
		if !slices.ContainsFunc(in.Annotations, func(a manifest.Pair) bool { return strings.HasPrefix(a.Key, "alb.ingress.kubernetes.io/") }) {
			continue
		}
		for _, name := range in.Services {
			out[t.namespace(&in.Meta)+"/"+name] = true
		}
	}
	return out
}
