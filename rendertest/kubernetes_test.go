package rendertest

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// TestStrictDecoding reads every manifest into the API's own types, where an
// unknown or repeated field is an error.
func TestStrictDecoding(t *testing.T) {
	for _, o := range objects(t, "kubernetes") {
		typed, err := scheme.Scheme.New(o.GroupVersionKind())
		if err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, typed, true); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// TestPodSecurity evaluates every pod template at the level that the namespace
// enforces.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{}
	templates := make(map[string]corev1.PodTemplateSpec)
	for _, o := range objects(t, "kubernetes") {
		switch o.GetKind() {
		case "Namespace":
			level.Level, err = api.ParseLevel(o.GetLabels()["pod-security.kubernetes.io/enforce"])
			if err != nil {
				t.Fatal(err)
			}
			level.Version, err = api.ParseVersion(o.GetLabels()["pod-security.kubernetes.io/enforce-version"])
			if err != nil {
				t.Fatal(err)
			}
		case "Deployment":
			var d appsv1.Deployment
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
				t.Fatal(err)
			}
			templates[o.GetName()] = d.Spec.Template
		case "StatefulSet":
			var s appsv1.StatefulSet
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &s); err != nil {
				t.Fatal(err)
			}
			templates[o.GetName()] = s.Spec.Template
		}
	}
	if level.Level != api.LevelRestricted || len(templates) < 6 {
		t.Fatalf("level %q and %d pod templates, want restricted and at least 6", level.Level, len(templates))
	}
	for name, template := range templates {
		check := func() []string {
			var out []string
			for _, r := range evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec) {
				if !r.Allowed {
					out = append(out, r.ForbiddenReason+": "+r.ForbiddenDetail)
				}
			}
			return out
		}
		if bad := check(); len(bad) > 0 {
			t.Errorf("%s: %s", name, strings.Join(bad, "; "))
		}
		template.Spec.HostNetwork = true
		if len(check()) == 0 {
			t.Errorf("%s: host network was accepted, so the check checks nothing", name)
		}
	}
}
