package render

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// kubernetesManifests returns one file per service and what they share. The
// numbers in the names are the order in which `kubectl apply -f DIR` reads them.
func kubernetesManifests(p *spec.Platform, c cloud) []manifest {
	out := []manifest{
		{"kubernetes/00-namespace.yaml", []any{namespace(p, c)}},
		{"kubernetes/10-priorities.yaml", priorityClasses(p)},
	}
	if p.Policies.DenyByDefault {
		out = append(out, manifest{"kubernetes/20-network.yaml", sharedNetworkPolicies(p)})
	}
	for _, s := range p.Services {
		out = append(out, manifest{fmt.Sprintf("kubernetes/30-%s.yaml", s.Name), serviceObjects(p, s, c)})
	}
	if h := headroom(p); len(h) > 0 {
		out = append(out, manifest{"kubernetes/40-headroom.yaml", h})
	}
	return out
}

func serviceObjects(p *spec.Platform, s spec.Service, c cloud) []any {
	var out []any
	out = append(out, &corev1.ServiceAccount{
		TypeMeta:                     typeMeta("v1", "ServiceAccount"),
		ObjectMeta:                   meta(p, s),
		AutomountServiceAccountToken: new(bool), // a pod that needs the token says so itself
	})
	if s.ClusterRole != "" {
		out = append(out, roleBinding(p, s))
	}
	if s.Stateful != nil {
		out = append(out, headlessService(p, s), statefulSet(p, s))
	} else {
		out = append(out, deployment(p, s))
	}
	if len(s.Ports) > 0 && s.Stateful == nil {
		out = append(out, service(p, s, c))
	}
	out = append(out, budget(p, s))
	if p.Policies.DenyByDefault {
		out = append(out, networkPolicy(p, s))
	}
	return out
}

// roleBinding binds a service to a ClusterRole. Its name carries the cluster's
// namespace: bindings have none.
func roleBinding(p *spec.Platform, s spec.Service) *rbacv1.ClusterRoleBinding {
	name := p.Cluster.Namespace + "-" + s.Name
	return &rbacv1.ClusterRoleBinding{
		TypeMeta:   typeMeta("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(p, s)},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.ClusterRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: s.Name, Namespace: p.Cluster.Namespace}},
	}
}

func namespace(p *spec.Platform, c cloud) *corev1.Namespace {
	l := ownLabels(p, p.Cluster.Namespace)
	for _, s := range p.Services {
		if s.LoadBalancer != nil && s.LoadBalancer.ReadinessGate {
			l[c.readinessGate] = "enabled"
		}
	}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		l["pod-security.kubernetes.io/"+mode] = p.Policies.PodSecurity
		l["pod-security.kubernetes.io/"+mode+"-version"] = "v" + p.Cluster.Kubernetes
	}
	return &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: metav1.ObjectMeta{Name: p.Cluster.Namespace, Labels: l}}
}

// priorityClasses returns the classes that services use, and that of headroom.
// Their names carry the cluster's: priority classes have no namespace.
func priorityClasses(p *spec.Platform) []any {
	var out []any
	for _, c := range []struct {
		priority spec.Priority
		value    int32
		text     string
	}{
		{spec.Critical, 1_000_000, "Last to give way when machines are short."},
		{spec.High, 100_000, "Gives way to critical services only."},
		{spec.Normal, 10_000, "Gives way to critical and high services."},
		{spec.Low, 1_000, "First of the services to give way."},
	} {
		for _, s := range p.Services {
			if s.Priority == c.priority {
				out = append(out, &schedulingv1.PriorityClass{
					TypeMeta:    typeMeta("scheduling.k8s.io/v1", "PriorityClass"),
					ObjectMeta:  metav1.ObjectMeta{Name: priorityName(p, c.priority), Labels: ownLabels(p, priorityName(p, c.priority))},
					Value:       c.value,
					Description: c.text,
				})
				break
			}
		}
	}
	if p.Policies.Headroom {
		never := corev1.PreemptNever
		out = append(out, &schedulingv1.PriorityClass{
			TypeMeta:         typeMeta("scheduling.k8s.io/v1", "PriorityClass"),
			ObjectMeta:       metav1.ObjectMeta{Name: priorityName(p, "headroom"), Labels: ownLabels(p, priorityName(p, "headroom"))},
			Value:            -10, // above -10 the cluster autoscaler does not start machines for a pod
			PreemptionPolicy: &never,
			Description:      "Keeps room free; gives way to everything.",
		})
	}
	return out
}

func priorityName(p *spec.Platform, priority spec.Priority) string {
	return p.Cluster.Name + "-" + string(priority)
}

func servicePorts(s spec.Service) []corev1.ServicePort {
	out := make([]corev1.ServicePort, len(s.Ports))
	for i, port := range s.Ports {
		out[i] = corev1.ServicePort{Name: port.Name, Port: int32(port.Port), TargetPort: intstr.FromString(port.Name), Protocol: corev1.ProtocolTCP}
	}
	return out
}

func service(p *spec.Platform, s spec.Service, c cloud) *corev1.Service {
	o := &corev1.Service{
		TypeMeta:   typeMeta("v1", "Service"),
		ObjectMeta: meta(p, s),
		Spec:       corev1.ServiceSpec{Selector: selector(p, s.Name), Ports: servicePorts(s)},
	}
	if leavesFirst(s) {
		o.Spec.Selector[servingLabel] = "true"
	}
	if s.LoadBalancer != nil {
		o.Annotations = c.loadBalancer(*s.LoadBalancer)
		o.Spec.Type = corev1.ServiceTypeLoadBalancer
		off := false // targets are pods, so node ports would only be an open door
		o.Spec.AllocateLoadBalancerNodePorts = &off
	}
	return o
}

// leavesFirst reports whether a service's pods can leave their load balancer some
// time before they are stopped: the controller takes the label away that its Service
// selects on, once another pod serves. Neither the workload nor its budget selects
// on it. A pod that is not handed off would only be missed for longer.
func leavesFirst(s spec.Service) bool {
	return s.LoadBalancer != nil && s.Stateful == nil && s.Handoff && !s.Recreate
}

// headlessService gives the replicas of a stateful service names of their own.
// It has no ports only if the service has none.
func headlessService(p *spec.Platform, s spec.Service) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   typeMeta("v1", "Service"),
		ObjectMeta: meta(p, s),
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone,
			Selector:  selector(p, s.Name),
			Ports:     servicePorts(s),
		},
	}
}
