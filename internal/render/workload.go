package render

import (
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// The pod learns its deadline from a file that the kubelet keeps equal to the
// annotation; no process can ask for it otherwise without rights on the API.
const (
	deadlineDir  = "/etc/evenkeel"
	deadlineFile = "deadline"
)

const nonRoot = 65532 // the user of distroless images

func deployment(p *spec.Platform, s spec.Service) *appsv1.Deployment {
	// A rollout starts the new pod before it ends the old one, as a handoff does.
	none, surge := intstr.FromInt32(0), intstr.FromString("25%")
	d := &appsv1.Deployment{
		TypeMeta:   typeMeta("apps/v1", "Deployment"),
		ObjectMeta: meta(p, s),
		Spec: appsv1.DeploymentSpec{
			Selector:             selectorOf(p, s),
			RevisionHistoryLimit: ptr[int32](5),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &surge},
			},
			Template: podTemplate(p, s),
		},
	}
	if s.Recreate {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	if s.Scaling == nil {
		// With scaling, the number belongs to KEDA: stated here, every apply would
		// throw away what it scaled to.
		d.Spec.Replicas = ptr(int32(s.Replicas))
	}
	return d
}

func statefulSet(p *spec.Platform, s spec.Service) *appsv1.StatefulSet {
	st := s.Stateful
	template := podTemplate(p, s)
	template.Spec.SecurityContext.FSGroup = ptr[int64](nonRoot)
	c := &template.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: st.Path})
	claim := corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Labels: selector(p, s.Name)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: st.Size}},
		},
	}
	if st.StorageClass != "" {
		claim.Spec.StorageClassName = &st.StorageClass
	}
	o := &appsv1.StatefulSet{
		TypeMeta:   typeMeta("apps/v1", "StatefulSet"),
		ObjectMeta: meta(p, s),
		Spec: appsv1.StatefulSetSpec{
			ServiceName:          s.Name,
			Selector:             selectorOf(p, s),
			PodManagementPolicy:  appsv1.ParallelPodManagement, // one pending replica must not hold up the others
			UpdateStrategy:       appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
			Template:             template,
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
				WhenScaled:  appsv1.PersistentVolumeClaimRetentionPolicyType(st.Reclaim),
			},
		},
	}
	if s.Scaling == nil {
		o.Spec.Replicas = ptr(int32(s.Replicas))
	}
	return o
}

func podTemplate(p *spec.Platform, s spec.Service) corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels(p, s)},
		Spec: corev1.PodSpec{
			ServiceAccountName:            s.Name,
			AutomountServiceAccountToken:  ptr(s.ClusterRole != ""),
			PriorityClassName:             priorityName(p, s.Priority),
			TerminationGracePeriodSeconds: ptr(seconds(s.Drain.Grace)),
			Affinity:                      affinity(s),
			Tolerations:                   tolerations(p, s),
			TopologySpreadConstraints:     spreadConstraints(p, s),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   ptr(true),
				RunAsUser:      ptr[int64](nonRoot),
				RunAsGroup:     ptr[int64](nonRoot),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{container(p, s)},
			Volumes:    []corev1.Volume{deadlineVolume()},
		},
	}
	if sc := s.Scratch; sc != nil {
		t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &sc.Size},
		}})
		c := &t.Spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "scratch", MountPath: sc.Path})
	}
	if leavesFirst(s) {
		t.Labels[servingLabel] = "true"
	}
	t.Annotations = map[string]string{onDeadlineAnnotation: onDeadline(p)}
	if !s.Handoff && s.Stateful == nil && !s.Recreate { // elsewhere the workload itself says so
		t.Annotations[handoffAnnotation] = "false"
	}
	return t
}

// args adds the platform's policies to the command line of the controller that
// carries them out. What the file says itself wins, because it comes last.
func args(p *spec.Platform, s spec.Service) []string {
	if s.ClusterRole != controllerRole {
		return s.Args
	}
	out := []string{
		fmt.Sprintf("--margin=%ds", seconds(p.Policies.Margin)),
		"--on-deadline=" + onDeadline(p),
		fmt.Sprintf("--spot-notice=%ds", seconds(p.Cluster.Provider.Notice())),
	}
	if d := deregistration(p); d > 0 {
		out = append(out, fmt.Sprintf("--deregistration=%ds", seconds(d)))
	}
	return append(out, s.Args...)
}

// deregistration is how long a pod with a readiness gate lives on after it has left
// its endpoints: the longest that a load balancer of the platform takes.
func deregistration(p *spec.Platform) (longest time.Duration) {
	for _, s := range p.Services {
		if leavesFirst(s) && s.LoadBalancer.ReadinessGate {
			longest = max(longest, s.LoadBalancer.Deregistration)
		}
	}
	return longest
}

// controllerRole is the ClusterRole of deploy/controller.yaml. The service that
// is bound to it is the controller.
const controllerRole = "evenkeel-controller"

func onDeadline(p *spec.Platform) string {
	if p.Policies.DeleteAtDeadline {
		return "delete"
	}
	return "leave"
}

func container(p *spec.Platform, s spec.Service) corev1.Container {
	c := corev1.Container{
		Name:         s.Name,
		Image:        s.Image,
		Command:      s.Command,
		Args:         args(p, s),
		Env:          append(drainEnv(s), userEnv(s)...),
		Resources:    resources(s),
		Lifecycle:    preStop(s),
		VolumeMounts: []corev1.VolumeMount{{Name: "evenkeel", MountPath: deadlineDir, ReadOnly: true}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(bool),
			ReadOnlyRootFilesystem:   ptr(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	for _, secret := range s.EnvFrom {
		c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
	}
	healthHasName := s.Health == nil
	for _, port := range s.Ports {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: port.Name, ContainerPort: int32(port.Target), Protocol: corev1.ProtocolTCP})
		healthHasName = healthHasName || port.Target == s.Health.Port
	}
	if !healthHasName {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: "health", ContainerPort: int32(s.Health.Port), Protocol: corev1.ProtocolTCP})
	}
	if s.Health != nil {
		probes(&c, *s.Health)
	}
	return c
}

// probes asks often for readiness, because a replacement is only worth something
// once it is known to be Ready, and patiently for liveness, because a restart in
// the middle of a drain loses what the drain protects.
func probes(c *corev1.Container, h spec.Health) {
	get := func(path string) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(int32(h.Port))}}
	}
	c.StartupProbe = &corev1.Probe{ProbeHandler: get(h.Live), PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: int32(seconds(h.Startup))}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: get(h.Ready), PeriodSeconds: int32(seconds(h.Interval)), TimeoutSeconds: 1, FailureThreshold: 2}
	c.LivenessProbe = &corev1.Probe{ProbeHandler: get(h.Live), PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 3}
}

// drainEnv tells the process how long it has. Its own grace period is not in the
// downward API, so it is repeated here, less what the preStop hook uses up
// before SIGTERM.
func drainEnv(s spec.Service) []corev1.EnvVar {
	grace := s.Drain.Grace
	if s.Drain.PreStop == spec.PreStopSleep {
		grace -= s.Drain.Delay
	}
	return []corev1.EnvVar{
		envField("POD_NAME", "metadata.name"),
		envField("POD_NAMESPACE", "metadata.namespace"),
		envField("POD_IP", "status.podIP"),
		env("EVENKEEL_GRACE_SECONDS", strconv.FormatInt(seconds(grace), 10)),
		env("EVENKEEL_DEADLINE_FILE", deadlineDir+"/"+deadlineFile),
	}
}

func userEnv(s spec.Service) []corev1.EnvVar {
	var out []corev1.EnvVar
	for _, name := range sortedKeys(s.Env) {
		out = append(out, env(name, s.Env[name]))
	}
	return out
}

func resources(s spec.Service) corev1.ResourceRequirements {
	r := s.Resources
	out := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: r.CPU, corev1.ResourceMemory: r.Memory},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: r.MemoryLimit},
	}
	if !r.CPULimit.IsZero() {
		out.Limits[corev1.ResourceCPU] = r.CPULimit
	}
	return out
}

func preStop(s spec.Service) *corev1.Lifecycle {
	switch {
	case s.Drain.PreStop == spec.PreStopSleep && s.Drain.Delay > 0:
		return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds(s.Drain.Delay)}}}
	case s.Drain.PreStop == spec.PreStopHTTP:
		return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: s.Drain.Path, Port: intstr.FromInt32(int32(s.Health.Port))}}}
	}
	return nil
}

func deadlineVolume() corev1.Volume {
	return corev1.Volume{Name: "evenkeel", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
		Items: []corev1.DownwardAPIVolumeFile{{
			Path:     deadlineFile,
			FieldRef: &corev1.ObjectFieldSelector{FieldPath: fmt.Sprintf("metadata.annotations['%s']", deadlineAnnotation)},
		}},
	}}}
}

func ptr[T any](v T) *T { return &v }
