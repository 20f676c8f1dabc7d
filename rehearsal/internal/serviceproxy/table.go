package serviceproxy

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// portKey names one port of one Service.
type portKey struct {
	namespace, service, port string // port is its name, "" when the only port has none
}

// target is what a connection to one Service port can reach. Both addresses are
// as the API shows them; podnet says where they are on loopback.
type target struct {
	cluster   netip.AddrPort   // the Service's own address
	endpoints []netip.AddrPort // sorted; empty = connections are refused
}

type table map[portKey]target

// buildTable joins Services with the slices that belong to them. It knows TCP
// over IPv4 and traffic policy "Cluster"; session affinity, topology hints and
// node ports have no meaning on one machine's loopback.
func buildTable(n *podnet.Net, services map[string]*corev1.Service, endpointSlices map[string]*discoveryv1.EndpointSlice) table {
	byService := make(map[[2]string][]*discoveryv1.EndpointSlice)
	for _, s := range endpointSlices {
		if s.AddressType == discoveryv1.AddressTypeIPv4 {
			owner := [2]string{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
			byService[owner] = append(byService[owner], s)
		}
	}
	t := make(table)
	for _, svc := range services {
		ip, err := netip.ParseAddr(svc.Spec.ClusterIP)
		if err != nil || !n.Services.Contains(ip) {
			continue // headless, ExternalName, or not (yet) given an address of this cluster
		}
		for _, port := range svc.Spec.Ports {
			if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
				continue
			}
			t[portKey{svc.Namespace, svc.Name, port.Name}] = target{
				cluster:   netip.AddrPortFrom(ip, uint16(port.Port)),
				endpoints: usableEndpoints(n.Pods, byService[[2]string{svc.Namespace, svc.Name}], port.Name),
			}
		}
	}
	return t
}

// usableEndpoints applies kube-proxy's rule: connections go to the ready
// endpoints, and only if there is not one of them, to those that still serve
// while they terminate. Addresses outside pods are not pods of this cluster
// (the API server's own slice has one) and cannot be reached.
func usableEndpoints(pods netip.Prefix, of []*discoveryv1.EndpointSlice, portName string) []netip.AddrPort {
	// Sets, because an endpoint that moves between slices is for a moment in both.
	ready := make(map[netip.AddrPort]bool)
	leaving := make(map[netip.AddrPort]bool)
	for _, s := range of {
		port, ok := slicePort(s, portName)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			// The API defines all addresses of an endpoint as fungible;
			// kube-proxy takes the first.
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil || !pods.Contains(ip) {
				continue
			}
			ep := netip.AddrPortFrom(ip, port)
			isReady := orDefault(e.Conditions.Ready, true)
			switch {
			case isReady:
				ready[ep] = true
			case orDefault(e.Conditions.Serving, isReady) && orDefault(e.Conditions.Terminating, false):
				leaving[ep] = true
			}
		}
	}
	if len(ready) == 0 {
		ready = leaving
	}
	return slices.SortedFunc(maps.Keys(ready), netip.AddrPort.Compare)
}

// slicePort returns the number that a slice gives to a named port.
func slicePort(s *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, p := range s.Ports {
		if orDefault(p.Name, "") == name && orDefault(p.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// orDefault reads an optional API field.
func orDefault[T any](field *T, unset T) T {
	if field == nil {
		return unset
	}
	return *field
}
