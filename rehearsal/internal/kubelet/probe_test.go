package kubelet

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHTTPReadiness(t *testing.T) {
	c := newCluster(t, nil)
	c.create(server("web"))
	pod := c.waitReady("web")
	resp, err := http.Get("http://" + c.twin(pod) + ":8080/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	flag := filepath.Join(c.k.cfg.Dir, "pods", "uid-web", "containers", "main", "unready")
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	pod = c.waitPod("web", "is not ready", func(p *corev1.Pod) bool { return !isReady(p) })
	if s := pod.Status; s.Phase != corev1.PodRunning || s.ContainerStatuses[0].Ready || s.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("unready: %+v", s)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	c.waitReady("web")

	// Readiness is probed on while the pod terminates; a process that lingers can
	// show that it no longer serves.
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.delete("web", 30)
	c.waitLog("web", "main", "terminated")
	c.waitPod("web", "turns unready while it terminates", func(p *corev1.Pod) bool {
		return !isReady(p) && p.Status.ContainerStatuses[0].State.Running != nil
	})
	c.waitGone("web")
	if got := c.eventReasons(); !slices.Contains(got, "Unhealthy") || !slices.Contains(got, "Killing") {
		t.Errorf("events: %v", got)
	}
}

// server is a pod that runs the program serve, ready as long as it says so. It
// lives on for 3 s after SIGTERM.
func server(name string) *corev1.Pod {
	return testPod(name, "", func(p *corev1.Pod) {
		m := &p.Spec.Containers[0]
		m.Image, m.Args = "serve", nil
		m.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
		m.Env = []corev1.EnvVar{
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "ADDR", Value: "$(IP):8080"}, {Name: "LINGER", Value: "3s"},
		}
		m.ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("http")}},
			PeriodSeconds: 1, FailureThreshold: 1,
		}
	})
}

func TestTCPAndStartupProbe(t *testing.T) {
	c := newCluster(t, nil)
	p := server("web")
	m := &p.Spec.Containers[0]
	m.ReadinessProbe = nil
	m.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1}
	c.create(p)
	pod := c.waitReady("web")
	if !*pod.Status.ContainerStatuses[0].Started {
		t.Errorf("container: %+v", pod.Status.ContainerStatuses[0])
	}

	// A startup probe that goes on failing ends the container.
	c.create(testPod("never", forever, func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].StartupProbe = &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}, PeriodSeconds: 1, FailureThreshold: 2}
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	}))
	pod = c.waitPod("never", "runs", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if s := pod.Status.ContainerStatuses[0]; *s.Started || s.Ready {
		t.Errorf("before its startup probe passed: %+v", s)
	}
	c.waitPod("never", "has ended", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if log := c.log("never", "main"); log != "up\ngot term\n" {
		t.Errorf("log: %q", log)
	}
}

func TestLivenessRestarts(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("web", `rm -f sick; `+forever, func(p *corev1.Pod) {
		p.Spec.Containers[0].LivenessProbe = &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "! test -e sick"}}}, PeriodSeconds: 1, FailureThreshold: 1}
	}))
	c.waitReady("web")
	c.waitLog("web", "main", "up\n")
	if err := os.WriteFile(filepath.Join(c.k.cfg.Dir, "pods", "uid-web", "containers", "main", "sick"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	pod := c.waitPod("web", "was restarted", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 0 || last.Reason != reasonCompleted {
		t.Errorf("last state: %+v", last)
	}
	c.waitLog("web", "main", "up\ngot term\nup\n")
}
