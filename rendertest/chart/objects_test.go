package chart

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/cli"
)

// objects returns every object of a rendering.
func objects(t *testing.T, files map[string]string) []unstructured.Unstructured {
	t.Helper()
	var out []unstructured.Unstructured
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name == "NOTES.txt" {
			continue
		}
		for _, doc := range strings.Split(files[name], "\n---\n") {
			var o unstructured.Unstructured
			if err := yaml.UnmarshalStrict([]byte(doc), &o.Object); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			out = append(out, o)
		}
	}
	return out
}

// TestStrictDecoding reads every object into the API's own types, where an unknown
// field is an error.
func TestStrictDecoding(t *testing.T) {
	for name, values := range valueSets(t) {
		seen := make(map[string]bool)
		for _, o := range objects(t, rendered(t, values)) {
			key := fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
			if seen[key] {
				t.Errorf("%s: %s is there twice", name, key)
			}
			seen[key] = true
			if strings.HasPrefix(o.GetAPIVersion(), "monitoring.coreos.com/") {
				continue // not the API server's own
			}
			typed, err := scheme.Scheme.New(o.GroupVersionKind())
			if err != nil {
				t.Errorf("%s: %s: %v", name, key, err)
				continue
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, typed, true); err != nil {
				t.Errorf("%s: %s: %v", name, key, err)
			}
		}
	}
}

// TestPodSecurity: the controller keeps to the level restricted, and the agent to
// all of it but the machine's network, without which it hears nothing.
func TestPodSecurity(t *testing.T) {
	evaluator, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for name, values := range valueSets(t) {
		for _, o := range objects(t, rendered(t, values)) {
			var pod corev1.PodTemplateSpec
			switch o.GetKind() {
			case "Deployment":
				var d appsv1.Deployment
				convert(t, o, &d)
				pod = d.Spec.Template
			case "DaemonSet":
				var d appsv1.DaemonSet
				convert(t, o, &d)
				pod = d.Spec.Template
				if !pod.Spec.HostNetwork {
					t.Error("the agent does not use the machine's network")
				}
				pod.Spec.HostNetwork = false
			case "Pod":
				var p corev1.Pod
				convert(t, o, &p)
				pod = corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}
			default:
				continue
			}
			for _, r := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
				if !r.Allowed {
					t.Errorf("%s: %s %s: %s: %s", name, o.GetKind(), o.GetName(), r.ForbiddenReason, r.ForbiddenDetail)
				}
			}
		}
	}
}

func convert(t *testing.T, o unstructured.Unstructured, into any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
		t.Fatal(err)
	}
}

// TestLint: our own lint has nothing to say about our own manifests.
func TestLint(t *testing.T) {
	for name, values := range valueSets(t) {
		dir := t.TempDir()
		for file, text := range rendered(t, values) {
			if file == "NOTES.txt" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(file, "/", "-")), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		var out, errs bytes.Buffer
		code := cli.Main(t.Context(), []string{"lint", "--fail-on=info", dir}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		if code != 0 {
			t.Errorf("%s: evenkeel lint exits with %d\n%s%s", name, code, out.String(), errs.String())
		}
	}
}

// TestPoliciesNameEveryField: the policies say which fields of the specs of nodes and
// budgets stay as they are. One that Kubernetes adds must be among them.
func TestPoliciesNameEveryField(t *testing.T) {
	text := rendered(t, map[string]any{"agent": map[string]any{"enabled": true}})["admission-policy.yaml"]
	for _, spec := range []reflect.Type{reflect.TypeFor[corev1.NodeSpec](), reflect.TypeFor[policyv1.PodDisruptionBudgetSpec]()} {
		for i := range spec.NumField() {
			name, _, _ := strings.Cut(spec.Field(i).Tag.Get("json"), ",")
			if !regexp.MustCompile(`oldObject\.spec\.\??` + name + `\b`).MatchString(text) {
				t.Errorf("no policy speaks of the field %s of a %s", name, spec.Name())
			}
		}
	}
}
