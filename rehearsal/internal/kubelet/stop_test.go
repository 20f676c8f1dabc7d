package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestTermination(t *testing.T) {
	preStop := func(h corev1.LifecycleHandler) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &h} }
	}
	exec := func(script string) corev1.LifecycleHandler {
		return corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", script}}}
	}
	usr1 := corev1.SIGUSR1
	for _, tt := range []struct {
		name   string
		script string
		change func(*corev1.Pod)
		grace  int64
		least  time.Duration // that the end takes
		code   int32
		phase  corev1.PodPhase
		log    string
	}{
		{name: "heeds SIGTERM", script: forever, grace: 30, code: 0, phase: corev1.PodSucceeded, log: "up\ngot term\n"},
		{name: "exits with an error", script: `exec 2>/dev/null; trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done`, grace: 30, code: 7, phase: corev1.PodFailed, log: "up\n"},
		{name: "is killed after the grace period", script: stubborn, grace: 3, least: 3 * time.Second, code: 137, phase: corev1.PodFailed, log: "up\nignoring term\n"},
		{name: "is killed at once", script: forever, grace: 0, code: 137, phase: corev1.PodFailed, log: "up\n"},
		{name: "hook before the signal", script: forever, change: preStop(exec("echo hook >>$HOME/../../hooked; sleep 0.2")), grace: 30, code: 0, phase: corev1.PodSucceeded, log: "up\ngot term\n"},
		{name: "hook sleeps", script: forever, change: preStop(corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}), grace: 30, least: time.Second, code: 0, phase: corev1.PodSucceeded, log: "up\ngot term\n"},
		// The hook counts against the grace period, but the signal is sent still, two
		// seconds before the kill.
		{name: "hook uses up the grace period", script: forever, change: preStop(exec("sleep 60")), grace: 1, least: time.Second, code: 0, phase: corev1.PodSucceeded, log: "up\ngot term\n"},
		{name: "hook cannot run", script: forever, change: preStop(corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(1)}}), grace: 30, code: 0, phase: corev1.PodSucceeded, log: "up\ngot term\n"},
		{name: "a signal of its own", script: `exec 2>/dev/null; trap 'echo got usr1; exit 0' USR1; echo up; while :; do sleep 0.02; done`, change: func(p *corev1.Pod) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{StopSignal: &usr1}
		}, grace: 30, code: 0, phase: corev1.PodSucceeded, log: "up\ngot usr1\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, nil)
			p := testPod("p", tt.script)
			if tt.change != nil {
				tt.change(p)
			}
			c.create(p)
			c.waitReady("p")
			c.waitLog("p", "main", "up\n")
			start := time.Now()
			c.delete("p", tt.grace)
			s := c.waitGone("p")
			if took := time.Since(start); took < tt.least {
				t.Errorf("took %s, want at least %s", took, tt.least)
			}
			if end := s.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != tt.code || s.Phase != tt.phase {
				t.Errorf("final status: %s, %+v", s.Phase, s.ContainerStatuses[0])
			}
			if log := c.log("p", "main"); log != tt.log {
				t.Errorf("log: %q, want %q", log, tt.log)
			}
			c.eventually("the pod's folder is gone", func() bool {
				_, err := os.Stat(filepath.Join(c.k.cfg.Dir, "pods", "uid-p"))
				return os.IsNotExist(err)
			})
			if hook, err := os.ReadFile(filepath.Join(c.k.cfg.Dir, "hooked")); strings.HasPrefix(tt.name, "hook before") && string(hook) != "hook\n" {
				t.Errorf("the hook wrote %q, %v", hook, err)
			}
		})
	}
}

func TestGraceIsShortened(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("p", stubborn))
	c.waitReady("p")
	c.delete("p", 3600)
	c.waitLog("p", "main", "ignoring term")
	c.delete("p", 1)
	c.waitGone("p")
}

func TestForcedDeletionKillsAtOnce(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("p", showPID+stubborn))
	c.waitReady("p")
	c.waitLog("p", "main", "up\n")
	if err := c.client.CoreV1().Pods("shop").Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pid := c.pid("p")
	c.eventually("the process is gone", func() bool { return !alive(pid) })
	if log := c.log("p", "main"); strings.Contains(log, "ignoring") {
		t.Errorf("it was asked first: %q", log)
	}
}

func TestFinishedPodIsRemovedWhenDeleted(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("p", "exit 0", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	c.waitPod("p", "has ended", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	c.delete("p", 30)
	c.waitGone("p")
}

func TestKillContainer(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("p", forever))
	c.waitReady("p")
	if err := c.k.KillContainer("shop", "p", "main"); err != nil {
		t.Fatal(err)
	}
	pod := c.waitPod("p", "runs again", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; last.ExitCode != 137 || last.Reason != reasonError {
		t.Errorf("last state: %+v", last)
	}
	if err := c.k.KillContainer("shop", "p", "other"); err == nil {
		t.Error("killed a container that does not exist")
	}
}
