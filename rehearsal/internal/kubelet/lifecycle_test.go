package kubelet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodBecomesReady(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("web", forever))
	pod := c.waitReady("web")
	s := pod.Status
	if s.Phase != corev1.PodRunning || s.HostIP == "" || s.PodIP == "" || len(s.PodIPs) != 1 || s.StartTime == nil {
		t.Errorf("status: %+v", s)
	}
	for _, typ := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady} {
		if got := condition(s.Conditions, typ); got == nil || got.Status != corev1.ConditionTrue || got.LastTransitionTime.IsZero() {
			t.Errorf("condition %s: %+v", typ, got)
		}
	}
	if cs := s.ContainerStatuses[0]; cs.State.Running == nil || !cs.Ready || !*cs.Started || cs.RestartCount != 0 || !strings.HasPrefix(cs.ContainerID, "process://") {
		t.Errorf("container: %+v", cs)
	}
	c.waitLog("web", "main", "up\n")
}

func TestEnvironmentOfAProcess(t *testing.T) {
	c := newCluster(t, nil, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "engine"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.250.0.9", Ports: []corev1.ServicePort{{Port: 80}}},
	})
	c.create(testPod("web", `env; pwd; echo "arg $0"; while :; do sleep 0.05; done`, func(p *corev1.Pod) {
		m := &p.Spec.Containers[0]
		m.Args = append(m.Args, "$(ENGINE_SERVICE_HOST)")
		m.Env = []corev1.EnvVar{{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
	}))
	pod := c.waitReady("web")
	c.waitLog("web", "main", "arg ")
	log, dir := c.log("web", "main"), filepath.Join(c.k.cfg.Dir, "pods", "uid-web")
	for _, want := range []string{
		"POD_IP=" + c.twin(pod) + "\n", "ENGINE_SERVICE_HOST=127.250.0.9\n", "ENGINE_SERVICE_PORT=80\n", "HOME=" + dir + "\n", "PATH=",
		"\n" + filepath.Join(dir, "containers", "main") + "\n", "arg 127.250.0.9\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	for line := range strings.Lines(log) {
		name, _, ok := strings.Cut(line, "=")
		known := []string{"PATH", "HOME", "POD_IP", "PWD", "OLDPWD", "SHLVL", "_"} // the last four are the shell's
		if ok && !slices.Contains(known, name) && !strings.HasPrefix(name, "ENGINE_SERVICE_") {
			t.Errorf("%s leaked into the container", name)
		}
	}
}

func TestVolumes(t *testing.T) {
	c := newCluster(t, nil,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cm"}, Data: map[string]string{"a": "config", "b": "other"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}, Data: map[string][]byte{"key": []byte("hidden")}},
	)
	host, disk := t.TempDir(), t.TempDir()
	for _, create := range []func() error{
		func() error {
			_, err := c.client.CoreV1().PersistentVolumes().Create(t.Context(), &corev1.PersistentVolume{
				ObjectMeta: metav1.ObjectMeta{Name: "pv"},
				Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: disk}}},
			}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := c.client.CoreV1().PersistentVolumeClaims("shop").Create(t.Context(), &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv"},
				Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
			}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := create(); err != nil {
			t.Fatal(err)
		}
	}
	annotations := corev1.DownwardAPIVolumeFile{Path: "annotations", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations"}}
	c.create(testPod("web", `
cat /etc/cm/a /etc/s/sub/k /etc/all/b /etc/all/token; ls /etc/cm; echo host >/host/file; echo kept >/data/file; echo shared >/shared/x
until grep -q soon /etc/podinfo/annotations; do sleep 0.01; done; cat /etc/podinfo/annotations; echo; cat /etc/podinfo/app
while :; do sleep 0.05; done`, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{
			{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Items: []corev1.KeyToPath{{Key: "a", Path: "a"}}}}},
			{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: "key", Path: "sub/k", Mode: new(int32(0o400))}}}}},
			{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}},
			{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "info", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				annotations, {Path: "app", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}}}}},
			{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{annotations}}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(600))}},
			}}}},
		}
		for _, v := range [][2]string{{"cm", "/etc/cm"}, {"s", "/etc/s"}, {"shared", "/shared"}, {"host", "/host"}, {"data", "/data"}, {"info", "/etc/podinfo"}, {"all", "/etc/all"}} {
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v[0], MountPath: v[1]})
		}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: "peer", Image: "sh", Args: []string{`until cat /other/x; do sleep 0.01; done; while :; do sleep 0.05; done`},
			VolumeMounts: []corev1.VolumeMount{{Name: "shared", MountPath: "/other"}},
		})
	}))
	c.waitReady("web")
	c.waitLog("web", "main", "confighiddenothertoken for pod weba\n")
	c.waitLog("web", "peer", "shared\n")
	if data, err := os.ReadFile(filepath.Join(host, "file")); err != nil || string(data) != "host\n" {
		t.Errorf("the host path has %q, %v", data, err)
	}
	if data, err := os.ReadFile(filepath.Join(disk, "file")); err != nil || string(data) != "kept\n" {
		t.Errorf("the claimed volume has %q, %v", data, err)
	}
	// This is how a deadline arrives.
	c.edit("web", func(p *corev1.Pod) { p.Annotations = map[string]string{"evenkeel.dev/deadline": "soon", "a": "1"} })
	c.waitLog("web", "main", "a=\"1\"\nevenkeel.dev/deadline=\"soon\"\nweb")
}

func TestMissingObjectsAreWaitedFor(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("web", forever, func(p *corev1.Pod) {
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "K", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}}}
	}))
	c.waitPod("web", "waits for its ConfigMap", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == reasonConfigError
	})
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cm"}, Data: map[string]string{"k": "v"}}
	if _, err := c.client.CoreV1().ConfigMaps("shop").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.waitReady("web")
}

func TestKubeconfig(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.Server, cfg.CAFile = "https://127.0.0.1:6443", "/ca.crt" })
	script := `echo "config: $KUBECONFIG."; test -z "$KUBECONFIG" || cat $KUBECONFIG $HOME/token; while :; do sleep 0.05; done`
	c.create(testPod("own", script, func(p *corev1.Pod) { p.Spec.ServiceAccountName = "controller" }))
	c.create(testPod("default", script))
	c.create(testPod("unmounted", script, func(p *corev1.Pod) {
		p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = "controller", new(bool)
	}))
	c.waitLog("own", "main", "token for pod own")
	for _, want := range []string{"server: https://127.0.0.1:6443", "certificate-authority: /ca.crt", "tokenFile: " + filepath.Join(c.k.cfg.Dir, "pods", "uid-own", "token"), "namespace: shop"} {
		if log := c.log("own", "main"); !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	c.waitLog("default", "main", "config: .\n")
	c.waitLog("unmounted", "main", "config: .\n")
}

func TestInitContainers(t *testing.T) {
	shared := func(p *corev1.Pod, inits ...string) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		mounts := []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		p.Spec.Containers[0].VolumeMounts = mounts
		for i, script := range inits {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "init" + string(rune('0'+i)), Image: "sh", Args: []string{script}, VolumeMounts: mounts})
		}
	}
	c := newCluster(t, nil)
	c.create(testPod("ordered", `echo main >>/v/order; cat /v/order;`+forever, func(p *corev1.Pod) {
		// The first one fails once; the second one waits until it is looked at.
		shared(p, `echo first >>/v/order; test -e /v/tried || { touch /v/tried; exit 1; }`, `echo second >>/v/order; until test -e /v/go; do sleep 0.01; done`)
	}))
	pod := c.waitPod("ordered", "runs its second init container", func(p *corev1.Pod) bool {
		return len(p.Status.InitContainerStatuses) == 2 && p.Status.InitContainerStatuses[1].State.Running != nil
	})
	if s := pod.Status; s.Phase != corev1.PodPending || s.InitContainerStatuses[0].RestartCount != 1 || !s.InitContainerStatuses[0].Ready ||
		s.ContainerStatuses[0].State.Waiting.Reason != reasonPodInitializing || !conditionIs(pod, corev1.PodInitialized, corev1.ConditionFalse) {
		t.Errorf("while initializing: %+v", s)
	}
	if err := os.WriteFile(filepath.Join(c.k.cfg.Dir, "pods", "uid-ordered", "volumes", "v", "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	pod = c.waitReady("ordered")
	c.waitLog("ordered", "main", "first\nfirst\nsecond\nmain\nup\n")
	if !conditionIs(pod, corev1.PodInitialized, corev1.ConditionTrue) {
		t.Errorf("conditions: %+v", pod.Status.Conditions)
	}

	c.create(testPod("fails", forever, func(p *corev1.Pod) {
		shared(p, "exit 5")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
	}))
	pod = c.waitPod("fails", "has failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if s := pod.Status; s.InitContainerStatuses[0].State.Terminated.ExitCode != 5 || s.ContainerStatuses[0].State.Running != nil {
		t.Errorf("after a failed init container: %+v", s)
	}
}

func TestSidecars(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	sidecar := func(name string) corev1.Container {
		return corev1.Container{Name: name, Image: "sh", RestartPolicy: &always, Args: []string{
			`exec 2>/dev/null; trap 'echo ` + name + ` ends >>/v/order; exit 0' TERM; echo ` + name + ` >>/v/order; touch /v/` + name + `; while :; do sleep 0.01; done`},
			StartupProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-e", "/v/" + name}}}, PeriodSeconds: 1},
		}
	}
	with := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.InitContainers = []corev1.Container{sidecar("a"), sidecar("b")}
		for spec := range containersOf(&p.Spec) {
			spec.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		}
	}
	c := newCluster(t, nil)
	c.create(testPod("served", `exec 2>/dev/null; trap 'sleep 0.1; echo main ends >>/v/order; exit 0' TERM; echo main >>/v/order; while :; do sleep 0.01; done`, with))
	c.waitReady("served")
	order := filepath.Join(c.k.cfg.Dir, "pods", "uid-served", "volumes", "v", "order")
	copied := filepath.Join(t.TempDir(), "order") // outlives the pod
	if err := os.Link(order, copied); err != nil {
		t.Fatal(err)
	}
	c.delete("served", 30)
	c.waitGone("served")
	if data, err := os.ReadFile(copied); err != nil || string(data) != "a\nb\nmain\nmain ends\nb ends\na ends\n" {
		t.Errorf("order: %q, %v", data, err)
	}

	// A job with sidecars ends when its main container does.
	c.create(testPod("job", "exit 0", with, func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	pod := c.waitPod("job", "has ended", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Terminated == nil {
			t.Errorf("sidecar %s: %+v", s.Name, s.State)
		}
	}
}

func TestRestartPolicies(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy corev1.RestartPolicy
		code   string
		phase  corev1.PodPhase
		reason string // of the end of the container
		again  bool
	}{
		{"never-ok", corev1.RestartPolicyNever, "0", corev1.PodSucceeded, reasonCompleted, false},
		{"never-error", corev1.RestartPolicyNever, "3", corev1.PodFailed, reasonError, false},
		{"onfailure-ok", corev1.RestartPolicyOnFailure, "0", corev1.PodSucceeded, reasonCompleted, false},
		{"onfailure-error", corev1.RestartPolicyOnFailure, "3", corev1.PodRunning, reasonError, true},
		{"always-ok", corev1.RestartPolicyAlways, "0", corev1.PodRunning, reasonCompleted, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, nil)
			c.create(testPod("p", "echo first; echo last; exit "+tt.code, func(p *corev1.Pod) { p.Spec.RestartPolicy = tt.policy }))
			pod := c.waitPod("p", "is as expected", func(p *corev1.Pod) bool {
				if p.Status.Phase != tt.phase {
					return false
				}
				s := p.Status.ContainerStatuses[0]
				return !tt.again || s.RestartCount >= 2 && s.State.Waiting != nil && s.State.Waiting.Reason == reasonCrashLoopBackOff
			})
			s := pod.Status.ContainerStatuses[0]
			end := lastEnd(s)
			if end == nil || end.Reason != tt.reason || !tt.again && s.RestartCount != 0 || s.Ready || isReady(pod) {
				t.Errorf("container: %+v", s)
			}
			if said := strings.HasSuffix(end.Message, "first\nlast"); said != (tt.reason == reasonError) {
				t.Errorf("message %q", end.Message)
			}
		})
	}
}

// TestLastWords: no more than a kubelet takes, and no half line.
func TestLastWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, tt := range []struct{ name, log, want string }{
		{"nothing", "", ""},
		{"lines", "a\nb\n", "a\nb"},
		{"long", strings.Repeat("x", 3000) + "\nthe end\n", "the end"},
		{"one line that is too long", strings.Repeat("x", 3000), strings.Repeat("x", 2048)},
		{"not UTF-8", "a\xff\n", "a?"},
	} {
		if err := os.WriteFile(path, []byte(tt.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastWords(path); got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	if got := lastWords(path + "-none"); got != "" {
		t.Errorf("without a log: %q", got)
	}
}

func TestContainersThatCannotStart(t *testing.T) {
	c := newCluster(t, nil)
	c.create(testPod("image", "", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "registry.example/none:1" }))
	c.waitPod("image", "waits for its image", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return p.Status.Phase == corev1.PodPending && len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reasonErrImagePull
	})
	c.eventually("an event tells of it", func() bool { return slices.Contains(c.eventReasons(), "Failed") })
	c.delete("image", 30)
	c.waitGone("image")

	c.create(testPod("command", "", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Command = []string{"no-such-program"}
	}))
	pod := c.waitPod("command", "has failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end.ExitCode != 128 || end.Reason != reasonStartError {
		t.Errorf("end: %+v", end)
	}
}

func TestStartDelay(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.StartDelay = func(p *corev1.Pod) time.Duration {
			if p.Name == "slow" {
				return time.Hour
			}
			return 0
		}
	})
	c.create(testPod("slow", forever))
	c.create(testPod("quick", forever))
	c.waitReady("quick")
	pod := c.waitPod("slow", "is being created", func(p *corev1.Pod) bool { return len(p.Status.ContainerStatuses) == 1 })
	if s := pod.Status; s.Phase != corev1.PodPending || s.PodIP != "" || s.ContainerStatuses[0].State.Waiting.Reason != reasonContainerCreating {
		t.Errorf("status: %+v", s)
	}
	c.delete("slow", 30)
	c.waitGone("slow") // it need not finish starting first
}
