package adopt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A workload is what Deployments and StatefulSets have in common.
type workload struct {
	meta     metav1.ObjectMeta
	replicas *int32
	template corev1.PodTemplateSpec
	recreate bool
	stateful bool
	claims   []corev1.PersistentVolumeClaim
}

// Platform returns the text of a platform file that describes the input.
func Platform(in Input) (string, error) {
	workloads := in.workloads()
	if len(workloads) == 0 {
		return "", errors.New("there is no Deployment or StatefulSet to describe")
	}
	namespaces := make([]string, 0, len(workloads))
	for _, w := range workloads {
		namespaces = append(namespaces, w.meta.Namespace)
	}
	namespaces = distinct(namespaces)
	switch {
	case in.Namespace != "":
		namespaces = []string{in.Namespace}
	case len(namespaces) == 0:
		namespaces = []string{"default"}
	case len(namespaces) > 1:
		return "", fmt.Errorf("a platform has one namespace, but these are described: %s; choose one with -n", strings.Join(namespaces, ", "))
	}
	var b strings.Builder
	b.WriteString("# Written by `evenkeel init` from what exists. Look at every CHECK.\n")
	siteOf(in.Nodes).write(&b, namespaces[0])
	b.WriteString("\nservices:\n")
	for i, w := range workloads {
		if i > 0 {
			b.WriteString("\n")
		}
		in.writeService(&b, w)
	}
	return b.String(), nil
}

func (in *Input) workloads() []workload {
	var out []workload
	for _, d := range in.Deployments {
		out = append(out, workload{meta: d.ObjectMeta, replicas: d.Spec.Replicas, template: d.Spec.Template, recreate: d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType})
	}
	for _, s := range in.StatefulSets {
		out = append(out, workload{meta: s.ObjectMeta, replicas: s.Spec.Replicas, template: s.Spec.Template, stateful: len(s.Spec.VolumeClaimTemplates) > 0, claims: s.Spec.VolumeClaimTemplates})
	}
	out = slices.DeleteFunc(out, func(w workload) bool {
		return len(w.template.Spec.Containers) == 0 || w.meta.Labels["app.kubernetes.io/component"] == "headroom" || in.Namespace != "" && w.meta.Namespace != "" && w.meta.Namespace != in.Namespace
	})
	sort.SliceStable(out, func(i, j int) bool { return out[i].meta.Name < out[j].meta.Name })
	return out
}

// main returns the container that the service is about: the one with the
// workload's name, else the first. Others come back with --patch.
func (w workload) main() corev1.Container {
	for _, c := range w.template.Spec.Containers {
		if c.Name == w.meta.Name {
			return c
		}
	}
	return w.template.Spec.Containers[0]
}

func (in *Input) writeService(b *strings.Builder, w workload) {
	c := w.main()
	line := func(format string, args ...any) { fmt.Fprintf(b, "    "+format+"\n", args...) }
	fmt.Fprintf(b, "  - name: %s\n", word(w.meta.Name))
	if n := len(w.template.Spec.Containers); n > 1 {
		line("# CHECK: it has %d containers, of which %s is described; use render --patch", n, c.Name)
	}
	line("image: %s", word(c.Image))
	if len(c.Command) > 0 {
		line("command: [%s]", words(c.Command))
	}
	if len(c.Args) > 0 {
		line("args: [%s]", words(c.Args))
	}
	writeEnv(line, c)
	replicas := in.writeReplicas(line, w)
	in.writePorts(line, w, c)
	writeResources(line, c)
	in.writeAvailability(line, w, replicas)
	grace := int64(30)
	if g := w.template.Spec.TerminationGracePeriodSeconds; g != nil && *g > 0 {
		grace = *g
	}
	if w.stateful || grace > 110 {
		line("pools: [on-demand]")
		line("spot: avoid # CHECK: %s", map[bool]string{true: "its volumes hold it in one zone", false: "its grace is longer than a spot notice"}[w.stateful])
	} else {
		line("pools: [spot]")
	}
	writeDrain(line, c, grace)
	if w.recreate {
		line("strategy: recreate")
	}
	if len(w.claims) > 0 {
		writeStateful(line, w, c)
	}
}

func writeEnv(line func(string, ...any), c corev1.Container) {
	var values, others []string
	for _, e := range c.Env {
		if strings.HasPrefix(e.Name, "EVENKEEL_") || slices.Contains([]string{"POD_NAME", "POD_NAMESPACE", "POD_IP"}, e.Name) {
			continue // every rendered pod gets these
		}
		if e.ValueFrom != nil || e.Value == "" {
			others = append(others, e.Name)
		} else {
			values = append(values, fmt.Sprintf("%s: %s", e.Name, strconv.Quote(e.Value)))
		}
	}
	if len(values) > 0 {
		line("env: {%s}", strings.Join(values, ", "))
	}
	if len(others) > 0 {
		line("# CHECK: not literal, so left out: %s", strings.Join(others, ", "))
	}
}

// writeReplicas returns the fewest replicas that there can be.
func (in *Input) writeReplicas(line func(string, ...any), w workload) int {
	for _, a := range in.Autoscalers {
		if a.Spec.ScaleTargetRef.Name != w.meta.Name {
			continue
		}
		lowest := 1
		if a.Spec.MinReplicas != nil {
			lowest = int(*a.Spec.MinReplicas)
		}
		utilization, note := int32(70), " # CHECK: the autoscaler does not scale on processor use alone"
		for _, m := range a.Spec.Metrics {
			if m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Target.AverageUtilization != nil {
				utilization = *m.Resource.Target.AverageUtilization
				if len(a.Spec.Metrics) == 1 {
					note = ""
				}
			}
		}
		line("scaling: {min: %d, max: %d, triggers: [{cpu: {utilization: %d}}]}%s", max(lowest, 1), a.Spec.MaxReplicas, utilization, note)
		return max(lowest, 1)
	}
	n := int32(1)
	if w.replicas != nil {
		n = max(*w.replicas, 1)
	}
	line("replicas: %d", n)
	return int(n)
}

func (in *Input) writePorts(line func(string, ...any), w workload, c corev1.Container) {
	var ports []string
	seen := make(map[int32]bool)
	outside := false
	for _, s := range in.Services {
		if len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.template.Labels)) {
			continue
		}
		outside = outside || s.Spec.Type == corev1.ServiceTypeLoadBalancer
		for _, p := range s.Spec.Ports {
			if seen[p.Port] || p.Protocol == corev1.ProtocolUDP {
				continue
			}
			seen[p.Port] = true
			name := p.Name
			if name == "" || slices.ContainsFunc(ports, func(s string) bool { return strings.HasPrefix(s, "{name: "+name+",") }) {
				name = fmt.Sprintf("port-%d", p.Port)
			}
			ports = append(ports, fmt.Sprintf("{name: %s, port: %d, target: %d}", name, p.Port, targetPort(p, c)))
		}
	}
	if len(ports) == 0 {
		return
	}
	line("ports: [%s]", strings.Join(ports, ", "))
	writeHealth(line, c, ports)
	if outside {
		line("loadBalancer: {deregistration: 15s}")
	}
}

func targetPort(p corev1.ServicePort, c corev1.Container) int32 {
	switch {
	case p.TargetPort.Type == intstr.String:
		return namedPort(c, p.TargetPort.StrVal, p.Port)
	case p.TargetPort.IntVal != 0:
		return p.TargetPort.IntVal
	}
	return p.Port
}

func namedPort(c corev1.Container, name string, otherwise int32) int32 {
	for _, cp := range c.Ports {
		if cp.Name == name {
			return cp.ContainerPort
		}
	}
	return otherwise
}

func writeHealth(line func(string, ...any), c corev1.Container, ports []string) {
	var fields []string
	if p := c.ReadinessProbe; p != nil && p.HTTPGet != nil {
		port := p.HTTPGet.Port.IntVal
		if p.HTTPGet.Port.Type == intstr.String {
			port = namedPort(c, p.HTTPGet.Port.StrVal, 8080)
		}
		fields = append(fields, fmt.Sprintf("port: %d", port), "ready: "+path(p.HTTPGet.Path))
		if l := c.LivenessProbe; l != nil && l.HTTPGet != nil {
			fields = append(fields, "live: "+path(l.HTTPGet.Path))
		} else {
			fields = append(fields, "live: "+path(p.HTTPGet.Path))
		}
		line("health: {%s}", strings.Join(fields, ", "))
		return
	}
	port := regexp.MustCompile(`target: (\d+)`).FindStringSubmatch(ports[0])[1]
	line("health: {port: %s, ready: /readyz, live: /livez} # CHECK: there is no readiness probe over HTTP", port)
}

func path(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return strconv.Quote(p)
}

func writeResources(line func(string, ...any), c corev1.Container) {
	cpu, memory, note := "100m", "128Mi", ""
	if q, ok := c.Resources.Requests[corev1.ResourceCPU]; ok && !q.IsZero() {
		cpu = q.String()
	} else {
		note = " # CHECK: it requests nothing, so the scheduler places it blindly"
	}
	if q, ok := c.Resources.Requests[corev1.ResourceMemory]; ok && q.Value() >= 1<<20 {
		memory = q.String()
	} else {
		note = " # CHECK: it requests nothing, so the scheduler places it blindly"
	}
	limit := ""
	if q, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && q.Value() >= 1<<20 && q.String() != memory {
		limit = ", memoryLimit: " + q.String()
	}
	line("resources: {cpu: %s, memory: %s%s}%s", cpu, memory, limit, note)
}

func (in *Input) writeAvailability(line func(string, ...any), w workload, replicas int) {
	for _, b := range in.Budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(w.template.Labels)) {
			continue
		}
		if v := b.Spec.MinAvailable; v != nil {
			line("availability: {minAvailable: %s}", v.String())
			return
		}
		if v := b.Spec.MaxUnavailable; v != nil {
			line("availability: {maxUnavailable: %s}", v.String())
			return
		}
	}
	limit := "1"
	if replicas > 3 {
		limit = "25%"
	}
	line("availability: {maxUnavailable: %s} # CHECK: there is no budget", limit)
}

func writeDrain(line func(string, ...any), c corev1.Container, grace int64) {
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		p := c.Lifecycle.PreStop
		switch {
		case p.Sleep != nil:
			line("drain: {preStop: sleep, delay: %ds, grace: %ds}", p.Sleep.Seconds, grace)
			return
		case p.Exec != nil:
			if m := regexp.MustCompile(`^(?:\S*sh -c )?(?:/bin/)?sleep (\d+)$`).FindStringSubmatch(strings.Join(p.Exec.Command, " ")); m != nil {
				line("drain: {preStop: sleep, delay: %ss, grace: %ds}", m[1], grace)
				return
			}
			line("# CHECK: its preStop runs a command, which is not described")
		case p.HTTPGet != nil && c.ReadinessProbe != nil && c.ReadinessProbe.HTTPGet != nil:
			line("drain: {preStop: http, path: %s, grace: %ds}", path(p.HTTPGet.Path), grace)
			return
		}
	}
	line("drain: {preStop: sleep, delay: %ds, grace: %ds} # CHECK: it has no wait before SIGTERM", min(5, grace/3), grace)
}

func writeStateful(line func(string, ...any), w workload, c corev1.Container) {
	claim := w.claims[0]
	mount := "/data"
	for _, m := range c.VolumeMounts {
		if m.Name == claim.Name {
			mount = m.MountPath
		}
	}
	size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	note := ""
	if len(w.claims) > 1 {
		note = fmt.Sprintf(" # CHECK: it has %d volumes, of which one is described", len(w.claims))
	}
	line("stateful: {size: %s, path: %s}%s", size.String(), strconv.Quote(mount), note)
}

var bare = regexp.MustCompile(`^[a-z/][a-zA-Z0-9./:_@-]*[a-zA-Z0-9]$`)

// word writes a text so that YAML reads it as one.
func word(s string) string {
	if bare.MatchString(s) && !slices.Contains([]string{"yes", "no", "on", "off", "true", "false", "null"}, s) && !strings.Contains(s, ": ") {
		return s
	}
	return strconv.Quote(s)
}

func words(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

func newReader(data []byte) *bufio.Reader { return bufio.NewReader(io.Reader(bytes.NewReader(data))) }
