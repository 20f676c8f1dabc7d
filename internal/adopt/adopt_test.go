package adopt

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

const rendered = "../../examples/market-intel-brain/rendered/kubernetes"

func input(t *testing.T) Input {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(rendered, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	var in Input
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := in.AddYAML(path, data); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// TestRoundTrip describes what was rendered from the reference platform, and
// compares the result with where it came from.
func TestRoundTrip(t *testing.T) {
	text, err := Platform(input(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := spec.Parse(strings.NewReader(text), "adopted.yaml")
	if err != nil {
		t.Fatalf("the description is not valid: %v\n%s", err, text)
	}
	f, err := os.Open("../../examples/market-intel-brain/platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := spec.Parse(f, "platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Services) != len(want.Services) {
		t.Errorf("%d services, want %d", len(got.Services), len(want.Services))
	}
	for _, w := range want.Services {
		g, ok := got.Service(w.Name)
		if !ok {
			t.Errorf("%s is missing", w.Name)
			continue
		}
		if g.Image != w.Image || g.Drain.Grace != w.Drain.Grace || len(g.Ports) != len(w.Ports) || g.Resources.CPU.Cmp(w.Resources.CPU) != 0 || (g.Stateful == nil) != (w.Stateful == nil) {
			t.Errorf("%s is described as %+v, want %+v", w.Name, g, w)
		}
		if len(g.Ports) > 0 && (g.Ports[0] != w.Ports[0] || g.Health.Port != w.Health.Port) {
			t.Errorf("%s: ports %v and health %v, want %v and %v", w.Name, g.Ports, *g.Health, w.Ports, *w.Health)
		}
		if w.Scaling == nil && g.Replicas != w.Replicas {
			t.Errorf("%s: %d replicas, want %d", w.Name, g.Replicas, w.Replicas)
		}
	}
}

func TestPieces(t *testing.T) {
	const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 5
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
`
	tests := []struct{ name, yaml, want string }{
		{"no budget", workload, `availability: \{maxUnavailable: 25%\} # CHECK`},
		{"no requests", workload, `resources: \{cpu: 100m, memory: 128Mi\} # CHECK`},
		{"no wait", workload, `drain: \{preStop: sleep, delay: 5s, grace: 30s\} # CHECK`},
		{"budget", workload + "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: {minAvailable: 60%, selector: {matchLabels: {app: web}}}\n", `availability: \{minAvailable: 60%\}\n`},
		{"budget of others", workload + "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: {minAvailable: 60%, selector: {matchLabels: {app: api}}}\n", `availability: \{maxUnavailable: 25%\} # CHECK`},
		{"autoscaler", workload + "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec: {minReplicas: 2, maxReplicas: 8, scaleTargetRef: {kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 55}}}]}\n", `scaling: \{min: 2, max: 8, triggers: \[\{cpu: \{utilization: 55\}\}\]\}\n`},
		{"service with a named port", strings.Replace(workload, "image: web:1", "image: web:1\n        ports: [{name: main, containerPort: 3000}]", 1) + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: main}]}\n", `ports: \[\{name: port-80, port: 80, target: 3000\}\]\n    health: \{port: 3000, .*# CHECK`},
		{"sleep by a shell", strings.Replace(workload, "image: web:1", "image: web:1\n        lifecycle: {preStop: {exec: {command: [/bin/sh, -c, sleep 12]}}}", 1), `drain: \{preStop: sleep, delay: 12s, grace: 30s\}\n`},
		{"grace beyond the notice", strings.Replace(workload, "      containers:", "      terminationGracePeriodSeconds: 600\n      containers:", 1), `pools: \[on-demand\]\n    spot: avoid # CHECK: its grace`},
		{"environment from a secret", strings.Replace(workload, "image: web:1", "image: web:1\n        env: [{name: A, value: \"1\"}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]", 1), `env: \{A: "1"\}\n    # CHECK: not literal, so left out: B`},
		{"two containers", strings.Replace(workload, "image: web:1", "image: web:1\n      - {name: side, image: side:1}", 1), `# CHECK: it has 2 containers, of which web is described`},
		{"a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: api}\n  spec: {template: {spec: {containers: [{name: api, image: api:1}]}}}\n", `- name: api`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var in Input
			if err := in.AddYAML("in.yaml", []byte(tt.yaml)); err != nil {
				t.Fatal(err)
			}
			text, err := Platform(in)
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(tt.want).MatchString(text) {
				t.Errorf("want %s in:\n%s", tt.want, text)
			}
			if _, err := spec.Parse(strings.NewReader(text), "out.yaml"); err != nil {
				t.Errorf("the description is not valid: %v\n%s", err, text)
			}
		})
	}
}

func TestNodes(t *testing.T) {
	in := input(t)
	for _, n := range []struct{ zone, kind, capacity string }{
		{"eu-west-1a", "c5.large", "SPOT"}, {"eu-west-1b", "c5a.large", "SPOT"}, {"eu-west-1b", "m5.large", "ON_DEMAND"},
	} {
		in.Nodes = append(in.Nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
			corev1.LabelTopologyRegion: "eu-west-1", corev1.LabelTopologyZone: n.zone, corev1.LabelInstanceTypeStable: n.kind, "eks.amazonaws.com/capacityType": n.capacity,
		}}})
	}
	text, err := Platform(in)
	if err != nil {
		t.Fatal(err)
	}
	p, err := spec.Parse(strings.NewReader(text), "out.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p.Cluster.Region != "eu-west-1" || len(p.Cluster.Zones) != 2 || p.Pools[0].Desired != 2 || strings.Join(p.Pools[0].InstanceTypes, " ") != "c5.large c5a.large" {
		t.Errorf("cluster %+v, spot pool %+v", p.Cluster, p.Pools[0])
	}
}

func TestErrors(t *testing.T) {
	deployment := func(name, namespace string) string {
		return "---\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {template: {spec: {containers: [{name: a, image: a}]}}}\n"
	}
	var empty Input
	if _, err := Platform(empty); err == nil {
		t.Error("nothing was described")
	}
	var two Input
	if err := two.AddYAML("in", []byte(deployment("a", "shop")+deployment("b", "store"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Platform(two); err == nil || !strings.Contains(err.Error(), "shop, store; choose one with -n") {
		t.Errorf("two namespaces: %v", err)
	}
	two.Namespace = "store"
	if text, err := Platform(two); err != nil || strings.Contains(text, "name: a\n") {
		t.Errorf("namespace store: %v\n%s", err, text)
	}
}

func FuzzAddYAML(f *testing.F) {
	f.Add([]byte("kind: Deployment\nspec: {replicas: -1, template: {spec: {containers: [{}]}}}"))
	f.Add([]byte("kind: List\nitems: [{kind: Service, spec: {ports: [{}]}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var in Input
		if in.AddYAML("in", data) == nil {
			_, _ = Platform(in) // must not panic
		}
	})
}
