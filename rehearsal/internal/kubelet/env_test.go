package kubelet

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

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
	got := strings.Join(assignments(serviceEnv(pod, services, twin, same, "https://127.0.0.1:6443")), "\n")
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
	if env := serviceEnv(pod, services, twin, same, ""); len(env) > 0 {
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

// same is a machine on which every port can be listened at.
func same(port uint16) uint16 { return port }
