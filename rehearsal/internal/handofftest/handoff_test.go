package handofftest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/deploy"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/web"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/controlplanetest"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
)

func TestMain(m *testing.M) { controlplanetest.Main(m) }

// TestHandoff is one control plane's worth of tests: starting it is what costs.
func TestHandoff(t *testing.T) {
	// Nobody renews leases here: nodes may be silent for as long as the test runs.
	plane := controlplanetest.StartConfig(t, controlplane.Config{NodeMonitorGrace: time.Hour})
	admin, err := kubernetes.NewForConfig(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	kubelets := startKubelets(t, admin)
	// The controller under test has the rights that are shipped, and no others.
	config := shipped(t, plane)

	t.Run("PDB at its limit", func(t *testing.T) { testBudgetAtLimit(t, admin, config, kubelets) })
	t.Run("restart in the middle", func(t *testing.T) { testRestart(t, admin, config, kubelets) })
	t.Run("election", func(t *testing.T) { testElection(t, config) })
	t.Run("events", func(t *testing.T) { testEvents(t, admin, config) })
	t.Run("workloads", func(t *testing.T) { testWorkloads(t, admin, config) })
	t.Run("a Job", func(t *testing.T) { testJob(t, admin, config) })
	t.Run("the machine is gone", func(t *testing.T) { testMachineGone(t, admin, config, kubelets) })
	t.Run("a budget with two limits", func(t *testing.T) { testTwoLimits(t, admin, config) })
	t.Run("rights", func(t *testing.T) { testRights(t, config) })
	t.Run("operators", func(t *testing.T) { testOperators(t, plane, admin) })
	t.Run("policies", func(t *testing.T) { testPolicies(t, plane, admin, config) })
}

// shipped applies what deploy/ has but for what would run in pods, and returns the
// configuration of a client with the controller's token.
func shipped(t *testing.T, plane *controlplane.ControlPlane) *rest.Config {
	t.Helper()
	apply, err := manifest.NewApplier(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	// The first one has the namespace that the last one's Role is in.
	for _, file := range []struct {
		name string
		data []byte
	}{{"controller.yaml", deploy.Controller}, {"policies.yaml", deploy.Policies}, {"agent.yaml", deploy.Agent}, {"operators.yaml", deploy.Operators}} {
		objects, err := manifest.Decode("deploy/"+file.name, file.data)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if o.GetKind() == "Deployment" || o.GetKind() == "DaemonSet" {
				continue
			}
			if err := apply.Apply(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	admin, err := kubernetes.NewForConfig(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	return withToken(t, plane, admin, "evenkeel-system", "evenkeel-controller", nil)
}

// testBudgetAtLimit takes a node from a Deployment whose budget allows no
// disruption at all.
func testBudgetAtLimit(t *testing.T, admin kubernetes.Interface, config *rest.Config, kubelets *kubelets) {
	ns := "at-limit"
	addNodes(t, admin, ns, 4)
	deployWeb(t, admin, ns, 3)
	victim := podOf(t, admin, ns)
	node := victim.Spec.NodeName

	err := admin.PolicyV1().Evictions(ns).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: victim.Name}})
	if !apierrors.IsTooManyRequests(err) {
		t.Fatalf("evicting by hand: %v, want: too many requests; the budget does not bind", err)
	}

	low := watchReady(t, admin, ns)
	kubelets.holdBack(true)
	defer kubelets.holdBack(false)
	source := &memorySource{}
	run(t, config, source)
	acked := source.send(t, node, 2*time.Minute)
	if err := <-acked; err != nil {
		t.Fatalf("the notice was not taken: %v", err)
	}
	n, err := admin.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !n.Spec.Unschedulable || n.Annotations[cluster.RecordAnnotation] == "" {
		t.Errorf("acknowledged before the node was cordoned (%v) and its Record stored (%q)", n.Spec.Unschedulable, n.Annotations[cluster.RecordAnnotation])
	}

	// The victim is released and serves on; its replacement exists, is not on the
	// node, and is not Ready: nothing may be evicted.
	await(t, "the victim to be released and its replacement to be there", func() error {
		p, err := admin.CoreV1().Pods(ns).Get(t.Context(), victim.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if p.Labels[cluster.HandoffLabel] == "" || p.Annotations[cluster.DeadlineAnnotation] == "" || len(p.OwnerReferences) > 0 {
			return fmt.Errorf("labels %v, annotations %v, owners %v", p.Labels, p.Annotations, p.OwnerReferences)
		}
		if got := count(t, admin, ns); got != 4 {
			return fmt.Errorf("%d pods", got)
		}
		return nil
	})
	if p, err := admin.CoreV1().Pods(ns).Get(t.Context(), victim.Name, metav1.GetOptions{}); err != nil || p.DeletionTimestamp != nil || !isReady(p) {
		t.Errorf("the victim does not serve while it waits (%v)", err)
	}
	kubelets.holdBack(false)
	awaitEmpty(t, admin, ns, node)
	awaitSettled(t, admin, ns, 3)
	if got := low(); got < 3 {
		t.Errorf("ready pods fell to %d of 3", got)
	}
}

// testRestart stops the controller between the release of a pod and its
// eviction, and lets another one go on.
func testRestart(t *testing.T, admin kubernetes.Interface, config *rest.Config, kubelets *kubelets) {
	ns := "restart"
	addNodes(t, admin, ns, 3)
	deployWeb(t, admin, ns, 2)
	victim := podOf(t, admin, ns)
	node := victim.Spec.NodeName
	low := watchReady(t, admin, ns)

	kubelets.holdBack(true)
	defer kubelets.holdBack(false)
	first := &memorySource{}
	stop := run(t, config, first)
	if err := <-first.send(t, node, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	await(t, "the victim to be released", func() error {
		p, err := admin.CoreV1().Pods(ns).Get(t.Context(), victim.Name, metav1.GetOptions{})
		if err == nil && p.Labels[cluster.HandoffLabel] == "" {
			err = errors.New("not yet")
		}
		return err
	})
	stop()
	kubelets.holdBack(false)
	await(t, "the replacement to be Ready while no controller runs", func() error {
		if got := ready(t, admin, ns); got != 3 {
			return fmt.Errorf("%d ready", got)
		}
		return nil
	})

	run(t, config, &memorySource{}) // no notice comes any more
	awaitEmpty(t, admin, ns, node)
	awaitSettled(t, admin, ns, 2)
	if got := low(); got < 2 {
		t.Errorf("ready pods fell to %d of 2", got)
	}
}

// testRights asks for what the controller has no need of.
func testRights(t *testing.T, config *rest.Config) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for what, try := range map[string]func() error{
		"listing secrets": func() error { _, err := client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); return err },
		"deleting a node": func() error { return client.CoreV1().Nodes().Delete(ctx, "x", metav1.DeleteOptions{}) },
		"creating a pod": func() error {
			_, err := client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		},
		"deleting a workload": func() error { return client.AppsV1().Deployments("default").Delete(ctx, "x", metav1.DeleteOptions{}) },
		"changing a budget": func() error {
			return client.PolicyV1().PodDisruptionBudgets("default").Delete(ctx, "x", metav1.DeleteOptions{})
		},
		"running a command": func() error {
			return client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("x").SubResource("exec").Do(ctx).Error()
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want: forbidden", what, err)
		}
	}
}

// memorySource is a source that a test feeds.
type memorySource struct {
	mu   sync.Mutex
	emit func(context.Context, interruption.Notice) error
	ctx  context.Context
}

func (s *memorySource) Run(ctx context.Context, emit func(context.Context, interruption.Notice) error) error {
	s.mu.Lock()
	s.emit, s.ctx = emit, ctx
	s.mu.Unlock()
	<-ctx.Done()
	return nil
}

// send emits a notice, and returns where its answer will come.
func (s *memorySource) send(t *testing.T, node string, lead time.Duration) <-chan error {
	t.Helper()
	await(t, "the source to run", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.emit == nil {
			return errors.New("not yet")
		}
		return nil
	})
	answer := make(chan error, 1)
	now := time.Now()
	go func() {
		answer <- s.emit(s.ctx, interruption.Notice{
			ID: "test", Cloud: interruption.AWS, Kind: interruption.SpotInterruption, Action: "terminate",
			Instance: interruption.InstanceID(instanceOf(node)), Sent: now, Seen: now, Deadline: now.Add(lead),
		})
	}()
	return answer
}

// run starts a controller and returns what stops it; the test's end does too.
func run(t *testing.T, config *rest.Config, source controller.Source) (stop func()) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := controller.New(kube.New(client, log), []controller.Source{source}, controller.Config{Log: log, Meter: web.NewMeter()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("running the controller: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// addNodes adds n nodes, and waits until pods can be scheduled on all of them, so
// that they are spread.
func addNodes(t *testing.T, admin kubernetes.Interface, prefix string, n int) {
	t.Helper()
	for i := range n {
		addNode(t, admin, fmt.Sprintf("%s-%d", prefix, i), prefix)
	}
	await(t, "the nodes to be taken up", func() error {
		nodes, err := admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range nodes.Items {
			if strings.HasPrefix(n.Name, prefix) && len(n.Spec.Taints) > 0 {
				return fmt.Errorf("%s is tainted: %v", n.Name, n.Spec.Taints)
			}
		}
		return nil
	})
}

// deployWeb deploys replicas that are spread over the test's nodes, with a budget
// that allows none of them to be disrupted, and waits until all are Ready.
func deployWeb(t *testing.T, admin kubernetes.Interface, ns string, replicas int32) {
	t.Helper()
	ctx := t.Context()
	if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the namespace's service account", func() error {
		_, err := admin.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	labels := map[string]string{"app": "web"}
	all := intstr.FromInt32(replicas)
	if _, err := admin.PolicyV1().PodDisruptionBudgets(ns).Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &all, Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "web", Image: "web"}},
					TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
						MaxSkew: 1, TopologyKey: "kubernetes.io/hostname", WhenUnsatisfiable: corev1.ScheduleAnyway,
						LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
					}},
				},
			},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitSettled(t, admin, ns, int(replicas))
}

// podOf returns a pod of the Deployment.
func podOf(t *testing.T, admin kubernetes.Interface, ns string) corev1.Pod {
	t.Helper()
	pods, err := admin.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("finding a pod: %v", err)
	}
	return pods.Items[0]
}

// watchReady follows the number of ready pods that are not terminating, by the
// order in which the API server saw them change, and returns what tells the
// lowest.
func watchReady(t *testing.T, admin kubernetes.Interface, ns string) (low func() int) {
	t.Helper()
	list, err := admin.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	serving := make(map[string]bool)
	for _, p := range list.Items {
		serving[p.Name] = isReady(&p) && p.DeletionTimestamp == nil
	}
	total := func() (n int) {
		for _, s := range serving {
			if s {
				n++
			}
		}
		return n
	}
	w, err := admin.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	lowest := total()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			serving[p.Name] = isReady(p) && p.DeletionTimestamp == nil && e.Type != "DELETED"
			mu.Lock()
			lowest = min(lowest, total())
			mu.Unlock()
		}
	}()
	t.Cleanup(func() { w.Stop(); <-done })
	return func() int { mu.Lock(); defer mu.Unlock(); return lowest }
}

func ready(t *testing.T, admin kubernetes.Interface, ns string) (n int) {
	t.Helper()
	pods, err := admin.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if isReady(&p) && p.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

func count(t *testing.T, admin kubernetes.Interface, ns string) int {
	t.Helper()
	pods, err := admin.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return len(pods.Items)
}

func awaitEmpty(t *testing.T, admin kubernetes.Interface, ns, node string) {
	t.Helper()
	await(t, "node "+node+" to be empty and its Record to say so", func() error {
		pods, err := admin.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		if err != nil {
			return err
		}
		if len(pods.Items) > 0 {
			return fmt.Errorf("%d pods are left", len(pods.Items))
		}
		n, err := admin.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		r, err := drain.DecodeRecord(n.Annotations[cluster.RecordAnnotation])
		if err == nil && r.Emptied.IsZero() {
			err = errors.New("the Record does not say that it is empty")
		}
		return err
	})
}

// awaitSettled waits until there are exactly n pods, all Ready, and none of them
// is a released one that was left behind.
func awaitSettled(t *testing.T, admin kubernetes.Interface, ns string, n int) {
	t.Helper()
	await(t, fmt.Sprintf("%d ready pods and no other", n), func() error {
		pods, err := admin.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var problems []string
		for _, p := range pods.Items {
			if !isReady(&p) || p.DeletionTimestamp != nil || p.Labels[cluster.HandoffLabel] != "" {
				problems = append(problems, p.Name)
			}
		}
		if len(pods.Items) != n || len(problems) > 0 {
			return fmt.Errorf("%d pods, of which %s are not as they should be", len(pods.Items), strings.Join(problems, ", "))
		}
		return nil
	})
}

// await waits until f returns nil; a minute means that it never will.
func await(t *testing.T, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		<-tick.C
	}
}
