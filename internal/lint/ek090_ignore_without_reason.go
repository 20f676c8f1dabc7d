package lint

import (
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func ignoreWithoutReason() Rule {
	return Rule{
		ID:       "EK090",
		Title:    "lint-ignore without a reason, or for no rule",
		Severity: Warning,
		Why: `An exception that does not say why cannot be reviewed, and nobody dares to remove it. An ignore without a reason has
no effect. One that names no rule is usually a slip of the pen, and leaves on what it was meant to turn off.`,
		Remedy: "Write `evenkeel.dev/lint-ignore: \"EK020: a minute of downtime is agreed with the owners\"`; separate several by semicolons. In Terraform, write the comment `# evenkeel.dev/lint-ignore: EK040: reason` in or directly above the block.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata:
  name: demo
  annotations:
    evenkeel.dev/lint-ignore: EK014 # EK090
spec:
  selector: {matchLabels: {app: demo}}
  template:
    metadata: {labels: {app: demo}}
    spec:
      containers: [{name: demo, image: demo}]
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata:
  name: demo
  annotations:
    evenkeel.dev/lint-ignore: "EK014: a demo; nobody calls it in production"
spec:
  selector: {matchLabels: {app: demo}}
  template:
    metadata: {labels: {app: demo}}
    spec:
      containers: [{name: demo, image: demo}]
---
apiVersion: v1
kind: Service
metadata: {name: demo}
spec:
  selector: {app: demo}
  ports: [{port: 80}]
`,
		Check: func(t *Target) (out []Finding) {
			ids := IDs()
			for m := range metas(t.Set) {
				for _, ig := range m.Ignores {
					switch {
					case !slices.Contains(ids, ig.Rule):
						out = append(out, at(m, ig.Pos, "ignores %q, which is no rule", ig.Rule))
					case ig.Reason == "":
						out = append(out, at(m, ig.Pos, "ignores %s without a reason, and has no effect", ig.Rule))
					}
				}
			}
			return out
		},
	}
}

// metas yields the objects that findings can be about.
func metas(s *manifest.Set) func(yield func(*manifest.Meta) bool) {
	return func(yield func(*manifest.Meta) bool) {
		_ = each(s.Workloads, func(o *manifest.Workload) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.Services, func(o *manifest.Service) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.Budgets, func(o *manifest.Budget) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.Scalers, func(o *manifest.Scaler) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.Ingresses, func(o *manifest.Ingress) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.StorageClasses, func(o *manifest.StorageClass) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.Pools, func(o *manifest.Pool) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.LaunchTemplates, func(o *manifest.LaunchTemplate) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.Queues, func(o *manifest.Queue) *manifest.Meta { return &o.Meta }, yield) &&
			each(s.Statements, func(o *manifest.Statement) *manifest.Meta { return &o.Meta }, yield)
	}
}

func each[T any](objects []T, meta func(T) *manifest.Meta, yield func(*manifest.Meta) bool) bool {
	for _, o := range objects {
		if !yield(meta(o)) {
			return false
		}
	}
	return true
}
