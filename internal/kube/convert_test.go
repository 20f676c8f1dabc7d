package kube

import (
	"reflect"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

func ptr[T any](v T) *T { return &v }

func TestConvert(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	owned := []metav1.OwnerReference{
		{Kind: "Other", Name: "not-controlling", UID: "u0"},
		{Kind: "ReplicaSet", Name: "web-1", UID: "u1", Controller: ptr(true)},
	}
	for _, test := range []struct {
		name string
		in   any
		want cluster.Object
	}{
		{
			"a node",
			&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: "z", cluster.PoolLabel: "p"}, Annotations: map[string]string{cluster.RecordAnnotation: "r"}},
				Spec:       corev1.NodeSpec{ProviderID: "aws:///z/i-1", Unschedulable: true},
				Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
			},
			&cluster.Node{Name: "n", Instance: "i-1", Zone: "z", Pool: "p", Unschedulable: true, Ready: true, Record: "r"},
		},
		{
			"a node of another provider",
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{ProviderID: "kind://docker/x/n"}},
			&cluster.Node{Name: "n"},
		},
		{
			"a ready pod",
			&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "u", OwnerReferences: owned, Labels: map[string]string{"app": "web"}, Annotations: map[string]string{cluster.HandoffAnnotation: "false", cluster.OnDeadlineAnnotation: "leave", cluster.DeadlineAnnotation: "d"}},
				Spec:       corev1.PodSpec{NodeName: "n", TerminationGracePeriodSeconds: ptr(int64(7))},
				Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)}}},
			},
			&cluster.Pod{
				Key: cluster.Key{Namespace: "a", Name: "p"}, UID: "u", Node: "n", Labels: labels.Set{"app": "web"},
				Owner: cluster.Owner{Kind: "ReplicaSet", Name: "web-1", UID: "u1"}, Ready: true, ReadySince: since,
				Grace: 7 * time.Second, Deregistration: -1, NoHandoff: true, OnDeadline: "leave", Deadline: "d",
			},
		},
		{
			"a mirror pod that is terminating",
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", DeletionTimestamp: &metav1.Time{Time: since}, Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}},
			&cluster.Pod{Key: cluster.Key{Name: "p"}, Grace: 30 * time.Second, Deregistration: -1, Terminating: true, Ends: since, Mirror: true},
		},
		{
			"a completed pod",
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
			&cluster.Pod{Key: cluster.Key{Name: "p"}, Grace: 30 * time.Second, Deregistration: -1, Completed: true},
		},
		{
			"a pod behind a load balancer, with a volume",
			&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{cluster.DeregistrationAnnotation: "20s", cluster.WithdrawnAnnotation: since.Format(time.RFC3339Nano)}},
				Spec: corev1.PodSpec{
					ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "target-health.elbv2.k8s.aws/k8s-web-1"}},
					Volumes:        []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}},
				},
			},
			&cluster.Pod{Key: cluster.Key{Name: "p"}, Grace: 30 * time.Second, Deregistration: 20 * time.Second, Withdrawn: since, Targeted: true, Volumes: true},
		},
		{
			"a budget with both limits",
			&policyv1.PodDisruptionBudget{
				ObjectMeta: metav1.ObjectMeta{Name: "b", UID: "u", ResourceVersion: "7", Annotations: map[string]string{cluster.MinAvailableAnnotation: "2"}},
				Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr(intstr.FromString("25%")), Selector: &metav1.LabelSelector{}},
				Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1},
			},
			&cluster.Budget{
				Key: cluster.Key{Name: "b"}, UID: "u", Version: "7", Selector: labels.Everything(), Allowed: 1,
				Max: &cluster.Limit{N: 25, Percent: true}, OtherMin: &cluster.Limit{N: 2},
			},
		},
		{
			"a Deployment with the API's defaults",
			&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", UID: "u"}},
			&cluster.Deployment{Key: cluster.Key{Name: "d"}, UID: "u", Replicas: 1},
		},
		{
			"a Deployment that recreates",
			&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: ptr(int32(3)), MinReadySeconds: 4, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}}},
			&cluster.Deployment{Key: cluster.Key{Name: "d"}, Replicas: 3, Recreate: true, MinReady: 4 * time.Second},
		},
		{"a Service without a selector", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := convert(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// TestConvertBadSelector: one object whose selector cannot be parsed is reported,
// and matches nothing, as for its own controller.
func TestConvertBadSelector(t *testing.T) {
	got, err := convert(&appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "s"},
		Spec:       appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}},
	})
	if err == nil {
		t.Error("no error")
	}
	c, ok := got.(*cluster.Controller)
	if !ok || c.Selector.Matches(labels.Set{"a": "b"}) {
		t.Errorf("got %+v, want a controller that matches nothing", got)
	}
}
