package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// workload returns a Deployment of three replicas with what a careful author
// writes; pod and extra are lines of the pod spec and of the object's spec.
func workload(kind, name, spec, pod string) string {
	indent := func(text, by string) string {
		if text == "" {
			return ""
		}
		return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n"
	}
	return `---
apiVersion: apps/v1
kind: ` + kind + `
metadata: {name: ` + name + `}
spec:
` + indent(spec, "  ") + `  selector: {matchLabels: {app: ` + name + `}}
  template:
    metadata: {labels: {app: ` + name + `}}
    spec:
` + indent(pod, "      ") + `      containers:
        - name: ` + name + `
          image: ` + name + `
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: http}}
          resources: {requests: {cpu: 100m, memory: 64Mi}}
`
}

func service(name string) string {
	return "---\napiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {selector: {app: " + name + "}, ports: [{port: 80, targetPort: http}]}\n"
}

func budget(name, limits string) string {
	return "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: " + name + "}\nspec: {" + limits + ", unhealthyPodEvictionPolicy: AlwaysAllow, selector: {matchLabels: {app: " + name + "}}}\n"
}

func hpa(kind, name string, least, most int) string {
	return fmt.Sprintf("---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: %s}\nspec: {scaleTargetRef: {kind: %s, name: %s}, minReplicas: %d, maxReplicas: %d}\n", name, kind, name, least, most)
}

func nodePool(name, requirements, taints string) string {
	return "---\napiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {name: " + name + "}\nspec: {template: {spec: {nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: x}, requirements: [" + requirements + "], taints: [" + taints + "]}}}\n"
}

const (
	onSpot   = "nodeSelector: {karpenter.sh/capacity-type: spot}"
	spread   = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]"
	spotPool = "{key: karpenter.sh/capacity-type, operator: In, values: [spot]}"
	abc      = "{key: topology.kubernetes.io/zone, operator: In, values: [a, b, c]}"
)

// TestSilence lints inputs in which nothing is wrong: no rule may fire.
func TestSilence(t *testing.T) {
	for name, text := range map[string]string{
		"room kept free":             workload("Deployment", "pause", "", "terminationGracePeriodSeconds: 0"),
		"one deployment":             workload("Deployment", "web", "", ""),
		"served":                     workload("Deployment", "web", "replicas: 3", "") + service("web") + budget("web", "maxUnavailable: 1"),
		"scaled":                     workload("Deployment", "web", "", "") + hpa("Deployment", "web", 2, 9) + budget("web", "minAvailable: 50%"),
		"on spot with care":          workload("Deployment", "web", "replicas: 3", onSpot+"\n"+spread) + service("web") + budget("web", "maxUnavailable: 1"),
		"worker on spot":             workload("Deployment", "web", "replicas: 1", onSpot),
		"stateful":                   workload("StatefulSet", "db", "replicas: 3\nvolumeClaimTemplates: [{metadata: {name: data}, spec: {}}]", "") + service("db") + budget("db", "maxUnavailable: 1"),
		"daemon set with host ports": strings.Replace(workload("DaemonSet", "agent", "", "hostNetwork: true\ntolerations: [{operator: Exists}]"), "containerPort: 8080", "containerPort: 9100, hostPort: 9100", 1),
		"recreate off spot":          workload("Deployment", "wiki", "strategy: {type: Recreate}", "") + service("wiki"),
		"slow shutdown off spot":     workload("Deployment", "web", "", "terminationGracePeriodSeconds: 3600"),
		"budget by itself":           budget("web", "minAvailable: 1"),
		"budget of an operator":      budget("kafka", "maxUnavailable: 1") + workload("Deployment", "web", "", "") + "---\napiVersion: kafka.strimzi.io/v1\nkind: Kafka\nmetadata: {name: kafka}\n",
		"budget at zero replicas":    workload("Deployment", "web", "replicas: 0", "") + budget("web", "minAvailable: 1"),
		"budget of a daemon set":     workload("DaemonSet", "web", "", "") + budget("web", "minAvailable: 100%"),
		"canary under one budget": workload("Deployment", "web", "replicas: 3", "") + strings.ReplaceAll(workload("Deployment", "canary", "replicas: 1", ""), "app: canary", "app: web") +
			service("web") + budget("web", "maxUnavailable: 1"),
		"the same twice":       strings.Repeat(workload("Deployment", "web", "replicas: 3", "")+budget("web", "maxUnavailable: 1"), 2),
		"autoscaler by itself": hpa("Deployment", "web", 1, 3),
		"headless, not ready":  strings.Replace(workload("StatefulSet", "db", "", ""), "          readinessProbe: {httpGet: {path: /readyz, port: http}}\n", "", 1) + "---\napiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: db}, ports: [{port: 80}]}\n",
		"service without pods": "---\napiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {type: ExternalName, externalName: db.example.com}\n",
		"shared file system":   "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: efs}\nprovisioner: efs.csi.aws.com\n",
		"spot with a fallback": nodePool("x", "{key: karpenter.sh/capacity-type, operator: In, values: [spot, on-demand]}, "+abc, ""),
		"one pool for each zone": nodePool("a", spotPool+", {key: topology.kubernetes.io/zone, operator: In, values: [a]}", "") +
			nodePool("b", spotPool+", {key: topology.kubernetes.io/zone, operator: In, values: [b]}", ""),
		"tainted pool of others": nodePool("gpu", abc, "{key: gpu, effect: NoSchedule}") + workload("Deployment", "web", "", "nodeSelector: {kubernetes.io/arch: amd64}"),
		"job on spot":            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {restartPolicy: OnFailure, " + onSpot + ", containers: [{name: j, image: j}]}}}\n",
		"scratch on spot":        workload("Deployment", "web", "", onSpot+"\nvolumes: [{name: tmp, emptyDir: {}}]"),
		"logs of the node":       workload("Deployment", "web", "", onSpot+"\nvolumes: [{name: l, hostPath: {path: /var/log/pods}}]"),
	} {
		t.Run(name, func(t *testing.T) {
			if got := messages(Run(NewTarget(read(t, "f", text, false), Options{}), Rules())); got != nil {
				t.Errorf("found\n  %s\nin\n%s", strings.Join(got, "\n  "), text)
			}
		})
	}
}

// TestCases holds rules to variants of their fault.
func TestCases(t *testing.T) {
	stateful := func(replicas string) string { return workload("StatefulSet", "db", replicas, "") }
	spotApp := func(spec, pod string) string { return workload("Deployment", "web", spec, onSpot+"\n"+pod) }
	zoneTerm := "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: web}}}]}}"
	hard := "topologySpreadConstraints: [{maxSkew: 1, %stopologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]"
	for _, c := range []struct{ name, text, want string }{
		{"no eviction ever", stateful("replicas: 3") + budget("db", "maxUnavailable: 0"), "error EK001"},
		{"zero percent", stateful("replicas: 3") + budget("db", "maxUnavailable: 0%"), "error EK001"},
		{"half of one", stateful("") + budget("db", "minAvailable: 50%"), "error EK001"},
		{"more than there are", stateful("replicas: 2") + budget("db", "minAvailable: 3"), "error EK001"},
		{"blocked, but handed off", workload("Deployment", "web", "", "") + budget("web", "minAvailable: 1"), "warning EK001"},
		{"blocked at every scale", stateful("") + hpa("StatefulSet", "db", 1, 3) + budget("db", "minAvailable: 3"), "error EK001"},
		{"blocked at the floor", stateful("") + hpa("StatefulSet", "db", 2, 3) + budget("db", "minAvailable: 2"), "warning EK007"},
		{"blocked at the floor by rounding", stateful("") + hpa("StatefulSet", "db", 1, 9) + budget("db", "minAvailable: 80%"), "warning EK007"},
		{"default floor of KEDA", workload("Deployment", "web", "", "") + budget("web", "minAvailable: 1") + "---\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: web}\nspec: {scaleTargetRef: {name: web}}\n", "warning EK008"},
		{"gate, and nothing to take the pods out by", workload("Deployment", "web", "replicas: 3", onSpot+"\n"+spread+"\nreadinessGates: [{conditionType: target-health.elbv2.k8s.aws/web}]") + service("web") + budget("web", "maxUnavailable: 1"), "warning EK016"},
		{"served without grace", workload("Deployment", "web", "", "terminationGracePeriodSeconds: 0") + service("web"), "warning EK015"},
		{"no budget", spotApp("replicas: 2", spread) + service("web"), "warning EK009"},
		{"copies on local disks", workload("StatefulSet", "web", "replicas: 3", onSpot+"\n"+spread+"\nvolumes: [{name: d, emptyDir: {}}]") + "          volumeMounts: [{name: d, mountPath: /data}]\n", "info EK029"},
		{"grace on GKE", workload("Deployment", "web", "", "nodeSelector: {cloud.google.com/gke-spot: \"true\"}\nterminationGracePeriodSeconds: 60"), "warning EK011"},
		{"grace on AWS, through a pool", nodePool("p", spotPool+", "+abc, "") + workload("Deployment", "web", "", "terminationGracePeriodSeconds: 121"), "warning EK011"},
		{"one replica, no handoff", strings.Replace(spotApp("", ""), "{labels: {app: web}}", "{labels: {app: web}, annotations: {evenkeel.dev/handoff: \"false\"}}", 1) + service("web"), "warning EK020"},
		{"one replica, handoff", spotApp("", "") + service("web"), "info EK020"},
		{"nodes but not zones", spotApp("replicas: 2", strings.Replace(spread, "topology.kubernetes.io/zone", "kubernetes.io/hostname", 1)), "info EK021"},
		{"one pool of one type", nodePool("p", spotPool+", {key: node.kubernetes.io/instance-type, operator: In, values: [m5.large]}", "") + workload("Deployment", "web", "replicas: 2", spread), "warning EK040, warning EK022"},
		{"minDomains that just fits", nodePool("p", spotPool+", "+abc, "") + workload("Deployment", "web", "replicas: 3", fmt.Sprintf(hard, "minDomains: 3, ")), "warning EK024"},
		{"minDomains never met", nodePool("p", abc, "") + workload("Deployment", "web", "replicas: 4", fmt.Sprintf(hard, "minDomains: 4, ")), "error EK024"},
		{"tainted nodes in the lost zone", nodePool("p", spotPool+", "+abc, "") + nodePool("gpu", abc, "{key: gpu, effect: NoSchedule}") + workload("Deployment", "web", "replicas: 3", fmt.Sprintf(hard, "")), "warning EK024"},
		{"the same, taints honoured", nodePool("p", spotPool+", "+abc, "") + nodePool("gpu", abc, "{key: gpu, effect: NoSchedule}") + workload("Deployment", "web", "replicas: 3", fmt.Sprintf(hard, "nodeTaintsPolicy: Honor, ")), ""},
		{"a pod in each zone", nodePool("p", spotPool+", "+abc, "") + workload("Deployment", "web", "replicas: 3", zoneTerm), "warning EK024"},
		{"more pods than zones", nodePool("p", abc, "") + workload("Deployment", "web", "replicas: 4", zoneTerm), "error EK024"},
		{"named pool never used", nodePool("p", "{key: pool, operator: In, values: [p]}", "{key: pool, effect: NoSchedule}") + nodePool("q", "{key: pool, operator: In, values: [q]}", "") +
			workload("Deployment", "web", "", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [p, q]}]}]}}}"), "warning EK025"},
		{"tainted pool beside a plain one", nodePool("gpu", spotPool, "{key: gpu, effect: NoSchedule}") + nodePool("q", spotPool, "") + workload("Deployment", "web", "", onSpot), ""},
		{"host path", spotApp("", "volumes: [{name: d, hostPath: {path: /srv/data}}]") + "          volumeMounts: [{name: d, mountPath: /data}]\n", "warning EK029"},
		{"two daemon sets, one port", strings.Replace(workload("DaemonSet", "a", "", ""), "containerPort: 8080", "containerPort: 1, hostPort: 9100", 1) + strings.Replace(workload("DaemonSet", "b", "", "hostNetwork: true"), "8080", "9100", 1), "error EK030"},
		{"key in the wrong style", workload("Deployment", "web", "", "nodeSelector: {karpenter.sh/capacityType: spot}"), "error EK042"},
		{"value in a requirement", nodePool("p", "{key: karpenter.sh/capacity-type, operator: In, values: [SPOT]}", ""), "error EK042"},
		{"metadata of Karpenter's nodes", "apiVersion: karpenter.k8s.aws/v1\nkind: EC2NodeClass\nmetadata: {name: x}\nspec: {metadataOptions: {httpTokens: optional}}\n", "warning EK043"},
		{"ignored", strings.Replace(spotApp("", ""), "{name: web}", "{name: web, annotations: {evenkeel.dev/lint-ignore: \"EK020: a demo\"}}", 1) + service("web"), ""},
		{"ignored without a reason", strings.Replace(spotApp("", ""), "{name: web}", "{name: web, annotations: {evenkeel.dev/lint-ignore: EK020}}", 1) + service("web"), "info EK020, warning EK090"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Run(NewTarget(read(t, "f", c.text, false), Options{}), Rules())
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Severity.String()+" "+f.Rule)
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("found\n  %s\nwant %s in\n%s", strings.Join(messages(r), "\n  "), c.want, c.text)
			}
		})
	}
}

func TestPlacement(t *testing.T) {
	pools := nodePool("spot", spotPool, "{key: spot, value: \"true\", effect: NoSchedule}") + nodePool("base", "", "")
	for _, c := range []struct {
		name, input, pod string
		opts             Options
		want             Certainty
		cloud            manifest.Cloud
	}{
		{"nothing said", "", "", Options{}, No, ""},
		{"assumed", "", "", Options{AssumeSpot: true, Cloud: manifest.GCP}, Maybe, manifest.GCP},
		{"assumed, but asks for on-demand", "", "nodeSelector: {karpenter.sh/capacity-type: on-demand}", Options{AssumeSpot: true}, No, ""},
		{"selector", "", "nodeSelector: {eks.amazonaws.com/capacityType: SPOT}", Options{}, Yes, manifest.AWS},
		{"affinity", "", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: karpenter.sh/capacity-type, operator: NotIn, values: [on-demand]}]}]}}}", Options{}, Yes, ""},
		{"either", "", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: karpenter.sh/capacity-type, operator: In, values: [on-demand, spot]}]}]}}}", Options{}, No, ""},
		{"kept off spot", "", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: cloud.google.com/gke-spot, operator: DoesNotExist}]}]}}}", Options{AssumeSpot: true}, No, manifest.GCP},
		{"preference", "", "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: karpenter.sh/capacity-type, operator: In, values: [spot]}]}}]}}", Options{}, Maybe, ""},
		{"toleration", "", "tolerations: [{key: kubernetes.azure.com/scalesetpriority, value: spot, effect: NoSchedule}]", Options{}, Maybe, manifest.Azure},
		{"tolerates everything", "", "tolerations: [{operator: Exists}]", Options{}, No, ""},
		{"pool that it does not tolerate", pools, "", Options{}, No, manifest.AWS},
		{"pool that it tolerates", pools, "tolerations: [{key: spot, operator: Exists}]", Options{}, Maybe, manifest.AWS},
		{"pool that it asks for", pools, "nodeSelector: {karpenter.sh/nodepool: spot}\ntolerations: [{key: spot, operator: Exists}]", Options{}, Yes, manifest.AWS},
		{"pool that is not in the input", pools, "nodeSelector: {example.com/pool: other}", Options{}, No, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := NewTarget(read(t, "f", c.input+workload("Deployment", "web", "", c.pod), false), c.opts)
			got := target.Apps[0].Placement
			if got.Spot != c.want || got.Cloud != c.cloud {
				t.Errorf("spot %v on %q (%s), want %v on %q", got.Spot, got.Cloud, got.Why, c.want, c.cloud)
			}
		})
	}
}

func TestSwallowsSignals(t *testing.T) {
	for _, c := range []struct {
		shell, script string
		want          bool
	}{
		{"sh", "node server.js", true},
		{"sh", "exec node server.js", false},
		{"sh", "cd /app && exec node server.js", false},
		{"sh", "./migrate; ./serve", true},
		{"sh", "trap 'kill $p' TERM; ./serve & p=$!; wait $p", false},
		{"sh", "if [ -n \"$X\" ]; then exec ./a; else exec ./b; fi", false},
		{"sh", "while true; do ./serve; done", true},
		{"sh", "echo 'a; exec b'\n./serve \\\n  --flag\n", true},
		{"sh", "echo \"exec it\"; exec ./serve", false},
		{"bash", "node server.js", false},
		{"bash", "./migrate && ./serve", false},
		{"bash", "./serve | tee log", true},
		{"bash", "./serve > log", true},
	} {
		if _, got := swallowsSignals(c.shell, c.script); got != c.want {
			t.Errorf("%s -c %q: %v, want %v", c.shell, c.script, got, c.want)
		}
	}
}

// TestNearest joins by the copy that is meant when a directory holds several.
func TestNearest(t *testing.T) {
	set := read(t, "a/base/web.yaml", workload("Deployment", "web", "replicas: 1", ""), false)
	set.Add(read(t, "b/web.yaml", workload("Deployment", "web", "replicas: 1", ""), false))
	set.Add(read(t, "b/hpa.yaml", hpa("Deployment", "web", 2, 4), false))
	target := NewTarget(set, Options{})
	var got []int
	for _, a := range target.Apps {
		got = append(got, a.Floor())
	}
	if !slices.Equal(got, []int{1, 2}) {
		t.Errorf("floors %v, want [1 2]", got)
	}
}
