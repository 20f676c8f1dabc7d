package marketintelbrain

import (
	"bytes"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// objects decodes every document; a field that Kubernetes does not know is an
// error.
func objects(t *testing.T) (deployments []*appsv1.Deployment, services []*corev1.Service, budgets []*policyv1.PodDisruptionBudget) {
	t.Helper()
	files, err := fs.Glob(Manifests, "manifests/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %q: %v", files, err)
	}
	for _, name := range files {
		data, err := Manifests.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
			var kind metav1.TypeMeta
			if err := yaml.Unmarshal(doc, &kind); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var object any
			switch kind.Kind {
			case "Namespace":
				object = new(corev1.Namespace)
			case "Deployment":
				d := new(appsv1.Deployment)
				deployments, object = append(deployments, d), d
			case "Service":
				s := new(corev1.Service)
				services, object = append(services, s), s
			case "PodDisruptionBudget":
				b := new(policyv1.PodDisruptionBudget)
				budgets, object = append(budgets, b), b
			default:
				t.Fatalf("%s: unexpected kind %q", name, kind.Kind)
			}
			if err := yaml.UnmarshalStrict(doc, object); err != nil {
				t.Errorf("%s: %s: %v", name, kind.Kind, err)
			}
		}
	}
	return deployments, services, budgets
}

// What a service needs in order to survive a reclaim is said in several places of
// its manifest. They have to agree.
func TestManifestsAgree(t *testing.T) {
	deployments, services, budgets := objects(t)
	if len(deployments) != 2 || len(services) != 2 || len(budgets) != 2 {
		t.Fatalf("%d deployments, %d services, %d budgets", len(deployments), len(services), len(budgets))
	}
	for i, d := range deployments {
		pod := d.Spec.Template.Spec
		c := pod.Containers[0]
		selector := map[string]string{"app.kubernetes.io/name": d.Name}
		for what, got := range map[string]map[string]string{
			"deployment": d.Spec.Selector.MatchLabels, "service": services[i].Spec.Selector, "budget": budgets[i].Spec.Selector.MatchLabels,
		} {
			if !maps.Equal(got, selector) {
				t.Errorf("%s: selector of the %s is %v", d.Name, what, got)
			}
		}
		if d.Spec.Template.Labels["app.kubernetes.io/name"] != d.Name {
			t.Errorf("%s: labels %v", d.Name, d.Spec.Template.Labels)
		}

		env := make(map[string]string)
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
		if grace := strconv.FormatInt(*pod.TerminationGracePeriodSeconds, 10); env["EVENKEEL_GRACE_SECONDS"] != grace {
			t.Errorf("%s: grace period %s, but the process is told %q", d.Name, grace, env["EVENKEEL_GRACE_SECONDS"])
		}
		if want := c.VolumeMounts[0].MountPath + "/" + pod.Volumes[0].DownwardAPI.Items[0].Path; env["EVENKEEL_DEADLINE_FILE"] != want {
			t.Errorf("%s: annotations are at %s, but the process looks at %q", d.Name, want, env["EVENKEEL_DEADLINE_FILE"])
		}

		var ports []string
		for _, p := range c.Ports {
			ports = append(ports, p.Name)
		}
		for _, name := range []string{services[i].Spec.Ports[0].TargetPort.String(), c.ReadinessProbe.HTTPGet.Port.String(), c.LivenessProbe.HTTPGet.Port.String()} {
			if !slices.Contains(ports, name) {
				t.Errorf("%s: no port is named %s", d.Name, name)
			}
		}
	}
}
