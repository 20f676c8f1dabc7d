package rehearse

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestTroubleOf(t *testing.T) {
	ended := func(code int32, message string) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ExitCode: code, Message: message}
	}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 5s"}}
	containers := func(s ...corev1.ContainerStatus) corev1.PodStatus { return corev1.PodStatus{ContainerStatuses: s} }
	for _, tt := range []struct {
		name   string
		status corev1.PodStatus
		want   string
	}{
		{"new", corev1.PodStatus{}, ""},
		{"starting", containers(corev1.ContainerStatus{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}), ""},
		{"no room", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}}}, "0/3 nodes are available"},
		{"ends again and again", containers(corev1.ContainerStatus{Name: "app", State: waiting, LastTerminationState: corev1.ContainerState{Terminated: ended(3, "no such host")}}),
			"container app ended with 3, and last wrote:\nno such host\n"},
		{"ends well again and again", containers(corev1.ContainerStatus{Name: "app", State: waiting, LastTerminationState: corev1.ContainerState{Terminated: ended(0, "")}}), "container app: back-off 5s"},
		{"for good", containers(corev1.ContainerStatus{Name: "app", State: corev1.ContainerState{Terminated: ended(1, "")}}), "container app ended with 1"},
		{"recovered", containers(corev1.ContainerStatus{Name: "app", Ready: true, LastTerminationState: corev1.ContainerState{Terminated: ended(1, "once")}}), ""},
		{"in the second container", containers(corev1.ContainerStatus{Name: "app", Ready: true}, corev1.ContainerStatus{Name: "side", State: corev1.ContainerState{Terminated: ended(2, "")}}), "container side ended with 2"},
	} {
		if got := troubleOf(&corev1.Pod{Status: tt.status}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
