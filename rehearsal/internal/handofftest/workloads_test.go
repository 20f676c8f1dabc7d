package handofftest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// testWorkloads drains a node with one pod of each kind that is not handed off as
// a matter of course. A single replica whose budget allows no disruption at all is
// handed off; the others are evicted and come back elsewhere.
func testWorkloads(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	ns := "workloads"
	addNodes(t, admin, ns, 2)
	node, other := ns+"-0", ns+"-1"
	cordon(t, admin, other, true)
	newNamespace(t, admin, ns)
	newNamespace(t, admin, ns+"-single")
	labels := map[string]string{"app": "x"}
	template := func(app string) corev1.PodTemplateSpec { return podTemplate(app, 5, ns) }
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	ctx, one := t.Context(), int32(1)

	none := intstr.FromInt32(0)
	create(t, "a budget that allows nothing", func() error {
		_, err := admin.PolicyV1().PodDisruptionBudgets(ns+"-single").Create(ctx, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: "single"},
			Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &none, Selector: selector("single")},
		}, metav1.CreateOptions{})
		return err
	})
	create(t, "a single replica", func() error {
		_, err := admin.AppsV1().Deployments(ns+"-single").Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "single"},
			Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: selector("single"), Template: template("single")},
		}, metav1.CreateOptions{})
		return err
	})
	create(t, "a Deployment that recreates", func() error {
		_, err := admin.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "recreate"},
			Spec: appsv1.DeploymentSpec{
				Replicas: &one, Selector: selector("recreate"), Template: template("recreate"),
				Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			},
		}, metav1.CreateOptions{})
		return err
	})
	create(t, "a StatefulSet", func() error {
		_, err := admin.AppsV1().StatefulSets(ns).Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "stateful", Labels: labels},
			Spec:       appsv1.StatefulSetSpec{Replicas: &one, Selector: selector("stateful"), Template: template("stateful"), ServiceName: "stateful"},
		}, metav1.CreateOptions{})
		return err
	})
	awaitSettled(t, admin, ns, 2)
	awaitSettled(t, admin, ns+"-single", 1)
	cordon(t, admin, other, false)
	low := watchReady(t, admin, ns+"-single")

	source := &memorySource{}
	run(t, config, source)
	if err := <-source.send(t, node, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	awaitEmpty(t, admin, ns+"-single", node)
	awaitEmpty(t, admin, ns, node)
	awaitSettled(t, admin, ns, 2)
	awaitSettled(t, admin, ns+"-single", 1)
	if got := low(); got < 1 {
		t.Error("the single replica was away for a while")
	}
}

// testJob: a Job's pod runs on until its latest start, and is evicted then.
func testJob(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	ns := "job"
	addNodes(t, admin, ns, 1)
	newNamespace(t, admin, ns)
	template := podTemplate("job", 2, ns)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	create(t, "a Job", func() error {
		_, err := admin.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: batchv1.JobSpec{Template: template},
		}, metav1.CreateOptions{})
		return err
	})
	awaitSettled(t, admin, ns, 1)
	victim := podOf(t, admin, ns)

	source := &memorySource{}
	run(t, config, source)
	const lead = 10 * time.Second
	deadline := time.Now().Add(lead)
	if err := <-source.send(t, victim.Spec.NodeName, lead); err != nil {
		t.Fatal(err)
	}
	await(t, "the Job's pod to be gone", func() error {
		p, err := admin.CoreV1().Pods(ns).Get(t.Context(), victim.Name, metav1.GetOptions{})
		if err != nil {
			return nil
		}
		if early := deadline.Add(-5 * time.Second); p.DeletionTimestamp != nil && time.Now().Before(early) {
			t.Fatalf("it was evicted %v before its latest start", time.Until(early))
		}
		return errors.New("it is there")
	})
	if time.Now().Before(deadline.Add(-5 * time.Second)) {
		t.Error("it was evicted before its latest start")
	}
}

// testMachineGone: the machine of a pod with a volume is gone, and its kubelet
// with it. The taint has Kubernetes free the volume; then the books are closed.
func testMachineGone(t *testing.T, admin kubernetes.Interface, config *rest.Config, kubelets *kubelets) {
	ns := "gone"
	addNodes(t, admin, ns, 2)
	node, other := ns+"-0", ns+"-1"
	cordon(t, admin, other, true)
	newNamespace(t, admin, ns)
	ctx, one := t.Context(), int32(1)
	space, classless := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, ""
	create(t, "a volume", func() error {
		_, err := admin.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: ns},
			Spec: corev1.PersistentVolumeSpec{
				Capacity: space, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				ClaimRef:               &corev1.ObjectReference{Namespace: ns, Name: "data"},
				PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"}},
			},
		}, metav1.CreateOptions{})
		return err
	})
	create(t, "its claim", func() error {
		_, err := admin.CoreV1().PersistentVolumeClaims(ns).Create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &classless, VolumeName: ns,
				Resources: corev1.VolumeResourceRequirements{Requests: space},
			},
		}, metav1.CreateOptions{})
		return err
	})
	template := podTemplate("db", 5, ns)
	template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	create(t, "a StatefulSet", func() error {
		_, err := admin.AppsV1().StatefulSets(ns).Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "db"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: &one, Template: template, ServiceName: "db",
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			},
		}, metav1.CreateOptions{})
		return err
	})
	awaitSettled(t, admin, ns, 1)
	cordon(t, admin, other, false)

	kubelets.kill(node)
	n, err := admin.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Conditions[0].Status = corev1.ConditionUnknown
	if _, err := admin.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	source := &memorySource{}
	run(t, config, source)
	if err := <-source.send(t, node, 3*time.Second); err != nil {
		t.Fatal(err)
	}
	await(t, "the Record to be closed, without the taint", func() error {
		n, err := admin.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		r, err := drain.DecodeRecord(n.Annotations[cluster.RecordAnnotation])
		if err != nil {
			return err
		}
		for _, taint := range n.Spec.Taints {
			if taint.Key == corev1.TaintNodeOutOfService {
				return errors.New("it is tainted")
			}
		}
		if r.Closed.IsZero() {
			return fmt.Errorf("it is not closed: %+v", r)
		}
		return nil
	})
	awaitSettled(t, admin, ns, 1)
	if p := podOf(t, admin, ns); p.Spec.NodeName != other {
		t.Errorf("the pod is on %s, want %s", p.Spec.NodeName, other)
	}
}

// testTwoLimits: a budget that declares two limits enforces the stricter one as
// the replicas change.
func testTwoLimits(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	ns := "two-limits"
	addNodes(t, admin, ns, 1)
	newNamespace(t, admin, ns)
	ctx, replicas := t.Context(), int32(4)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	quarter := intstr.FromString("25%")
	create(t, "a Deployment", func() error {
		_, err := admin.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: podTemplate("web", 5, ns)},
		}, metav1.CreateOptions{})
		return err
	})
	create(t, "a budget", func() error {
		_, err := admin.PolicyV1().PodDisruptionBudgets(ns).Create(ctx, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{cluster.MinAvailableAnnotation: "2"}},
			Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &quarter, Selector: selector},
		}, metav1.CreateOptions{})
		return err
	})
	run(t, config, &memorySource{})
	for _, step := range []struct {
		replicas int
		want     string
	}{{2, "2 and nothing"}, {12, "nothing and 25%"}} {
		patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, step.replicas)
		if _, err := admin.AppsV1().Deployments(ns).Patch(ctx, "web", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		await(t, fmt.Sprintf("the budget of %d replicas to be %s", step.replicas, step.want), func() error {
			b, err := admin.PolicyV1().PodDisruptionBudgets(ns).Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			show := func(v *intstr.IntOrString) string {
				if v == nil {
					return "nothing"
				}
				return v.String()
			}
			if got := show(b.Spec.MinAvailable) + " and " + show(b.Spec.MaxUnavailable); got != step.want {
				return fmt.Errorf("it is %s, with %v", got, b.Annotations)
			}
			return nil
		})
	}
}

// podTemplate describes pods that run only on the nodes of one test.
func podTemplate(app string, grace int64, nodes string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			Containers:                    []corev1.Container{{Name: "main", Image: "main"}},
			TerminationGracePeriodSeconds: &grace,
			NodeSelector:                  map[string]string{testLabel: nodes},
		},
	}
}

func newNamespace(t *testing.T, admin kubernetes.Interface, name string) {
	t.Helper()
	create(t, "namespace "+name, func() error {
		_, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	})
	await(t, "the namespace's service account", func() error {
		_, err := admin.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
}

func create(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := f(); err != nil {
		t.Fatalf("creating %s: %v", what, err)
	}
}

func cordon(t *testing.T, admin kubernetes.Interface, node string, on bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
	if _, err := admin.CoreV1().Nodes().Patch(context.WithoutCancel(t.Context()), node, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
