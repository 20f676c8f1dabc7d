package handofftest

import (
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// crashLoad is what runs on a case's node, what happens to it, and how it ends.
type crashLoad struct {
	pods    int // that run on the node at first, and in the namespace at the end
	deploy  func(*crashCase)
	prepare func(*crashCase) // when all pods run
	notice  func(*crashCase)
	during  func(*crashCase)       // again and again
	ended   func(*crashCase) error // nil when nothing more will happen
	want    tally                  // of what the API server saw, from the first notice to the end
	lowest  int                    // number of ready pods
}

// once is what happens to a node that is emptied, and to its one pod.
var once = tally{cordoned: 1, stored: 1, emptied: 1, asked: 1, created: 1}

func (n tally) with(change func(*tally)) tally { change(&n); return n }

var (
	// single is a single replica: if it is not handed off, nothing is ready for a while.
	single = crashLoad{
		pods: 1, lowest: 1, want: once.with(func(n *tally) { n.released = 1 }),
		deploy: func(c *crashCase) { c.deployment(podTemplate(c.name, 5, c.name)) },
		notice: func(c *crashCase) { c.warn(lead) },
		ended:  isEmptied,
	}

	// balanced is taken out of its endpoints before it goes.
	balanced = crashLoad{
		pods: 1, lowest: 1, want: once.with(func(n *tally) { n.released, n.withdrawn = 1, 1 }),
		deploy: func(c *crashCase) {
			template := podTemplate(c.name, 5, c.name)
			template.Labels[cluster.ServingLabel] = "true"
			template.Annotations = map[string]string{cluster.DeregistrationAnnotation: "1s"}
			c.deployment(template)
		},
		notice: single.notice,
		ended:  isEmptied,
	}

	// blocked may not be handed off, and its budget allows nothing: it is deleted at
	// its latest start.
	blocked = crashLoad{
		pods: 1, want: once,
		deploy: func(c *crashCase) {
			template := podTemplate(c.name, 45, c.name)
			template.Annotations = map[string]string{cluster.HandoffAnnotation: "false"}
			c.budget()
			c.deployment(template)
		},
		notice: func(c *crashCase) { c.warn(100 * time.Second) },
		ended:  isEmptied,
	}

	// job is told its deadline, and evicted at its latest start.
	job = crashLoad{
		pods: 1, want: once,
		deploy: func(c *crashCase) {
			template := podTemplate(c.name, 45, c.name)
			template.Spec.RestartPolicy = corev1.RestartPolicyNever
			create(c.t, "a Job", func() error {
				_, err := c.admin.BatchV1().Jobs(c.name).Create(c.t.Context(), &batchv1.Job{
					ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: batchv1.JobSpec{Template: template},
				}, metav1.CreateOptions{})
				return err
			})
		},
		notice: blocked.notice,
		ended:  isEmptied,
	}

	// hooked is single, with an Auto Scaling group that waits.
	hooked = crashLoad{
		pods: 1, lowest: 1, want: single.want,
		deploy:  single.deploy,
		prepare: func(c *crashCase) { c.kubelets.holdBackIn(c.name, c.effect == string(drain.Heartbeat)) },
		notice:  (*crashCase).hook,
		during: func(c *crashCase) { // it is not emptied before a heartbeat was due
			if c.hit {
				c.kubelets.holdBackIn(c.name, false)
			}
		},
		ended: func(c *crashCase) error {
			r, err := c.record()
			if err == nil && r.Completed.IsZero() {
				err = errors.New("the group was not told, or nobody wrote it down")
			}
			return errors.Join(err, isEmptied(c))
		},
	}

	// calledOff is maintenance that will not be.
	calledOff = crashLoad{
		pods: 1, lowest: 1, want: tally{cordoned: 1, uncordoned: 1, stored: 1, removed: 1},
		deploy: func(c *crashCase) { // it is not handed off meanwhile, which is another row
			create(c.t, "a Job", func() error {
				_, err := c.admin.BatchV1().Jobs(c.name).Create(c.t.Context(), &batchv1.Job{
					ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: batchv1.JobSpec{Template: jobTemplate(c.name)},
				}, metav1.CreateOptions{})
				return err
			})
		},
		notice: func(c *crashCase) { c.maintenance("open") },
		during: func(c *crashCase) {
			// Not before the first notice has gone from the queue: a copy that comes
			// after the second one is told apart only by who has seen the second.
			if r, err := c.record(); err == nil && r.Notice.Instance != "" && !c.told && c.queue.empty() == nil {
				c.told = true
				c.maintenance("closed")
			}
		},
		ended: func(c *crashCase) error {
			n, err := c.admin.CoreV1().Nodes().Get(c.t.Context(), c.name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !c.told || n.Annotations[cluster.RecordAnnotation] != "" || n.Spec.Unschedulable {
				return fmt.Errorf("told %t, unschedulable %t, Record %s", c.told, n.Spec.Unschedulable, n.Annotations[cluster.RecordAnnotation])
			}
			return nil
		},
	}

	// twoLimits is a budget that is to enforce the other of its limits.
	twoLimits = crashLoad{
		pods: 2, lowest: 2, want: tally{rebudgeted: 1},
		deploy: func(c *crashCase) {
			c.deployments(2, podTemplate(c.name, 5, c.name))
			half := intstr.FromString("50%")
			c.budgetOf(policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &half}, map[string]string{cluster.MinAvailableAnnotation: "2"})
		},
		notice: func(*crashCase) {},
		ended: func(c *crashCase) error {
			b, err := c.admin.PolicyV1().PodDisruptionBudgets(c.name).Get(c.t.Context(), "main", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if b.Spec.MinAvailable == nil || b.Spec.MaxUnavailable != nil || b.Annotations[cluster.MaxUnavailableAnnotation] != "50%" {
				return fmt.Errorf("%v and %v, with %v", b.Spec.MinAvailable, b.Spec.MaxUnavailable, b.Annotations)
			}
			return nil
		},
	}

	// machineGone is a machine that goes with a volume's pod on it.
	machineGone = crashLoad{
		pods: 1, want: once.with(func(n *tally) { n.tainted, n.untainted, n.closed = 1, 1, 1 }),
		deploy: deployWithVolume,
		prepare: func(c *crashCase) {
			c.kubelets.kill(c.name)
			n, err := c.admin.CoreV1().Nodes().Get(c.t.Context(), c.name, metav1.GetOptions{})
			if err != nil {
				c.t.Fatal(err)
			}
			n.Status.Conditions[0].Status = corev1.ConditionUnknown
			if _, err := c.admin.CoreV1().Nodes().UpdateStatus(c.t.Context(), n, metav1.UpdateOptions{}); err != nil {
				c.t.Fatal(err)
			}
		},
		// Long enough for the message to be received five times: each crash hides what
		// the killed process held for 20 s.
		notice: func(c *crashCase) { c.warn(100 * time.Second) },
		ended: func(c *crashCase) error {
			r, err := c.record()
			if err == nil && r.Closed.IsZero() {
				err = errors.New("the Record is not closed")
			}
			return errors.Join(err, isSettled(c))
		},
	}
)

// jobTemplate is podTemplate for pods that may finish.
func jobTemplate(name string) corev1.PodTemplateSpec {
	template := podTemplate(name, 5, name)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return template
}

// isEmptied: the node is empty, its Record says so, it stays cordoned, and the pods
// are where they should be, none of them a released one.
func isEmptied(c *crashCase) error {
	r, err := c.record()
	if err != nil {
		return err
	}
	n, err := c.admin.CoreV1().Nodes().Get(c.t.Context(), c.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if r.Emptied.IsZero() || !n.Spec.Unschedulable {
		return fmt.Errorf("emptied %v, unschedulable %t", r.Emptied, n.Spec.Unschedulable)
	}
	return isSettled(c)
}

func isSettled(c *crashCase) error {
	pods, err := c.admin.CoreV1().Pods(c.name).List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	alive := 0
	for _, p := range pods.Items {
		switch {
		case p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded:
			continue // a Job keeps it
		case p.Labels[cluster.HandoffLabel] != "" || p.DeletionTimestamp != nil || !isReady(&p) || p.Spec.NodeName == c.name:
			return fmt.Errorf("pod %s on %s, labels %v, deleted %v, ready %t", p.Name, p.Spec.NodeName, p.Labels, p.DeletionTimestamp, isReady(&p))
		}
		alive++
	}
	if alive != c.load.pods {
		return fmt.Errorf("%d pods, want %d", alive, c.load.pods)
	}
	return nil
}

// record reads the Record of the case's node; the zero one if there is none.
func (c *crashCase) record() (drain.Record, error) {
	n, err := c.admin.CoreV1().Nodes().Get(c.t.Context(), c.name, metav1.GetOptions{})
	if err != nil || n.Annotations[cluster.RecordAnnotation] == "" {
		return drain.Record{}, err
	}
	return drain.DecodeRecord(n.Annotations[cluster.RecordAnnotation])
}

// budget allows nothing.
func (c *crashCase) budget() {
	none := intstr.FromInt32(0)
	c.budgetOf(policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &none}, nil)
}

func (c *crashCase) budgetOf(spec policyv1.PodDisruptionBudgetSpec, annotations map[string]string) {
	c.t.Helper()
	spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": c.name}}
	create(c.t, "a budget", func() error {
		_, err := c.admin.PolicyV1().PodDisruptionBudgets(c.name).Create(c.t.Context(), &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: "main", Annotations: annotations}, Spec: spec,
		}, metav1.CreateOptions{})
		return err
	})
}

func (c *crashCase) deployment(template corev1.PodTemplateSpec) {
	c.t.Helper()
	c.deployments(1, template)
}

func (c *crashCase) deployments(replicas int32, template corev1.PodTemplateSpec) {
	c.t.Helper()
	create(c.t, "a Deployment", func() error {
		_, err := c.admin.AppsV1().Deployments(c.name).Create(c.t.Context(), &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "main"},
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas, Template: template, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": c.name}},
			},
		}, metav1.CreateOptions{})
		return err
	})
}

// deployWithVolume deploys a StatefulSet whose pod has a volume.
func deployWithVolume(c *crashCase) {
	c.t.Helper()
	ctx, one := c.t.Context(), int32(1)
	space, classless := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, ""
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	create(c.t, "a volume", func() error {
		_, err := c.admin.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: c.name},
			Spec: corev1.PersistentVolumeSpec{
				Capacity: space, AccessModes: modes, ClaimRef: &corev1.ObjectReference{Namespace: c.name, Name: "data"},
				PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"}},
			},
		}, metav1.CreateOptions{})
		return err
	})
	create(c.t, "its claim", func() error {
		_, err := c.admin.CoreV1().PersistentVolumeClaims(c.name).Create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: modes, StorageClassName: &classless, VolumeName: c.name,
				Resources: corev1.VolumeResourceRequirements{Requests: space},
			},
		}, metav1.CreateOptions{})
		return err
	})
	template := podTemplate(c.name, 5, c.name)
	template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	create(c.t, "a StatefulSet", func() error {
		_, err := c.admin.AppsV1().StatefulSets(c.name).Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "main"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: &one, Template: template, ServiceName: "main",
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": c.name}},
			},
		}, metav1.CreateOptions{})
		return err
	})
}
