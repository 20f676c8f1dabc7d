package kubelet

import (
	"fmt"
	"iter"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of conditions and container states, as kubelets write them.
const (
	reasonContainersNotReady       = "ContainersNotReady"
	reasonContainersNotInitialized = "ContainersNotInitialized"
	reasonReadinessGatesNotReady   = "ReadinessGatesNotReady"
	reasonPodCompleted             = "PodCompleted"
	reasonPodFailed                = "PodFailed"

	reasonContainerCreating = "ContainerCreating"
	reasonPodInitializing   = "PodInitializing"
	reasonConfigError       = "CreateContainerConfigError"
	reasonErrImagePull      = "ErrImagePull"
	reasonCrashLoopBackOff  = "CrashLoopBackOff"
	reasonCompleted         = "Completed"
	reasonError             = "Error"
	reasonStartError        = "StartError"
	reasonFailedMount       = "FailedMount"
)

// podState is what a pod's status is made of.
type podState struct {
	pod          *corev1.Pod // for the spec, the generation and the readiness gates
	hostIP       string
	podIP        string // empty until the pod has an address
	startTime    metav1.Time
	terminal     bool // nothing runs and nothing will be started
	inits, mains []corev1.ContainerStatus
}

// status returns the part of the pod's status that a kubelet owns. Conditions
// that are as they were in last keep their transition time.
func (s podState) status(last corev1.PodStatus, now time.Time) corev1.PodStatus {
	phase := s.phase()
	out := corev1.PodStatus{
		ObservedGeneration:    s.pod.Generation,
		Phase:                 phase,
		HostIP:                s.hostIP,
		HostIPs:               []corev1.HostIP{{IP: s.hostIP}},
		StartTime:             &s.startTime,
		InitContainerStatuses: s.inits,
		ContainerStatuses:     s.mains,
	}
	if s.podIP != "" {
		out.PodIP, out.PodIPs = s.podIP, []corev1.PodIP{{IP: s.podIP}}
	}
	containersReady := s.containersReady(phase)
	out.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: truth(s.podIP != "" && !s.terminal)},
		s.initialized(phase),
		s.ready(containersReady),
		containersReady,
	}
	if condition(s.pod.Status.Conditions, corev1.PodScheduled) == nil {
		// Assigned without a scheduler.
		out.Conditions = append(out.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	}
	for i := range out.Conditions {
		c := &out.Conditions[i]
		c.ObservedGeneration = s.pod.Generation
		c.LastTransitionTime = stamp(now)
		if old := condition(last.Conditions, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	return out
}

// phase follows from the containers. A pod that ends because it was deleted
// succeeds or fails like one that ran to its end.
func (s podState) phase() corev1.PodPhase {
	var waiting, running, failed, restarting int
	for i, c := range s.inits {
		if isSidecar(&s.pod.Spec.InitContainers[i]) {
			if c.State.Running != nil {
				running++
			}
			if !s.terminal && !isStarted(c) && c.State.Terminated == nil && c.LastTerminationState.Terminated == nil {
				return corev1.PodPending
			}
			continue
		}
		end := lastEnd(c)
		switch {
		case c.State.Running != nil, end == nil && !s.terminal:
			return corev1.PodPending
		case end != nil && end.ExitCode == 0:
		case s.terminal || s.pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
			return corev1.PodFailed
		default: // to be tried again
			return corev1.PodPending
		}
	}
	for i, c := range s.mains {
		end := lastEnd(c)
		switch {
		case c.State.Running != nil:
			running++
		case end == nil:
			waiting++
		default:
			if end.ExitCode != 0 {
				failed++
			}
			if restartAfter(policyOf(s.pod, &s.pod.Spec.Containers[i]), end.ExitCode) {
				restarting++
			}
		}
	}
	switch {
	case s.terminal && (failed > 0 || waiting > 0):
		return corev1.PodFailed
	case s.terminal:
		return corev1.PodSucceeded
	case waiting > 0:
		return corev1.PodPending
	case running > 0 || restarting > 0:
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	}
	return corev1.PodSucceeded
}

func (s podState) initialized(phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	var incomplete []string
	for i, init := range s.inits {
		if isSidecar(&s.pod.Spec.InitContainers[i]) && !isStarted(init) || !isSidecar(&s.pod.Spec.InitContainers[i]) && !init.Ready {
			incomplete = append(incomplete, init.Name)
		}
	}
	begun := false // once a main container has run, the pod stays initialized
	for _, main := range s.mains {
		begun = begun || main.State.Running != nil || lastEnd(main) != nil
	}
	switch {
	case phase == corev1.PodSucceeded:
		c.Reason = reasonPodCompleted
	case len(incomplete) > 0 && !begun:
		c.Status, c.Reason = corev1.ConditionFalse, reasonContainersNotInitialized
		c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

func (s podState) containersReady(phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	var unready []string
	for i, init := range s.inits {
		if isSidecar(&s.pod.Spec.InitContainers[i]) && !init.Ready {
			unready = append(unready, init.Name)
		}
	}
	for _, main := range s.mains {
		if !main.Ready {
			unready = append(unready, main.Name)
		}
	}
	switch {
	case phase == corev1.PodSucceeded:
		c.Reason = reasonPodCompleted
	case phase == corev1.PodFailed:
		c.Reason = reasonPodFailed
	case len(unready) > 0:
		c.Reason = reasonContainersNotReady
		c.Message = fmt.Sprintf("containers with unready status: %s", unready)
	default:
		c.Status = corev1.ConditionTrue
	}
	return c
}

// ready adds the pod's readiness gates, which others set, to its containers.
func (s podState) ready(containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var closed []string
	for _, gate := range s.pod.Spec.ReadinessGates {
		switch g := condition(s.pod.Status.Conditions, gate.ConditionType); {
		case g == nil:
			closed = append(closed, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case g.Status != corev1.ConditionTrue:
			closed = append(closed, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, g.Status))
		}
	}
	if len(closed) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, reasonReadinessGatesNotReady, strings.Join(closed, ", ")
	}
	return c
}

// mergeStatus puts what a kubelet owns into base and leaves what others wrote,
// for example the conditions of readiness gates and disruptions. A condition that
// does not change keeps the transition time that it has in base.
func mergeStatus(base, own corev1.PodStatus) corev1.PodStatus {
	out := *base.DeepCopy()
	out.ObservedGeneration = own.ObservedGeneration
	out.Phase = own.Phase
	out.HostIP, out.HostIPs = own.HostIP, own.HostIPs
	out.PodIP, out.PodIPs = own.PodIP, own.PodIPs
	out.StartTime = own.StartTime
	out.InitContainerStatuses, out.ContainerStatuses = own.InitContainerStatuses, own.ContainerStatuses
	for _, c := range own.Conditions {
		old := condition(out.Conditions, c.Type)
		if old == nil {
			out.Conditions = append(out.Conditions, c)
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
	}
	return out
}

// stamp is t as the API keeps it, to the second, so that what was written compares
// equal to what is read back.
func stamp(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// restartAfter reports whether a container that ended with code runs again.
func restartAfter(policy corev1.RestartPolicy, code int32) bool {
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// policyOf returns the restart policy of one of the pod's containers.
func policyOf(pod *corev1.Pod, c *corev1.Container) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	return pod.Spec.RestartPolicy
}

// isSidecar reports whether c, one of a pod's init containers, keeps running.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// lastEnd is how a container that does not run ended; nil if it never did.
func lastEnd(c corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if c.State.Terminated != nil {
		return c.State.Terminated
	}
	return c.LastTerminationState.Terminated
}

func isStarted(c corev1.ContainerStatus) bool { return c.Started != nil && *c.Started }

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func condition(all []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range all {
		if all[i].Type == t {
			return &all[i]
		}
	}
	return nil
}

// containersOf yields a pod's init containers and then its ordinary ones.
func containersOf(spec *corev1.PodSpec) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}
