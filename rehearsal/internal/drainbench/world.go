package drainbench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/cloud"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/feed"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
)

const (
	namespace = "bench"
	appLabel  = "app.kubernetes.io/name"
	queueName = "evenkeel"
	region    = "us-east-1"
	account   = "123456789012"
)

// world is one case's cluster, from its start to its end: a control plane, nodes
// and pods that are played, a queue, and what is seen of it all.
type world struct {
	Case
	cfg    Config
	dir    string
	log    *slog.Logger
	plane  *controlplane.ControlPlane
	client kubernetes.Interface
	cloud  *cloud.Cloud
	queue  string // URL
	fleet  *fleet
	view   *view
	// controller is nil until it is started.
	controller *process
	deployment *appsv1.Deployment
}

// build starts everything but the controller, and returns when all pods serve.
func (w *world) build(ctx context.Context, g *errgroup.Group) error {
	var err error
	if err := os.MkdirAll(filepath.Join(w.dir, "controlplane"), 0o700); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	// Nobody renews leases here: nodes may be silent for as long as it takes.
	w.plane, err = controlplane.Start(ctx, controlplane.Config{
		Dir: filepath.Join(w.dir, "controlplane"), NodeMonitorGrace: time.Hour, Executable: w.cfg.Executable, Log: w.log,
	})
	if err != nil {
		return err
	}
	g.Go(func() error {
		select {
		case <-w.plane.Done():
			return w.plane.Err()
		case <-ctx.Done():
			return nil
		}
	})
	admin := w.plane.AdminConfig()
	admin.ContentType = "application/vnd.kubernetes.protobuf"
	admin.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	if w.client, err = kubernetes.NewForConfig(admin); err != nil {
		return fmt.Errorf("making a Kubernetes client: %w", err)
	}
	w.cloud = cloud.New(cloud.Config{Region: region, Account: account, Seed: w.cfg.Seed, Log: w.log})
	if err := w.cloud.Listen(); err != nil {
		return err
	}
	g.Go(func() error { return w.cloud.Run(ctx) })
	w.queue = w.cloud.CreateQueue(queueName)

	apply, err := manifest.NewApplier(w.plane.AdminConfig())
	if err != nil {
		return err
	}
	if w.deployment, err = shipped(ctx, apply); err != nil {
		return err
	}
	w.fleet = newFleet(ctx, w.client, w.PodReady, w.PodGone, w.cfg.Seed, w.log)
	w.fleet.quick.Store(true)
	g.Go(func() error { <-ctx.Done(); w.fleet.wg.Wait(); return nil })
	w.watch(ctx, g)
	if err := w.addNodes(ctx); err != nil {
		return err
	}
	return w.addApps(ctx)
}

// watch follows pods and nodes, for the fleet and the view.
func (w *world) watch(ctx context.Context, g *errgroup.Group) {
	const retry = 250 * time.Millisecond
	g.Go(func() error {
		uids := make(map[string]types.UID)
		feed.Pods(ctx, w.client, namespace, retry, w.log, func(key string, p *corev1.Pod, _ bool) {
			now := time.Now()
			if uid, ok := uids[key]; ok && (p == nil || p.UID != uid) {
				delete(uids, key)
				w.view.podGone(uid, now)
				w.fleet.podGone(uid)
			}
			if p != nil {
				uids[key] = p.UID
				w.view.pod(p, now)
				w.fleet.pod(p)
			}
		})
		return nil
	})
	g.Go(func() error {
		feed.Nodes(ctx, w.client, retry, w.log, func(_ string, n *corev1.Node, _ bool) {
			if n != nil {
				w.view.setNode(n, time.Now())
			}
		})
		return nil
	})
}

// addNodes registers the nodes. Until they are full they take no more pods than
// each is to have: that is the shortest way to an even start.
func (w *world) addNodes(ctx context.Context) error {
	w.cfg.say("%s: %d nodes", w.Name, w.Nodes)
	err := w.each(ctx, w.Nodes, func(ctx context.Context, i int) error {
		_, err := w.client.CoreV1().Nodes().Create(ctx, machine(i, max(w.PodsPerNode, 1)), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("registering nodes: %w", err)
	}
	return w.await(ctx, "the nodes to be taken up", func() (string, bool) {
		n := w.view.schedulable()
		return fmt.Sprintf("%d of %d", n, w.Nodes), n == w.Nodes
	})
}

// addApps deploys the apps with their budgets and Services, and waits until all of
// them serve. Then there is room for twice as many on every node, and two more.
func (w *world) addApps(ctx context.Context) error {
	if w.Apps == 0 {
		return nil
	}
	w.cfg.say("%s: %d pods of %d Deployments", w.Name, w.Nodes*w.PodsPerNode, w.Apps)
	if _, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the namespace: %w", err)
	}
	if err := w.await(ctx, "the namespace's service account", func() (string, bool) {
		_, err := w.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return fmt.Sprint(err), err == nil
	}); err != nil {
		return err
	}
	for name, replicas := range w.desired() {
		if err := w.addApp(ctx, name, int32(replicas)); err != nil {
			return fmt.Errorf("deploying %s: %w", name, err)
		}
	}
	want := w.Nodes * w.PodsPerNode
	if err := w.await(ctx, "all pods to serve", func() (string, bool) {
		n, all := w.view.serving()
		return fmt.Sprintf("%d of %d", n, want), n == want && all == want
	}); err != nil {
		return err
	}
	room := fmt.Sprint(2*w.PodsPerNode + 2)
	patch := mustJSON(map[string]any{"status": map[string]any{"capacity": map[string]any{"pods": room}, "allocatable": map[string]any{"pods": room}}})
	err := w.each(ctx, w.Nodes, func(ctx context.Context, i int) error {
		_, err := w.client.CoreV1().Nodes().Patch(ctx, machine(i, 1).Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		return err
	})
	if err != nil {
		return fmt.Errorf("making room on the nodes: %w", err)
	}
	return w.await(ctx, "the Deployments and budgets to be settled", func() (string, bool) { return w.unsettled(ctx) })
}

// desired returns how many replicas each app wants.
func (w *world) desired() map[string]int {
	out := make(map[string]int)
	for i := range w.Nodes * w.PodsPerNode {
		out[fmt.Sprintf("app-%02d", i%w.Apps)]++
	}
	return out
}

func (w *world) addApp(ctx context.Context, name string, replicas int32) error {
	labels := map[string]string{appLabel: name}
	grace := int64(30)
	unavailable := intstr.Parse(w.MaxUnavailable)
	if _, err := w.client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &unavailable, Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := w.client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: labels, ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 8080}}},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := w.client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &grace,
					Containers:                    []corev1.Container{{Name: "app", Image: "app", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}},
				},
			},
		},
	}, metav1.CreateOptions{})
	return err
}

func (w *world) unsettled(ctx context.Context) (string, bool) {
	budgets, err := w.client.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error(), false
	}
	desired := w.desired()
	for _, b := range budgets.Items {
		if int(b.Status.CurrentHealthy) != desired[b.Name] {
			return fmt.Sprintf("budget %s counts %d of %d", b.Name, b.Status.CurrentHealthy, desired[b.Name]), false
		}
	}
	deployments, err := w.client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error(), false
	}
	for _, d := range deployments.Items {
		if int(d.Status.AvailableReplicas) != desired[d.Name] {
			return fmt.Sprintf("Deployment %s has %d of %d", d.Name, d.Status.AvailableReplicas, desired[d.Name]), false
		}
	}
	return "", true
}

// startController starts it, and returns when it is ready, or at once if it is not
// to be waited for.
func (w *world) startController(ctx context.Context, wait bool) error {
	path := filepath.Join(w.dir, "kubeconfig")
	if err := kubeconfig(ctx, w.plane, w.client, w.deployment.Namespace, "evenkeel-controller", path); err != nil {
		return err
	}
	p, err := startController(w.cfg.Bin, w.dir, w.deployment, path, []string{"--sqs-queue=" + w.queue}, []string{
		"AWS_ENDPOINT_URL=" + w.cloud.URL(), "AWS_REGION=" + region,
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench", "AWS_EC2_METADATA_DISABLED=true",
	})
	if err != nil {
		return err
	}
	w.controller = p
	if !wait {
		return nil
	}
	return w.await(ctx, "the controller to be ready", func() (string, bool) { return p.log, p.ready() })
}

// victims picks the nodes that go, and returns their numbers.
func (w *world) victims() []int {
	random := rand.New(rand.NewPCG(w.cfg.Seed, 6))
	return random.Perm(w.Nodes)[:w.Reclaimed]
}

// notify sends the notice of each node, as EventBridge does, and returns the
// moment of the first.
func (w *world) notify(nodes []int) (time.Time, error) {
	first := time.Now()
	for i, n := range nodes {
		name := machine(n, 1).Name
		now := time.Now()
		w.view.notice(name, now)
		body := cloud.SpotInterruptionWarning(fmt.Sprintf("00000000-0000-4000-8000-%012d", i), region, account, instanceOf(name), now)
		if err := w.cloud.Send(queueName, string(body)); err != nil {
			return first, err
		}
	}
	return first, nil
}

// each does something for 0 to n-1, some at a time.
func (w *world) each(ctx context.Context, n int, do func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// hung is after how long a wait means that something hangs.
const hung = 10 * time.Minute

// await waits until something holds.
func (w *world) await(ctx context.Context, what string, holds func() (string, bool)) error {
	ctx, cancel := context.WithTimeout(ctx, hung)
	defer cancel()
	for {
		state, ok := holds()
		if ok {
			return nil
		}
		if w.controller != nil {
			if err := w.controller.alive(); err != nil {
				return err
			}
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("waiting for %s (%s): %w", what, state, errors.Join(ctx.Err(), context.Cause(ctx)))
		}
	}
}
