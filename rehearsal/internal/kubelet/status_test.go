package kubelet

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestStatus builds container states from a short notation: w waiting, r running
// and not ready, R running and ready, c completed, e ended with an error, b backing
// off after an error. Init containers come before the bar; an S before one makes
// it a sidecar.
func TestStatus(t *testing.T) {
	state := func(name, s string) corev1.ContainerStatus {
		c := corev1.ContainerStatus{Name: name, Started: new(bool)}
		ended := func(code int32) *corev1.ContainerStateTerminated {
			return &corev1.ContainerStateTerminated{ExitCode: code}
		}
		switch s {
		case "w":
			c.State.Waiting = &corev1.ContainerStateWaiting{Reason: reasonContainerCreating}
		case "r", "R":
			c.State.Running = &corev1.ContainerStateRunning{}
			*c.Started, c.Ready = s == "R", s == "R"
		case "c":
			c.State.Terminated, c.Ready = ended(0), true // for a main container it is taken back below
		case "e":
			c.State.Terminated = ended(1)
		case "b":
			c.State.Waiting = &corev1.ContainerStateWaiting{Reason: reasonCrashLoopBackOff}
			c.LastTerminationState.Terminated = ended(1)
		}
		return c
	}
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	for _, tt := range []struct {
		policy   corev1.RestartPolicy
		states   string
		terminal bool
		phase    corev1.PodPhase
		want     string // Initialized, ContainersReady, Ready as T or F
	}{
		{always, "| w", false, corev1.PodPending, "TFF"},
		{always, "| r", false, corev1.PodRunning, "TFF"},
		{always, "| R", false, corev1.PodRunning, "TTT"},
		{always, "| R r", false, corev1.PodRunning, "TFF"},
		{always, "| R w", false, corev1.PodPending, "TFF"},
		{always, "| b", false, corev1.PodRunning, "TFF"},
		{always, "| c", false, corev1.PodRunning, "TFF"},
		{always, "| c", true, corev1.PodSucceeded, "TFF"},
		{always, "| c e", true, corev1.PodFailed, "TFF"},
		{always, "| w", true, corev1.PodFailed, "TFF"},
		{onFailure, "| c", false, corev1.PodSucceeded, "TFF"},
		{onFailure, "| e", false, corev1.PodRunning, "TFF"},
		{never, "| c c", false, corev1.PodSucceeded, "TFF"},
		{never, "| c R", false, corev1.PodRunning, "TFF"},
		{never, "| c e", false, corev1.PodFailed, "TFF"},
		{always, "r | w", false, corev1.PodPending, "FFF"},
		{always, "c w | w", false, corev1.PodPending, "FFF"},
		{always, "c c | R", false, corev1.PodRunning, "TTT"},
		{always, "e | w", false, corev1.PodPending, "FFF"},
		{never, "e | w", false, corev1.PodFailed, "FFF"},
		{always, "Sr | w", false, corev1.PodPending, "FFF"},
		{always, "SR | R", false, corev1.PodRunning, "TTT"},
		{always, "Sb | R", false, corev1.PodRunning, "TFF"},
		{never, "SR | c", false, corev1.PodRunning, "TFF"},
		{never, "Sc | c", true, corev1.PodSucceeded, "TFF"},
	} {
		pod := testPod("p", "", func(p *corev1.Pod) { p.Spec.RestartPolicy, p.Spec.Containers = tt.policy, nil })
		s := podState{pod: pod, podIP: "10.0.0.1", terminal: tt.terminal}
		before, after, _ := strings.Cut(tt.states, "|")
		for i, f := range strings.Fields(before) {
			spec := corev1.Container{Name: fmt.Sprint("init", i)}
			f, sidecar := strings.CutPrefix(f, "S")
			if sidecar {
				spec.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
			}
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, spec)
			s.inits = append(s.inits, state(spec.Name, f))
		}
		for i, f := range strings.Fields(after) {
			c := state(fmt.Sprint("main", i), f)
			c.Ready = f == "R"
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c.Name})
			s.mains = append(s.mains, c)
		}
		got := s.status(corev1.PodStatus{}, time.Now())
		conditions := ""
		for _, c := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
			conditions += string(condition(got.Conditions, c).Status[0])
		}
		if got.Phase != tt.phase || conditions != tt.want {
			t.Errorf("%s %q terminal=%t: got %s %s, want %s %s", tt.policy, tt.states, tt.terminal, got.Phase, conditions, tt.phase, tt.want)
		}
	}
}

func TestStatusTimesAndGates(t *testing.T) {
	pod := testPod("p", "", func(p *corev1.Pod) {
		p.Generation = 4
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}}
	})
	s := podState{pod: pod, podIP: "10.0.0.1", mains: []corev1.ContainerStatus{{Name: "main", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first := s.status(corev1.PodStatus{}, t0)
	if c := condition(first.Conditions, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Reason != reasonReadinessGatesNotReady {
		t.Errorf("gate without a condition: %+v", c)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: "example.com/gate", Status: corev1.ConditionTrue}}
	second := s.status(first, t0.Add(time.Minute))
	ready, containers := condition(second.Conditions, corev1.PodReady), condition(second.Conditions, corev1.ContainersReady)
	if ready.Status != corev1.ConditionTrue || !ready.LastTransitionTime.Time.Equal(t0.Add(time.Minute)) {
		t.Errorf("gate open: %+v", ready)
	}
	if !containers.LastTransitionTime.Time.Equal(t0) {
		t.Errorf("ContainersReady did not change, but its time did: %s", containers.LastTransitionTime)
	}
	if second.ObservedGeneration != 4 || ready.ObservedGeneration != 4 {
		t.Errorf("observed generation %d, %d, want 4", second.ObservedGeneration, ready.ObservedGeneration)
	}
}

func TestMergeStatusAndPatch(t *testing.T) {
	t0 := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	base := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Status: corev1.PodStatus{
		QOSClass: corev1.PodQOSBurstable,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: t0},
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: t0},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: t0},
		},
	}}
	later := metav1.NewTime(t0.Add(time.Minute))
	own := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: later},
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: later},
	}}
	want := mergeStatus(base.Status, own)
	if want.QOSClass != corev1.PodQOSBurstable || len(want.Conditions) != 4 {
		t.Errorf("others' fields were lost: %+v", want)
	}
	if c := condition(want.Conditions, corev1.PodReady); !c.LastTransitionTime.Equal(&t0) {
		t.Errorf("an unchanged condition got a new time: %s", c.LastTransitionTime)
	}
	data, err := statusPatch(base, want)
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Metadata struct{ UID string }
		Status   corev1.PodStatus
	}
	if err := json.Unmarshal(data, &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata.UID != "u" || patch.Status.Phase != corev1.PodRunning || len(patch.Status.Conditions) != 1 {
		t.Errorf("the patch says more or less than what changed: %s", data)
	}
}
