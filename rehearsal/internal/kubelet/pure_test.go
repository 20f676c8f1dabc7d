package kubelet

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

func TestThreshold(t *testing.T) {
	// Each letter is a result: s success, f failure. Each letter of want is the
	// verdict after it: S, F, or . when the one before holds.
	for _, tt := range []struct {
		successes, failures int
		results, want       string
	}{
		{1, 1, "sfsf", "SFSF"},
		{1, 3, "fffsff", "..FS.."},
		{2, 2, "sfssff", "...S.F"},
		{3, 1, "ssfsss", "..F..S"},
		{1, 3, "ffff", "..FF"},
	} {
		th := threshold{successes: tt.successes, failures: tt.failures}
		var got strings.Builder
		for _, r := range tt.results {
			switch verdict, decided := th.observe(r == 's'); {
			case !decided:
				got.WriteByte('.')
			case verdict:
				got.WriteByte('S')
			default:
				got.WriteByte('F')
			}
		}
		if got.String() != tt.want {
			t.Errorf("%d/%d %s: got %s, want %s", tt.successes, tt.failures, tt.results, &got, tt.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{base: 10 * time.Second}
	for i, want := range []time.Duration{0, 10, 20, 40, 80, 160, 300, 300} {
		if got := b.after(time.Second); got != want*time.Second {
			t.Errorf("restart %d waits %s, want %s", i+1, got, want*time.Second)
		}
	}
	if got := b.after(10 * time.Minute); got != 0 {
		t.Errorf("after a long run: waits %s, want none", got)
	}
	if got := b.after(time.Second); got != 10*time.Second {
		t.Errorf("after that: waits %s, want 10s", got)
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)", "EMPTY": ""}
	for in, want := range map[string]string{
		"":              "",
		"plain":         "plain",
		"$(A)":          "1",
		"x$(A)y$(A)z":   "x1y1z",
		"$(B)":          "$(A)", // values are not expanded again
		"$(EMPTY)":      "",
		"$(NONE)":       "$(NONE)",
		"$$(A)":         "$(A)",
		"$$$(A)":        "$1",
		"$":             "$",
		"$$":            "$",
		"a$":            "a$",
		"$A ${A}":       "$A ${A}",
		"$(A":           "$(A",
		"cost: 5$ $(A)": "cost: 5$ 1",
	} {
		if got := expand(in, func(n string) (string, bool) { v, ok := vars[n]; return v, ok }); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("a$(B)$$(C)$")
	f.Fuzz(func(t *testing.T, s string) {
		got := expand(s, func(string) (string, bool) { return "", false })
		// Nothing is known, so that only escapes change: $$ becomes $.
		if strings.Count(s, "$$") == 0 && got != s {
			t.Errorf("expand(%q) = %q", s, got)
		}
	})
}

func TestRewrite(t *testing.T) {
	m := newMounts([]mount{{"/data", "/real/data"}, {"/data/in", "/real/in"}, {"/etc/podinfo/", "/real/info"}})
	for in, want := range map[string]string{
		"/data":                           "/real/data",
		"/data/":                          "/real/data/",
		"/data/x":                         "/real/data/x",
		"/data/in/x":                      "/real/in/x",
		"/data/inner":                     "/real/data/inner",
		"/database":                       "/database",
		"/data.old":                       "/data.old",
		"/my/data":                        "/my/data",
		"data":                            "data",
		"--dir=/data":                     "--dir=/real/data",
		"/data:/etc/podinfo:/bin":         "/real/data:/real/info:/bin",
		"cat /data/a '/data/b' >/data/in": "cat /real/data/a '/real/data/b' >/real/in",
		"http://host/data":                "http://host/data",
		"http://host:80/data":             "http://host:80/data",
		"file:///data":                    "file:///data",
		"$(ROOT)/data":                    "$(ROOT)/data",
	} {
		if got := m.rewrite(in); got != want {
			t.Errorf("rewrite(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	pod := testPod("web-0", "", func(p *corev1.Pod) {
		p.Annotations = map[string]string{"evenkeel.dev/deadline": "soon"}
		p.Spec.ServiceAccountName = "web"
	})
	yes := true
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	res := func(name, divisor string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: name, Divisor: resource.MustParse(divisor)}}
	}
	in := envInput{
		pod: pod,
		container: &corev1.Container{
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}},
			EnvFrom: []corev1.EnvFromSource{
				{Prefix: "CM_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
				{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: &yes}},
			},
			Env: []corev1.EnvVar{
				{Name: "NAME", ValueFrom: field("metadata.name")},
				{Name: "NAMESPACE", ValueFrom: field("metadata.namespace")},
				{Name: "UID", ValueFrom: field("metadata.uid")},
				{Name: "APP", ValueFrom: field("metadata.labels['app']")},
				{Name: "DEADLINE", ValueFrom: field("metadata.annotations['evenkeel.dev/deadline']")},
				{Name: "NODE", ValueFrom: field("spec.nodeName")},
				{Name: "ACCOUNT", ValueFrom: field("spec.serviceAccountName")},
				{Name: "POD_IP", ValueFrom: field("status.podIP")},
				{Name: "HOST_IP", ValueFrom: field("status.hostIP")},
				{Name: "ADDR", Value: "$(POD_IP):80 $$(POD_IP) $(LATER)"},
				{Name: "LATER", Value: "later"},
				{Name: "ENGINE", Value: "$(ENGINE_SERVICE_HOST)"},
				{Name: "IMAGE_VAR", Value: "overridden"},
				{Name: "DIR", Value: "/data/x"},
				{Name: "KEY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}},
				{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}},
				{Name: "MISSING", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "no", Optional: &yes}}},
				{Name: "CPU_REQUEST", ValueFrom: res("requests.cpu", "1m")},
				{Name: "CPU_LIMIT", ValueFrom: res("limits.cpu", "0")},
				{Name: "MEMORY_LIMIT", ValueFrom: res("limits.memory", "1Mi")},
			},
		},
		image: Image{Env: map[string]string{"IMAGE_VAR": "image", "IMAGE_DIR": "/data/x"}},
		podIP: netip.MustParseAddr("127.32.0.7"), hostIP: netip.MustParseAddr("127.32.0.1"),
		allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		sources: sources{
			configMaps: map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"k": "v"}}},
			secrets:    map[string]*corev1.Secret{"s": {Data: map[string][]byte{"k": []byte("hidden")}}},
		},
		services: map[string]string{"ENGINE_SERVICE_HOST": "127.33.0.5"},
		base:     map[string]string{"PATH": "/bin"},
		mounts:   newMounts([]mount{{"/data", "/real"}}),
	}
	got, err := environment(in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"PATH": "/bin", "NAME": "web-0", "NAMESPACE": "shop", "UID": "uid-web-0", "APP": "web-0", "DEADLINE": "soon", "NODE": "n1",
		"ACCOUNT": "web", "POD_IP": "127.32.0.7", "HOST_IP": "127.32.0.1", "ADDR": "127.32.0.7:80 $(POD_IP) $(LATER)", "LATER": "later",
		"ENGINE": "127.33.0.5", "ENGINE_SERVICE_HOST": "127.33.0.5", "IMAGE_VAR": "overridden", "IMAGE_DIR": "/data/x", "DIR": "/real/x",
		"KEY": "v", "CM_k": "v", "SECRET": "hidden", "CPU_REQUEST": "250", "CPU_LIMIT": "2", "MEMORY_LIMIT": "1024",
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s = %q, want %q", name, got[name], want[name])
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("unexpected: %v", got)
	}
	in.container = &corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "no"}}}}}
	if _, err := environment(in); err == nil {
		t.Error("a missing key is no error")
	}
}

func TestServiceEnv(t *testing.T) {
	twin := (&podnet.Net{}).Loopback
	service := func(ns, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	}
	services := []*corev1.Service{
		service("shop", "vector-store", "10.33.0.5", corev1.ServicePort{Name: "http", Port: 80}, corev1.ServicePort{Name: "g-rpc", Port: 90}),
		service("shop", "headless", "None", corev1.ServicePort{Port: 80}),
		service("other", "engine", "10.33.0.6", corev1.ServicePort{Port: 80}),
	}
	pod := testPod("p", "")
	got := strings.Join(assignments(serviceEnv(pod, services, twin, "https://127.0.0.1:6443")), "\n")
	want := `KUBERNETES_SERVICE_HOST=127.0.0.1
KUBERNETES_SERVICE_PORT=6443
KUBERNETES_SERVICE_PORT_HTTPS=6443
VECTOR_STORE_SERVICE_HOST=127.33.0.5
VECTOR_STORE_SERVICE_PORT=80
VECTOR_STORE_SERVICE_PORT_G_RPC=90
VECTOR_STORE_SERVICE_PORT_HTTP=80`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	pod.Spec.EnableServiceLinks = new(bool)
	if env := serviceEnv(pod, services, twin, ""); len(env) > 0 {
		t.Errorf("links not wanted, got %v", env)
	}
}

func TestCommandLine(t *testing.T) {
	image := Image{Command: []string{"/data/bin/server", "--x"}}
	m := newMounts([]mount{{"/data", "/real/data"}})
	env := map[string]string{"N": "/data/value"}
	for _, tt := range []struct {
		command, args []string
		want          string
	}{
		{nil, nil, "/data/bin/server --x"},
		{nil, []string{"a", "$(N)"}, "/data/bin/server --x a /data/value"},
		{[]string{"run", "/data/f"}, nil, "run /real/data/f"},
		{[]string{"run"}, []string{"--f=/data/f"}, "run --f=/real/data/f"},
	} {
		got := strings.Join(commandLine(&corev1.Container{Command: tt.command, Args: tt.args}, image, env, m), " ")
		if got != tt.want {
			t.Errorf("command %v, args %v: got %q, want %q", tt.command, tt.args, got, tt.want)
		}
	}
}

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

func TestAddresses(t *testing.T) {
	share, err := podnet.Claim()
	if err != nil {
		t.Fatal(err)
	}
	defer share.Close()
	a := newAddresses(share)
	seen := make(map[netip.Addr]bool)
	for range 1000 {
		ip, err := a.take()
		if err != nil || seen[ip] || !share.Pods.Contains(ip) {
			t.Fatalf("took %s (seen: %t): %v", ip, seen[ip], err)
		}
		if b := ip.As4(); b[3] == 0 || b[3] == 255 || b[2] == 255 {
			t.Fatalf("took %s", ip)
		}
		seen[ip] = true
		share.Cut(ip)
		a.give(ip)
	}
	for range 255 * 254 { // all the way round: the addresses come again, audible
		ip, err := a.take()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-share.Silent(ip):
			t.Fatalf("%s was given silent", ip)
		default:
		}
	}
	if _, err := a.take(); err == nil {
		t.Error("took more addresses than there are")
	}
}
