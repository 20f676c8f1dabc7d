package kubelet

import (
	"maps"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAddNode(t *testing.T) {
	c := newCluster(t, nil)
	spec := testNode("n2")
	spec.Labels = map[string]string{"team": "shop"}
	spec.Annotations = map[string]string{"note": "x"}
	spec.Taints = []corev1.Taint{{Key: "spot", Effect: corev1.TaintEffectNoSchedule}}
	if err := c.k.AddNode(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	n, err := c.client.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"kubernetes.io/hostname": "n2", "kubernetes.io/os": "linux", "kubernetes.io/arch": runtime.GOARCH,
		"node.kubernetes.io/instance-type": "m5.large", "topology.kubernetes.io/region": "us-east-1", "topology.kubernetes.io/zone": "us-east-1a",
		"evenkeel.dev/pool": "general", "karpenter.sh/capacity-type": "spot", "team": "shop",
	}
	if !maps.Equal(n.Labels, want) {
		t.Errorf("labels %v, want %v", n.Labels, want)
	}
	if n.Spec.ProviderID != "aws:///us-east-1a/i-n2" || len(n.Spec.Taints) != 1 || n.Annotations["note"] != "x" {
		t.Errorf("node: %+v", n)
	}
	if n.Status.Allocatable.Cpu().String() != "2" || n.Status.Capacity.Memory().String() != "8Gi" || n.Status.Allocatable.Pods().Value() != 110 {
		t.Errorf("allocatable: %v", n.Status.Allocatable)
	}
	lease, err := c.client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "n2", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "n2" {
		t.Errorf("lease: %+v, %v", lease, err)
	}
	if err := c.k.AddNode(t.Context(), spec); err == nil {
		t.Error("added a node twice")
	}
}

func TestHeartbeat(t *testing.T) {
	c := newCluster(t, nil)
	leases := c.client.CoordinationV1().Leases("kube-node-lease")
	before, err := leases.Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("the lease is renewed", func() bool {
		now, err := leases.Get(t.Context(), "n1", metav1.GetOptions{})
		return err == nil && now.Spec.RenewTime.After(before.Spec.RenewTime.Time)
	})
	// As the node controller does when it has heard nothing for long.
	n, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].Status = corev1.ConditionUnknown
	}
	if _, err := c.client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the node is ready again", func() bool {
		n, err := c.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

func TestPodAssignedBeforeItsNode(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("early", forever, func(p *corev1.Pod) { p.Spec.NodeName = "n2" }))
	c.create(testPod("other", forever))
	c.waitReady("other") // so that the first one has been seen, too
	if err := c.k.AddNode(t.Context(), testNode("n2")); err != nil {
		t.Fatal(err)
	}
	c.waitReady("early")
}
