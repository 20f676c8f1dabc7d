package kubelet

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// sources are the objects that a pod's containers take values from, by name.
type sources struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
}

// envInput is all that a container's environment depends on.
type envInput struct {
	pod         *corev1.Pod
	container   *corev1.Container
	image       Image
	podIP       netip.Addr // as the process sees it: the loopback twin
	hostIP      netip.Addr // likewise
	allocatable corev1.ResourceList
	sources     sources
	services    map[string]string // see serviceEnv
	base        map[string]string // PATH and the like; overridden by all others
	mounts      mounts
}

// environment returns the container's variables. A later kind overrides an
// earlier one: base, services, image, envFrom, env.
func environment(in envInput) (map[string]string, error) {
	own := make(map[string]string) // declared by the container
	for _, from := range in.container.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			cm := in.sources.configMaps[from.ConfigMapRef.Name]
			if cm == nil {
				if optional(from.ConfigMapRef.Optional) {
					continue
				}
				return nil, fmt.Errorf("reading envFrom: no ConfigMap %s", from.ConfigMapRef.Name)
			}
			for key, value := range cm.Data {
				own[from.Prefix+key] = value
			}
		case from.SecretRef != nil:
			secret := in.sources.secrets[from.SecretRef.Name]
			if secret == nil {
				if optional(from.SecretRef.Optional) {
					continue
				}
				return nil, fmt.Errorf("reading envFrom: no Secret %s", from.SecretRef.Name)
			}
			for key, value := range secret.Data {
				own[from.Prefix+key] = string(value)
			}
		}
	}
	// A reference may name what was declared before it, or a service's variable.
	lookup := func(name string) (string, bool) {
		for _, values := range []map[string]string{own, in.image.Env, in.services} {
			if value, ok := values[name]; ok {
				return value, true
			}
		}
		return "", false
	}
	for _, v := range in.container.Env {
		switch {
		case v.Value != "" || v.ValueFrom == nil:
			own[v.Name] = expand(v.Value, lookup)
		default:
			value, ok, err := in.valueFrom(v.ValueFrom)
			if err != nil {
				return nil, fmt.Errorf("reading env %s: %w", v.Name, err)
			}
			if ok {
				own[v.Name] = value
			}
		}
	}
	env := make(map[string]string)
	for _, values := range []map[string]string{in.base, in.services, in.image.Env} {
		for name, value := range values {
			env[name] = value
		}
	}
	for name, value := range own {
		env[name] = in.mounts.rewrite(value)
	}
	return env, nil
}

// valueFrom reports false for an optional value that is not there.
func (in envInput) valueFrom(from *corev1.EnvVarSource) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		value, err := in.field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err := resourceField(from.ResourceFieldRef, in.container, in.allocatable)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		if cm := in.sources.configMaps[ref.Name]; cm != nil {
			if value, ok := cm.Data[ref.Key]; ok {
				return value, true, nil
			}
		}
		return missing("ConfigMap", ref.Name, ref.Key, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		if secret := in.sources.secrets[ref.Name]; secret != nil {
			if value, ok := secret.Data[ref.Key]; ok {
				return string(value), true, nil
			}
		}
		return missing("Secret", ref.Name, ref.Key, ref.Optional)
	}
	return "", false, fmt.Errorf("a source of this kind is not played")
}

func missing(kind, name, key string, opt *bool) (string, bool, error) {
	if optional(opt) {
		return "", false, nil
	}
	return "", false, fmt.Errorf("no key %s in %s %s", key, kind, name)
}

func optional(o *bool) bool { return o != nil && *o }

func (in envInput) field(path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return in.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return in.pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return in.podIP.String(), nil
	case "status.hostIP", "status.hostIPs":
		return in.hostIP.String(), nil
	}
	return metadataField(in.pod, path)
}

// metadataField reads those fields that a file of the downward API can have too.
func metadataField(pod *corev1.Pod, path string) (string, error) {
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	}
	if name, rest, ok := strings.Cut(path, "['"); ok {
		if key, ok := strings.CutSuffix(rest, "']"); ok {
			switch name {
			case "metadata.labels":
				return pod.Labels[key], nil
			case "metadata.annotations":
				return pod.Annotations[key], nil
			}
		}
	}
	return "", fmt.Errorf("field %s is not known", path)
}

// formatMap writes labels or annotations as the downward API does: one
// key="value" a line, sorted, quoted as in Go.
func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for key, value := range m {
		lines = append(lines, fmt.Sprintf("%s=%q", key, value))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// resourceField reads a container's request or limit in units of the divisor,
// rounded up. A limit that is not set is what the node has.
func resourceField(ref *corev1.ResourceFieldSelector, c *corev1.Container, allocatable corev1.ResourceList) (string, error) {
	kind, name, _ := strings.Cut(ref.Resource, ".")
	values := c.Resources.Limits
	switch kind {
	case "limits":
	case "requests":
		values = c.Resources.Requests
	default:
		return "", fmt.Errorf("resource %s is not known", ref.Resource)
	}
	quantity, ok := values[corev1.ResourceName(name)]
	if !ok && kind == "limits" {
		quantity = allocatable[corev1.ResourceName(name)]
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	have, unit := quantity.Value(), divisor.Value()
	if name == string(corev1.ResourceCPU) {
		have, unit = quantity.MilliValue(), divisor.MilliValue()
	}
	return strconv.FormatInt((have+unit-1)/unit, 10), nil
}

// serviceEnv returns the variables that announce services to a pod's
// containers. Addresses are given as twin makes them, ports as listens does. The
// API server is announced always, at its real place.
func serviceEnv(pod *corev1.Pod, services []*corev1.Service, twin func(netip.Addr) netip.Addr, listens func(uint16) uint16, server string) map[string]string {
	env := make(map[string]string)
	if pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks {
		for _, s := range services {
			ip, err := netip.ParseAddr(s.Spec.ClusterIP)
			if err != nil || !ip.Is4() || len(s.Spec.Ports) == 0 || s.Namespace != pod.Namespace {
				continue // headless or not yet allocated
			}
			name := envName(s.Name)
			env[name+"_SERVICE_HOST"] = twin(ip).String()
			env[name+"_SERVICE_PORT"] = strconv.Itoa(int(listens(uint16(s.Spec.Ports[0].Port))))
			for _, port := range s.Spec.Ports {
				if port.Name != "" {
					env[name+"_SERVICE_PORT_"+envName(port.Name)] = strconv.Itoa(int(listens(uint16(port.Port))))
				}
			}
		}
	}
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		host, port, err := net.SplitHostPort(u.Host)
		if err != nil {
			host, port = u.Host, "443"
		}
		env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"] = host, port
		env["KUBERNETES_SERVICE_PORT_HTTPS"] = port
	}
	return env
}

func envName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

// commandLine returns the program and arguments of the container.
func commandLine(c *corev1.Container, image Image, env map[string]string, m mounts) []string {
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	var line []string
	if len(c.Command) == 0 {
		// A path of the image is one of this machine: no mount hides it.
		line = slices.Clone(image.Command)
	}
	for _, word := range slices.Concat(c.Command, c.Args) {
		// In this order: the values in env have been rewritten already, and the folder
		// that one names may lie below the path of another mount.
		line = append(line, expand(m.rewrite(word), lookup))
	}
	return line
}

// assignments formats env for a process, sorted.
func assignments(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
