package render

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// sharedNetworkPolicies refuses everything and lets name resolution through;
// what a service declares is added by its own policy.
func sharedNetworkPolicies(p *spec.Platform) []any {
	policy := func(name string, s networkingv1.NetworkPolicySpec) any {
		return &networkingv1.NetworkPolicy{
			TypeMeta:   typeMeta("networking.k8s.io/v1", "NetworkPolicy"),
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.Cluster.Namespace, Labels: ownLabels(p, name)},
			Spec:       s,
		}
	}
	return []any{
		policy("default-deny", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		}),
		policy("allow-dns", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{
				To:    []networkingv1.NetworkPolicyPeer{inNamespace("kube-system")},
				Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, 53), port(corev1.ProtocolTCP, 53)},
			}},
		}),
	}
}

// networkPolicy lets through what the service declares: callers to its ports,
// itself to the ports of those it connects to, and scrapes of its metrics.
func networkPolicy(p *spec.Platform, s spec.Service) *networkingv1.NetworkPolicy {
	o := &networkingv1.NetworkPolicy{
		TypeMeta:   typeMeta("networking.k8s.io/v1", "NetworkPolicy"),
		ObjectMeta: meta(p, s),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: *selectorOf(p, s),
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	ports := targetPorts(s)
	var callers []networkingv1.NetworkPolicyPeer
	for _, other := range p.Services {
		if slices.Contains(other.Connects, s.Name) {
			callers = append(callers, networkingv1.NetworkPolicyPeer{PodSelector: selectorOf(p, other)})
		}
	}
	switch {
	case s.LoadBalancer != nil: // from anywhere, its callers inside included
		o.Spec.Ingress = append(o.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{Ports: ports})
	case len(callers) > 0:
		o.Spec.Ingress = append(o.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: callers, Ports: ports})
	}
	if scraped := scrapePorts(s); len(scraped) > 0 {
		o.Spec.Ingress = append(o.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{
			From:  []networkingv1.NetworkPolicyPeer{inNamespace(p.Observability.Namespace)},
			Ports: scraped,
		})
	}
	for _, name := range s.Connects {
		other, _ := p.Service(name)
		o.Spec.Egress = append(o.Spec.Egress, networkingv1.NetworkPolicyEgressRule{
			To:    []networkingv1.NetworkPolicyPeer{{PodSelector: selectorOf(p, other)}},
			Ports: targetPorts(other),
		})
	}
	if len(s.Outbound) > 0 {
		rule := networkingv1.NetworkPolicyEgressRule{}
		for _, n := range s.Outbound {
			rule.Ports = append(rule.Ports, port(corev1.ProtocolTCP, n))
		}
		o.Spec.Egress = append(o.Spec.Egress, rule)
	}
	return o
}

func targetPorts(s spec.Service) []networkingv1.NetworkPolicyPort {
	out := make([]networkingv1.NetworkPolicyPort, len(s.Ports))
	for i, p := range s.Ports {
		out[i] = port(corev1.ProtocolTCP, p.Target)
	}
	return out
}

// scrapePorts returns where metrics may be served: with the health checks, or on
// a port that says so by its name.
func scrapePorts(s spec.Service) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for _, p := range s.Ports {
		if p.Name == "metrics" {
			out = append(out, port(corev1.ProtocolTCP, p.Target))
		}
	}
	if s.Health != nil {
		out = append(out, port(corev1.ProtocolTCP, s.Health.Port))
	}
	return out
}

func port(protocol corev1.Protocol, n int) networkingv1.NetworkPolicyPort {
	v := intstr.FromInt32(int32(n))
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &v}
}

func inNamespace(name string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{"kubernetes.io/metadata.name": name},
	}}
}
