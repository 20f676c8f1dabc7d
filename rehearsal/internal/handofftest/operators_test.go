package handofftest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/evenkeel-dev/evenkeel/internal/cli"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
)

// testOperators runs `evenkeel drain` and `evenkeel cancel` as a person with the
// rights that are shipped for that, and as one without; and asks for what neither
// needs.
func testOperators(t *testing.T, plane *controlplane.ControlPlane, admin kubernetes.Interface) {
	ns := "operators"
	addNodes(t, admin, ns, 1)
	newNamespace(t, admin, ns)
	node, replicas := ns+"-0", int32(2)
	create(t, "a Deployment", func() error {
		_, err := admin.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas, Template: podTemplate("web", 5, ns), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			},
		}, metav1.CreateOptions{})
		return err
	})
	awaitSettled(t, admin, ns, 2)
	ann := rest.ImpersonationConfig{UserName: "ann", Groups: []string{"evenkeel-operators"}}
	bob := rest.ImpersonationConfig{UserName: "bob"}
	// The bindings may be younger than what the authorizer knows.
	await(t, "the rights to be known", func() error {
		_, err := as(t, plane, ann).CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		return err
	})

	for _, step := range []struct {
		who    rest.ImpersonationConfig
		args   []string
		code   int
		says   string // in what is printed
		record bool   // whether the node has one afterwards
	}{
		{bob, []string{"drain", node, "--no-wait"}, 3, "forbidden", false},
		{ann, []string{"drain", node, "--dry-run"}, 0, "Nothing was changed.", false},
		{ann, []string{"drain", node, "--no-wait", "--deadline=10m"}, 0, "no controller is seen", true}, // the Lease was read
		{bob, []string{"cancel", node}, 3, "forbidden", true},
		{ann, []string{"cancel", node}, 0, "is schedulable again", false},
		// The controller's work takes the controller's rights.
		{ann, []string{"drain", node, "--run", "--deadline=3s"}, 3, "not emptied", true},
		{ann, []string{"cancel", node}, 0, "is schedulable again", false},
	} {
		var out, errs bytes.Buffer
		args := append(step.args, "--kubeconfig="+kubeconfigAs(t, plane, step.who))
		code := cli.Main(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		if text := out.String() + errs.String(); code != step.code || !strings.Contains(text, step.says) {
			t.Errorf("%s: evenkeel %s exits with %d, want %d and %q\n%s", step.who.UserName, strings.Join(step.args, " "), code, step.code, step.says, text)
		}
		n, err := admin.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if stored := n.Annotations[cluster.RecordAnnotation] != ""; stored != step.record || n.Spec.Unschedulable != step.record {
			t.Errorf("after evenkeel %s: Record %t, cordoned %t", strings.Join(step.args, " "), stored, n.Spec.Unschedulable)
		}
	}
	if got := ready(t, admin, ns); got != 2 {
		t.Errorf("%d pods are ready, want 2: none may have been asked to go", got)
	}

	client, ctx := as(t, plane, ann), t.Context()
	pod := podOf(t, admin, ns).Name
	for what, try := range map[string]func() error{
		"evicting a pod": func() error {
			return client.PolicyV1().Evictions(ns).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: pod}})
		},
		"deleting a pod": func() error { return client.CoreV1().Pods(ns).Delete(ctx, pod, metav1.DeleteOptions{}) },
		"patching a pod": func() error {
			_, err := client.CoreV1().Pods(ns).Patch(ctx, pod, types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{})
			return err
		},
		"deleting a node": func() error { return client.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{}) },
		"writing a node's status": func() error {
			_, err := client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(`{"status":{}}`), metav1.PatchOptions{}, "status")
			return err
		},
		"listing secrets": func() error { _, err := client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); return err },
		"creating a pod": func() error {
			_, err := client.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		},
		"reading another Lease": func() error {
			_, err := client.CoordinationV1().Leases("evenkeel-system").Get(ctx, "another", metav1.GetOptions{})
			return err
		},
		"taking the Lease": func() error {
			_, err := client.CoordinationV1().Leases("evenkeel-system").Patch(ctx, "evenkeel-controller", types.MergePatchType, []byte(`{"spec":{"holderIdentity":"ann"}}`), metav1.PatchOptions{})
			return err
		},
		"changing a budget": func() error {
			_, err := client.PolicyV1().PodDisruptionBudgets(ns).Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"minAvailable":0}}`), metav1.PatchOptions{})
			return err
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want: forbidden", what, err)
		}
	}
}

// as returns a client that asks as somebody else, whom the authorizer then judges.
func as(t *testing.T, plane *controlplane.ControlPlane, who rest.ImpersonationConfig) kubernetes.Interface {
	t.Helper()
	config := plane.AdminConfig()
	config.Impersonate = who
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// kubeconfigAs writes a kubeconfig of somebody else, and returns its path.
func kubeconfigAs(t *testing.T, plane *controlplane.ControlPlane, who rest.ImpersonationConfig) string {
	t.Helper()
	admin := plane.AdminConfig()
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["test"] = &clientcmdapi.Cluster{Server: plane.URL(), CertificateAuthorityData: plane.CACertPEM()}
	cfg.AuthInfos["test"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: admin.CertData, ClientKeyData: admin.KeyData, Token: admin.BearerToken,
		Impersonate: who.UserName, ImpersonateGroups: who.Groups,
	}
	cfg.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	cfg.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), fmt.Sprintf("kubeconfig-%s", who.UserName))
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return path
}
