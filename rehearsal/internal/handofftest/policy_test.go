package handofftest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
)

// by says who refuses a request.
type by string

const (
	allowed  by = ""
	byRBAC   by = "RBAC"
	byPolicy by = "ValidatingAdmissionPolicy"
)

// request is one thing that is tried. The API server decides about it and changes
// nothing: dry run.
type request struct {
	what string
	// kind is a resource or a subresource; name is of the object.
	kind, name string
	// patch is a strategic merge patch or, if it is a list, a JSON patch: a node's
	// taints are a list that others add to at any time.
	patch   string
	refused by
}

const heldNamespace = "held"

// theRecord and outOfService are as a patch has them.
const (
	theRecord    = `"evenkeel.dev/interruption":"{}"`
	outOfService = `{"key":"node.kubernetes.io/out-of-service","value":"evenkeel","effect":"NoExecute"}`
)

// controllerRequests are what the controller needs of pods and nodes, and what it
// has no need of.
var controllerRequests = []request{
	{"announcing a deadline", "pods", "web", `{"metadata":{"annotations":{"evenkeel.dev/deadline":"2026-01-01T00:00:00Z"}}}`, allowed},
	{"moving a deadline forward", "pods", "told", `{"metadata":{"annotations":{"evenkeel.dev/deadline":"2026-01-01T00:00:00Z"}}}`, allowed},
	{"taking a deadline back", "pods", "told", `{"metadata":{"annotations":{"evenkeel.dev/deadline":null}}}`, allowed},
	{"releasing a pod", "pods", "web", `{"metadata":{"annotations":{"evenkeel.dev/deadline":"x"},"labels":{"pod-template-hash":null,"evenkeel.dev/handoff":"abc"}}}`, allowed},

	{"taking a pod out of its endpoints", "pods", "web", `{"metadata":{"annotations":{"evenkeel.dev/withdrawn":"x"},"labels":{"evenkeel.dev/serving":null}}}`, allowed},

	{"releasing a pod without marking it", "pods", "web", `{"metadata":{"labels":{"pod-template-hash":null}}}`, byPolicy},
	{"marking a pod that is not released", "pods", "web", `{"metadata":{"labels":{"evenkeel.dev/handoff":"abc"}}}`, byPolicy},
	{"marking with another value", "pods", "web", `{"metadata":{"labels":{"pod-template-hash":null,"evenkeel.dev/handoff":"x"}}}`, byPolicy},
	{"taking a mark away", "pods", "told", `{"metadata":{"labels":{"evenkeel.dev/handoff":null}}}`, byPolicy},
	{"changing a mark", "pods", "told", `{"metadata":{"labels":{"evenkeel.dev/handoff":"x"}}}`, byPolicy},
	{"moving a pod to another ReplicaSet", "pods", "web", `{"metadata":{"labels":{"pod-template-hash":"def"}}}`, byPolicy},
	{"changing the label that it takes away", "pods", "web", `{"metadata":{"labels":{"evenkeel.dev/serving":"no"}}}`, byPolicy},
	{"setting a label", "pods", "web", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy},
	{"changing a label that a Service selects by", "pods", "web", `{"metadata":{"labels":{"app":"other"}}}`, byPolicy},
	{"taking a label away", "pods", "web", `{"metadata":{"labels":{"app":null}}}`, byPolicy},
	{"setting an annotation", "pods", "web", `{"metadata":{"annotations":{"x":"y"}}}`, byPolicy},
	{"taking an annotation away", "pods", "web", `{"metadata":{"annotations":{"example.com/note":null}}}`, byPolicy},
	{"overruling the author about the deadline", "pods", "web", `{"metadata":{"annotations":{"evenkeel.dev/on-deadline":"delete"}}}`, byPolicy},
	{"overruling the author about handoff", "pods", "web", `{"metadata":{"annotations":{"evenkeel.dev/handoff":"true"}}}`, byPolicy},
	{"changing an image", "pods", "web", `{"spec":{"containers":[{"name":"web","image":"evil"}]}}`, byPolicy},
	{"adding a toleration", "pods", "web", `{"spec":{"tolerations":[{"key":"x","operator":"Exists","effect":"NoExecute"}]}}`, byPolicy},
	{"limiting a pod's life", "pods", "web", `{"spec":{"activeDeadlineSeconds":1}}`, byPolicy},
	{"taking owners away", "pods", "web", `{"metadata":{"ownerReferences":null}}`, byPolicy},
	{"adding a finalizer", "pods", "web", `{"metadata":{"finalizers":["example.com/more"]}}`, byPolicy},
	{"taking finalizers away", "pods", "web", `{"metadata":{"finalizers":null}}`, byPolicy},
	{"writing a pod's status", "pods/status", "web", `{"status":{"phase":"Failed"}}`, byRBAC},
	{"resizing a pod", "pods/resize", "web", `{"spec":{"containers":[{"name":"web","resources":{"limits":{"cpu":"2"}}}]}}`, byRBAC},
	{"adding an ephemeral container", "pods/ephemeralcontainers", "web", `{"spec":{"ephemeralContainers":[{"name":"x","image":"evil"}]}}`, byRBAC},

	{"storing a Record with the cordon", "nodes", "held-plain", `{"metadata":{"annotations":{` + theRecord + `}},"spec":{"unschedulable":true}}`, allowed},
	{"storing a Record again", "nodes", "held-recorded", `{"metadata":{"annotations":{"evenkeel.dev/interruption":"{\"x\":1}"}}}`, allowed},
	{"storing a Record on a node that a person has cordoned", "nodes", "held-cordoned", `{"metadata":{"annotations":{` + theRecord + `}},"spec":{"unschedulable":true}}`, allowed},
	{"taking a Record and its cordon away", "nodes", "held-recorded", `{"metadata":{"annotations":{"evenkeel.dev/interruption":null}},"spec":{"unschedulable":null}}`, allowed},
	{"tainting a noticed node as out of service", "nodes", "held-recorded", `[{"op":"add","path":"/spec/taints/-","value":` + outOfService + `}]`, allowed},

	{"cordoning without a Record", "nodes", "held-plain", `{"spec":{"unschedulable":true}}`, byPolicy},
	{"uncordoning what a person has cordoned", "nodes", "held-cordoned", `{"spec":{"unschedulable":null}}`, byPolicy},
	{"tainting a node without a Record", "nodes", "held-plain", `[{"op":"add","path":"/spec/taints/-","value":` + outOfService + `}]`, byPolicy},
	{"setting another taint", "nodes", "held-recorded", `[{"op":"add","path":"/spec/taints/-","value":{"key":"x","effect":"NoExecute"}}]`, byPolicy},
	{"taking another's taint away", "nodes", "held-plain", `[{"op":"replace","path":"/spec/taints","value":[]}]`, byPolicy},
	{"setting a node's label", "nodes", "held-recorded", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy},
	{"taking a node's label away", "nodes", "held-recorded", `{"metadata":{"labels":{"kubernetes.io/hostname":null}}}`, byPolicy},
	{"setting a node's annotation", "nodes", "held-recorded", `{"metadata":{"annotations":{"x":"y"}}}`, byPolicy},
	{"setting a node's addresses", "nodes", "held-podless", `{"spec":{"podCIDR":"10.9.0.0/24","podCIDRs":["10.9.0.0/24"]}}`, byPolicy},
	{"giving a node an identity", "nodes", "held-podless", `{"spec":{"providerID":"aws:///us-east-1a/i-0123"}}`, byPolicy},
	{"adding a node's finalizer", "nodes", "held-recorded", `{"metadata":{"finalizers":["example.com/more"]}}`, byPolicy},
	{"giving a node an owner", "nodes", "held-recorded", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"x","uid":"x"}]}}`, byPolicy},
	{"writing a node's status", "nodes/status", "held-recorded", `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, byRBAC},

	{"swapping the limits of a budget", "poddisruptionbudgets", "two", `{"metadata":{"annotations":{"evenkeel.dev/min-available":"2","evenkeel.dev/max-unavailable":null}},"spec":{"minAvailable":null,"maxUnavailable":"25%"}}`, allowed},
	{"loosening a limit", "poddisruptionbudgets", "two", `{"spec":{"minAvailable":1}}`, byPolicy},
	{"loosening the limit that is noted", "poddisruptionbudgets", "two", `{"metadata":{"annotations":{"evenkeel.dev/max-unavailable":"50%"}}}`, byPolicy},
	{"swapping in another limit", "poddisruptionbudgets", "two", `{"metadata":{"annotations":{"evenkeel.dev/min-available":"2","evenkeel.dev/max-unavailable":null}},"spec":{"minAvailable":null,"maxUnavailable":"100%"}}`, byPolicy},
	{"forgetting a limit", "poddisruptionbudgets", "two", `{"metadata":{"annotations":{"evenkeel.dev/max-unavailable":null}},"spec":{"minAvailable":null,"maxUnavailable":"25%"}}`, byPolicy},
	{"taking the only limit out of force", "poddisruptionbudgets", "one", `{"metadata":{"annotations":{"evenkeel.dev/min-available":"2"}},"spec":{"minAvailable":null}}`, byPolicy},
	{"changing which pods a budget is for", "poddisruptionbudgets", "two", `{"spec":{"selector":{"matchLabels":{"app":"other"}}}}`, byPolicy},
	{"changing what a budget lets go", "poddisruptionbudgets", "two", `{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}`, byPolicy},
	{"setting a budget's label", "poddisruptionbudgets", "two", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy},
	{"setting a budget's annotation", "poddisruptionbudgets", "two", `{"metadata":{"annotations":{"x":"y"}}}`, byPolicy},
	{"writing a budget's status", "poddisruptionbudgets/status", "two", `{"status":{"disruptionsAllowed":9}}`, byRBAC},
}

// agentRequests are those of the agent on node held-plain.
var agentRequests = []request{
	{"storing a Record with the cordon", "nodes", "held-plain", `{"metadata":{"annotations":{` + theRecord + `}},"spec":{"unschedulable":true}}`, allowed},

	{"marking another node", "nodes", "held-recorded", `{"metadata":{"annotations":{"evenkeel.dev/interruption":"x"}}}`, byPolicy},
	{"giving another node back", "nodes", "held-recorded", `{"metadata":{"annotations":{"evenkeel.dev/interruption":null}},"spec":{"unschedulable":null}}`, byPolicy},
	{"cordoning without a Record", "nodes", "held-plain", `{"spec":{"unschedulable":true}}`, byPolicy},
	{"tainting its node", "nodes", "held-plain", `[{"op":"add","path":"/spec/taints/-","value":` + outOfService + `}]`, byPolicy},
	{"taking another's taint away", "nodes", "held-plain", `[{"op":"replace","path":"/spec/taints","value":[]}]`, byPolicy},
	{"setting its node's label", "nodes", "held-plain", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy},
	{"setting its node's annotation", "nodes", "held-plain", `{"metadata":{"annotations":{"x":"y"}}}`, byPolicy},
	{"adding its node's finalizer", "nodes", "held-plain", `{"metadata":{"finalizers":["example.com/more"]}}`, byPolicy},
	{"writing its node's status", "nodes/status", "held-plain", `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, byRBAC},
	{"announcing a deadline to a pod", "pods", "web", `{"metadata":{"annotations":{"evenkeel.dev/deadline":"x"}}}`, byRBAC},
}

// testPolicies tries the requests with the service accounts' own tokens.
func testPolicies(t *testing.T, plane *controlplane.ControlPlane, admin kubernetes.Interface, controller *rest.Config) {
	hold(t, admin)
	await(t, "the policies to be in force", func() error {
		for _, name := range []string{"evenkeel-controller-pods", "evenkeel-controller-nodes", "evenkeel-controller-budgets", "evenkeel-agent"} {
			p, err := admin.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if p.Status.ObservedGeneration != p.Generation || p.Status.TypeChecking == nil {
				return fmt.Errorf("%s has not been looked at yet", name)
			}
			for _, w := range p.Status.TypeChecking.ExpressionWarnings {
				t.Errorf("policy %s: %s: %s", name, w.FieldRef, w.Warning)
			}
		}
		return nil
	})
	agent := agentToken(t, plane, admin, "held-plain")
	for _, probe := range []struct {
		config *rest.Config
		request
	}{
		{controller, request{"", "pods", "web", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy}},
		{controller, request{"", "nodes", "held-plain", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy}},
		{controller, request{"", "poddisruptionbudgets", "two", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy}},
		{agent, request{"", "nodes", "held-plain", `{"metadata":{"labels":{"x":"y"}}}`, byPolicy}},
	} {
		await(t, "the policies to be in force", func() error { return judge(t, probe.config, probe.request) })
	}

	for _, who := range []struct {
		name     string
		config   *rest.Config
		requests []request
	}{
		{"controller", controller, controllerRequests},
		{"agent", agent, agentRequests},
		{"agent with a token of no node", unbound(t, plane, admin), []request{
			{"storing a Record with the cordon", "nodes", "held-plain", `{"metadata":{"annotations":{` + theRecord + `}},"spec":{"unschedulable":true}}`, byPolicy},
		}},
		{"somebody else", plane.AdminConfig(), []request{
			{"setting a label", "pods", "web", `{"metadata":{"labels":{"x":"y"}}}`, allowed},
			{"cordoning", "nodes", "held-plain", `{"spec":{"unschedulable":true}}`, allowed},
		}},
	} {
		t.Run(who.name, func(t *testing.T) {
			for _, r := range who.requests {
				if err := judge(t, who.config, r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("effects", func(t *testing.T) { testEffects(t, admin, controller) })
}

// judge tries a request, and returns an error if it is not decided as it should be.
func judge(t *testing.T, config *rest.Config, r request) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	kind, sub, _ := strings.Cut(r.kind, "/")
	format := types.StrategicMergePatchType
	if strings.HasPrefix(r.patch, "[") {
		format = types.JSONPatchType
	}
	api := client.CoreV1().RESTClient()
	if kind == "poddisruptionbudgets" {
		api = client.PolicyV1().RESTClient()
	}
	call := api.Patch(format).
		Resource(kind).Name(r.name).Body([]byte(r.patch)).Param("dryRun", metav1.DryRunAll)
	if kind != "nodes" {
		call = call.Namespace(heldNamespace)
	}
	if sub != "" {
		call = call.SubResource(sub)
	}
	err = call.Do(t.Context()).Error()
	policy := strings.Contains(fmt.Sprint(err), "ValidatingAdmissionPolicy")
	switch {
	case r.refused == allowed && err != nil:
		return fmt.Errorf("%s is refused: %v", r.what, err)
	case r.refused == byPolicy && !(apierrors.IsInvalid(err) || apierrors.IsForbidden(err)) || r.refused == byPolicy && !policy:
		return fmt.Errorf("%s: %v, want: refused by a policy", r.what, err)
	case r.refused == byRBAC && (!apierrors.IsForbidden(err) || policy):
		return fmt.Errorf("%s: %v, want: forbidden by RBAC", r.what, err)
	}
	return nil
}

// hold makes the objects that the requests are about.
func hold(t *testing.T, admin kubernetes.Interface) {
	t.Helper()
	ctx := t.Context()
	for _, name := range []string{"held-plain", "held-recorded", "held-cordoned"} {
		holdNode(t, admin, name, "aws:///us-east-1a/"+instanceOf(name))
	}
	holdNode(t, admin, "held-podless", "")
	const dedicated = `"taints":[{"key":"dedicated","value":"x","effect":"NoSchedule"}]`
	for name, patch := range map[string]string{
		"held-plain":    `{"spec":{` + dedicated + `}}`,
		"held-recorded": `{"metadata":{"annotations":{` + theRecord + `}},"spec":{"unschedulable":true,` + dedicated + `}}`,
		"held-cordoned": `{"spec":{"unschedulable":true}}`,
	} {
		if _, err := admin.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: heldNamespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	two := intstr.FromInt32(2)
	for name, notes := range map[string]map[string]string{"one": nil, "two": {cluster.MaxUnavailableAnnotation: "25%"}} {
		if _, err := admin.PolicyV1().PodDisruptionBudgets(heldNamespace).Create(ctx, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: notes},
			Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &two, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var owner *corev1.ConfigMap
	await(t, "what every namespace has", func() (err error) {
		owner, err = admin.CoreV1().ConfigMaps(heldNamespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		if err == nil {
			_, err = admin.CoreV1().ServiceAccounts(heldNamespace).Get(ctx, "default", metav1.GetOptions{})
		}
		return err
	})
	for name, meta := range map[string]metav1.ObjectMeta{
		"web":  {Labels: map[string]string{"app": "web", cluster.ServingLabel: "true", cluster.TemplateHashLabel: "abc"}, Annotations: map[string]string{"example.com/note": "x"}},
		"told": {Labels: map[string]string{"app": "web", cluster.HandoffLabel: "abc"}, Annotations: map[string]string{cluster.DeadlineAnnotation: "x"}},
		"free": {Labels: map[string]string{"app": "free", cluster.ServingLabel: "true", cluster.TemplateHashLabel: "abc"}},
		"gone": {Labels: map[string]string{"app": "free", cluster.TemplateHashLabel: "abc"}},
	} {
		meta.Name = name
		if name == "web" {
			meta.Finalizers = []string{"example.com/hold"}
			meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
		}
		if _, err := admin.CoreV1().Pods(heldNamespace).Create(ctx, &corev1.Pod{
			ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: "held-recorded", Containers: []corev1.Container{{Name: "web", Image: "web"}}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // or the pod stays for good
		_, err := admin.CoreV1().Pods(heldNamespace).Patch(context.Background(), "web", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err != nil {
			t.Error(err)
		}
	})
}

// holdNode makes a node that nothing is scheduled on.
func holdNode(t *testing.T, admin kubernetes.Interface, name, providerID string) {
	t.Helper()
	if _, err := admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}},
		Spec:       corev1.NodeSpec{ProviderID: providerID},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// agentToken returns the configuration of a client with the token that the kubelet
// of a node gets for its agent's pod.
func agentToken(t *testing.T, plane *controlplane.ControlPlane, admin kubernetes.Interface, node string) *rest.Config {
	t.Helper()
	const namespace, account = "evenkeel-agent", "evenkeel-agent"
	p, err := admin.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-of-" + node},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: true, ServiceAccountName: account, Containers: []corev1.Container{{Name: "agent", Image: "agent"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return withToken(t, plane, admin, namespace, account, &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID})
}

func unbound(t *testing.T, plane *controlplane.ControlPlane, admin kubernetes.Interface) *rest.Config {
	return withToken(t, plane, admin, "evenkeel-agent", "evenkeel-agent", nil)
}

// withToken returns the configuration of a client with a service account's token.
func withToken(t *testing.T, plane *controlplane.ControlPlane, admin kubernetes.Interface, namespace, account string, to *authv1.BoundObjectReference) *rest.Config {
	t.Helper()
	token, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authv1.TokenRequest{Spec: authv1.TokenRequestSpec{BoundObjectRef: to}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{
		Host: plane.URL(), BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: plane.CACertPEM()}, QPS: -1,
	}
}

// testEffects carries out every kind of effect on the cluster, as the controller
// does, under the policies.
func testEffects(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c := kube.New(client, slog.New(slog.NewTextHandler(t.Output(), nil)))
	const node = "held-effects"
	holdNode(t, admin, node, "aws:///us-east-1a/"+instanceOf(node))
	uid := func(name string) cluster.UID {
		p, err := admin.CoreV1().Pods(heldNamespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return cluster.UID(p.UID)
	}
	free, gone := uid("free"), uid("gone")
	deadline := time.Now().Add(2 * time.Minute)
	noticed := drain.Record{
		Notice:   interruption.Notice{Instance: "i-0effects", Kind: interruption.SpotInterruption, Deadline: deadline},
		Deadline: deadline, Cordoned: true, Stored: time.Now(),
	}
	emptied := noticed
	emptied.Emptied = time.Now()
	tainted := emptied
	tainted.Stored = time.Now()
	now := time.Second
	pod := func(kind drain.Kind, name string, uid cluster.UID) drain.Effect {
		return drain.Effect{Kind: kind, Node: node, Pod: cluster.Key{Namespace: heldNamespace, Name: name}, UID: uid, Deadline: deadline, Hash: "abc"}
	}
	deletion := pod(drain.Delete, "gone", gone)
	deletion.Grace = &now
	for _, e := range []drain.Effect{
		{Kind: drain.Store, Node: node, Record: &noticed, Cordon: true},
		pod(drain.Announce, "free", free),
		pod(drain.Handoff, "free", free),
		pod(drain.Withdraw, "free", free),
		pod(drain.Evict, "free", free),
		deletion,
		{Kind: drain.Store, Node: node, Old: noticed.Encode(), Record: &emptied},
		{Kind: drain.Store, Node: node, Old: emptied.Encode(), Record: &tainted, Taint: true},
		{Kind: drain.Store, Node: node, Old: tainted.Encode(), Uncordon: true, Untaint: true},
	} {
		if outcome, err := c.Do(t.Context(), e); outcome != drain.Done {
			t.Errorf("%s: %s (%v), want done", e, outcome, err)
		}
	}
	await(t, "the limits of a budget to be swapped", func() error { // its status changes, too
		budget, err := admin.PolicyV1().PodDisruptionBudgets(heldNamespace).Get(t.Context(), "two", metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = c.Do(t.Context(), drain.Effect{
			Kind: drain.Rebudget, Pod: cluster.Key{Namespace: heldNamespace, Name: "two"}, UID: cluster.UID(budget.UID),
			Budget: &drain.BudgetChange{
				Version: budget.ResourceVersion, Min: cluster.Limit{N: 2}, Max: cluster.Limit{N: 25, Percent: true}, EnforceMax: true,
			},
		})
		return err
	})
	n, err := admin.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Spec.Unschedulable || n.Annotations[cluster.RecordAnnotation] != "" {
		t.Errorf("the node was not given back: %v, %v", n.Spec, n.Annotations)
	}
}
