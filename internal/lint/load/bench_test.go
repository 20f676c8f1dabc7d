package load_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/load"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// application is five documents of the size and shape that charts produce.
const application = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%[1]d
  namespace: team-%[2]d
  labels:
    app.kubernetes.io/name: app-%[1]d
    app.kubernetes.io/instance: app-%[1]d
    app.kubernetes.io/version: "1.4.2"
    app.kubernetes.io/managed-by: Helm
    helm.sh/chart: app-0.3.1
spec:
  replicas: 3
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 25%%
      maxUnavailable: 0
  selector:
    matchLabels:
      app.kubernetes.io/name: app-%[1]d
      app.kubernetes.io/instance: app-%[1]d
  template:
    metadata:
      annotations:
        prometheus.io/scrape: "true"
        checksum/config: 0123456789abcdef0123456789abcdef
      labels:
        app.kubernetes.io/name: app-%[1]d
        app.kubernetes.io/instance: app-%[1]d
    spec:
      serviceAccountName: app-%[1]d
      nodeSelector:
        karpenter.sh/capacity-type: spot
      terminationGracePeriodSeconds: 45
      securityContext:
        runAsNonRoot: true
        seccompProfile: {type: RuntimeDefault}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: app-%[1]d
      containers:
        - name: app
          image: registry.example.com/team/app:1.4.2
          args: ["--listen=:8080", "--log-level=info"]
          env:
            - name: DATABASE_URL
              valueFrom: {secretKeyRef: {name: app-%[1]d, key: url}}
            - name: POD_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
          ports:
            - name: http
              containerPort: 8080
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
          livenessProbe:
            httpGet: {path: /livez, port: http}
          lifecycle:
            preStop:
              sleep: {seconds: 10}
          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {memory: 256Mi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
---
apiVersion: v1
kind: Service
metadata:
  name: app-%[1]d
  namespace: team-%[2]d
spec:
  selector:
    app.kubernetes.io/name: app-%[1]d
    app.kubernetes.io/instance: app-%[1]d
  ports:
    - name: http
      port: 80
      targetPort: http
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: app-%[1]d
  namespace: team-%[2]d
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: app-%[1]d
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: app-%[1]d
  namespace: team-%[2]d
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: app-%[1]d}
  minReplicas: 3
  maxReplicas: 12
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: 70}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: app-%[1]d
  namespace: team-%[2]d
data:
  config.yaml: |
    listen: :8080
    upstreams:
      - name: a
        url: http://a.example.com
      - name: b
        url: http://b.example.com
    timeouts:
      read: 5s
      write: 10s
---
`

// BenchmarkLint reads, decodes, joins and checks 10,000 documents. The project
// promises less than two seconds on two processors.
func BenchmarkLint(b *testing.B) {
	var text bytes.Buffer
	for i := range 2000 {
		fmt.Fprintf(&text, application, i, i%20)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	rules := lint.Rules()
	for b.Loop() {
		r := load.Reader{Stdin: bytes.NewReader(text.Bytes())}
		got, err := r.Read(b.Context(), []string{load.Stdin})
		if err != nil || got.InvalidCount > 0 || got.Set.Documents != 10_000 {
			b.Fatalf("read %d documents, %d invalid: %v", got.Set.Documents, got.InvalidCount, err)
		}
		if len(got.Set.Workloads) != 2000 || len(got.Set.Budgets) != 2000 {
			b.Fatal("the documents are not what the benchmark claims to measure")
		}
		lint.Run(lint.NewTarget(got.Set, lint.Options{}), rules)
	}
}

// BenchmarkRules is the part of BenchmarkLint after reading.
func BenchmarkRules(b *testing.B) {
	var text bytes.Buffer
	for i := range 2000 {
		fmt.Fprintf(&text, application, i, 0) // one namespace: the worst for joins
	}
	r := load.Reader{Stdin: &text}
	got, err := r.Read(b.Context(), []string{load.Stdin})
	if err != nil {
		b.Fatal(err)
	}
	got.Set.Budgets = append(got.Set.Budgets, &manifest.Budget{Meta: manifest.Meta{Namespace: "team-0"}, Selector: manifest.Selector{Set: true}})
	rules := lint.Rules()
	for b.Loop() {
		lint.Run(lint.NewTarget(got.Set, lint.Options{}), rules)
	}
}
