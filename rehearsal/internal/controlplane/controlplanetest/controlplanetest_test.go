package controlplanetest_test

import (
	"errors"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/controlplanetest"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/roles"
)

func TestMain(m *testing.M) {
	roles.Main()
	if dir := os.Getenv(parentEnv); dir != "" {
		parent(dir)
	}
	os.Exit(m.Run())
}

const hung = time.Minute

// eventually waits until what it waits for is true.
func eventually(t *testing.T, what string, cond func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(hung)
	for {
		ok, err := cond()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("still waiting for %s (last error: %v)", what, err)
		}
	}
}

func TestControlPlane(t *testing.T) {
	dir := t.TempDir()
	cp := controlplanetest.StartConfig(t, controlplane.Config{Dir: dir, ServiceCIDR: "10.33.0.0/16"})
	client, err := kubernetes.NewForConfig(cp.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range allRoles {
		t.Logf("%-18s %4d MiB resident", role, residentMiB(t, cp.PID(role)))
	}

	t.Run("version", func(t *testing.T) {
		if got := cp.Version(); got != controlplane.KubernetesVersion {
			t.Errorf("the API server reports %q; want %q", got, controlplane.KubernetesVersion)
		}
	})
	t.Run("kubernetes service has the first address", func(t *testing.T) {
		svc, err := client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if svc.Spec.ClusterIP != "10.33.0.1" {
			t.Errorf("address is %s; want 10.33.0.1", svc.Spec.ClusterIP)
		}
	})
	t.Run("controllers and scheduler work", func(t *testing.T) { testControllers(t, client) })
	t.Run("RBAC", func(t *testing.T) { testRBAC(t, cp, client) })
	t.Run("loopback only", func(t *testing.T) { testLoopbackOnly(t, cp) })
	t.Run("stop and start", func(t *testing.T) { testRestart(t, cp, client) })
	t.Run("close", func(t *testing.T) {
		if got := len(processesIn(t, dir)); got != len(allRoles) {
			t.Errorf("%d processes before Close; want %d: this test looks for the wrong thing", got, len(allRoles))
		}
		begin := time.Now()
		if err := cp.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("closed in %v", time.Since(begin))
		if left := processesIn(t, dir); len(left) > 0 {
			t.Errorf("processes left after Close: %v", left)
		}
		if err := cp.Err(); !errors.Is(err, controlplane.ErrClosed) {
			t.Errorf("Err() = %v; want ErrClosed", err)
		}
		if err := cp.Start(t.Context(), controlplane.Scheduler); !errors.Is(err, controlplane.ErrClosed) {
			t.Errorf("Start after Close: %v; want ErrClosed", err)
		}
	})
}

var allRoles = []controlplane.Role{controlplane.Etcd, controlplane.APIServer, controlplane.ControllerManager, controlplane.Scheduler}

// testControllers has a Deployment's pods created, mounted with a token, bound
// to a node, counted by a disruption budget, and collected with their owner.
func testControllers(t *testing.T, client kubernetes.Interface) {
	ctx := t.Context()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelHostname: "n1"}}}
	node, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status = corev1.NodeStatus{
		Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("10")},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}},
	}
	node.Status.Capacity = node.Status.Allocatable
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}

	labels := map[string]string{"app": "web"}
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}
	if _, err := client.PolicyV1().PodDisruptionBudgets("default").Create(ctx, budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
			},
		},
	}
	if _, err := client.AppsV1().Deployments("default").Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three pods bound to n1", func() (bool, error) {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return false, err
		}
		bound := 0
		for _, pod := range pods.Items {
			if pod.Spec.NodeName == "n1" {
				bound++
			}
			if len(pod.Spec.Volumes) != 1 || pod.Spec.Volumes[0].Projected == nil {
				t.Fatalf("pod %s has volumes %v; want one projected token", pod.Name, pod.Spec.Volumes)
			}
		}
		return bound == 3, nil
	})
	eventually(t, "a budget that counts three pods", func() (bool, error) {
		b, err := client.PolicyV1().PodDisruptionBudgets("default").Get(ctx, "web", metav1.GetOptions{})
		return err == nil && b.Status.ExpectedPods == 3, err
	})
	if err := client.AppsV1().Deployments("default").Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the garbage collector to mark all pods", func() (bool, error) {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return false, err
		}
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil {
				return false, nil
			}
		}
		return true, nil
	})
}

// testRBAC has a fresh service account authenticate with a requested token and
// be refused what it was not granted.
func testRBAC(t *testing.T, cp *controlplane.ControlPlane, client kubernetes.Interface) {
	ctx := t.Context()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}}
	if _, err := client.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, "stranger", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := kubernetes.NewForConfig(&rest.Config{
		Host:            cp.URL(),
		BearerToken:     token.Status.Token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: cp.CAFile()},
	})
	if err != nil {
		t.Fatal(err)
	}
	review, err := stranger.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := review.Status.UserInfo.Username, "system:serviceaccount:default:stranger"; got != want {
		t.Errorf("authenticated as %q; want %q", got, want)
	}
	if _, err := stranger.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing nodes as a stranger: %v; want forbidden", err)
	}
}

// testLoopbackOnly checks that no address but 127.0.0.1 answers.
func testLoopbackOnly(t *testing.T, cp *controlplane.ControlPlane) {
	u, err := url.Parse(cp.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp4", "127.0.0.2:"+u.Port())
	if err == nil {
		conn.Close()
		t.Error("the API server answers at 127.0.0.2; want it at 127.0.0.1 only")
	}
}

// testRestart takes the API server away, orderly and as in a crash, and wants
// it back at the same address with the same data.
func testRestart(t *testing.T, cp *controlplane.ControlPlane, client kubernetes.Interface) {
	ctx := t.Context()
	u, err := url.Parse(cp.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, down := range []struct {
		name string
		stop func(controlplane.Role) error
	}{{"stopped", cp.Stop}, {"killed", cp.Kill}} {
		t.Run(down.name, func(t *testing.T) {
			kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept-" + down.name}, Data: map[string]string{"key": "value"}}
			if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, kept, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if err := down.stop(controlplane.APIServer); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s in %v", down.name, time.Since(begin))
			if pid := cp.PID(controlplane.APIServer); pid != 0 {
				t.Errorf("a stopped role has pid %d", pid)
			}
			if _, err := net.Dial("tcp4", u.Host); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dialling the stopped API server: %v; want refused", err)
			}
			if l, err := net.Listen("tcp4", u.Host); err == nil {
				l.Close()
				t.Error("another program can take the stopped API server's port")
			}
			begin = time.Now()
			if err := cp.Start(ctx, controlplane.APIServer); err != nil {
				t.Fatal(err)
			}
			t.Logf("back in %v", time.Since(begin))
			got, err := client.CoreV1().ConfigMaps("default").Get(ctx, kept.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Data["key"] != "value" {
				t.Errorf("data is %v; want it as it was", got.Data)
			}
			// The other roles have come through: a new namespace is furnished.
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "after-" + down.name}}
			if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a service account in the new namespace", func() (bool, error) {
				_, err := client.CoreV1().ServiceAccounts(ns.Name).Get(ctx, "default", metav1.GetOptions{})
				return err == nil, err
			})
			if err := cp.Err(); err != nil {
				t.Errorf("the control plane failed: %v", err)
			}
		})
	}
}
