package serviceproxy

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// conditions abbreviates an endpoint's: r(eady), s(erving), t(erminating);
// a capital letter is true, a small one false, an absent one unset.
func endpoint(ip, conditions string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{ip}}
	for _, c := range conditions {
		v := c < 'a'
		switch c {
		case 'R', 'r':
			e.Conditions.Ready = &v
		case 'S', 's':
			e.Conditions.Serving = &v
		case 'T', 't':
			e.Conditions.Terminating = &v
		}
	}
	return e
}

func slice(name, service, portName string, port int32, eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name,
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
		Endpoints:   eps,
	}
}

func TestUsableEndpoints(t *testing.T) {
	const a, b, c = "10.32.0.1", "10.32.0.2", "10.32.0.3"
	one := func(eps ...discoveryv1.Endpoint) []*discoveryv1.EndpointSlice {
		return []*discoveryv1.EndpointSlice{slice("s", "engine", "http", 8080, eps...)}
	}
	noPort := slice("s", "engine", "http", 0, endpoint(a, "RSt"))
	noPort.Ports[0].Port = nil
	udp := slice("s", "engine", "http", 53, endpoint(a, "RSt"))
	udp.Ports[0].Protocol = ptr(corev1.ProtocolUDP)

	tests := []struct {
		name   string
		slices []*discoveryv1.EndpointSlice
		want   []string
	}{
		{"none", nil, nil},
		{"ready", one(endpoint(b, "RSt"), endpoint(a, "RSt")), []string{a, b}},
		{"not ready", one(endpoint(a, "RSt"), endpoint(b, "rst")), []string{a}},
		{"unset conditions are ready", one(endpoint(a, "")), []string{a}},
		{"terminating is out while one is ready", one(endpoint(a, "RSt"), endpoint(b, "rST")), []string{a}},
		{"terminating serves when none is ready", one(endpoint(a, "rST"), endpoint(b, "rST")), []string{a, b}},
		{"terminating and not serving is out", one(endpoint(a, "rsT"), endpoint(b, "rST")), []string{b}},
		{"serving but neither ready nor terminating is out", one(endpoint(a, "rSt")), nil},
		{"unset serving follows ready", one(endpoint(a, "rT")), nil},
		{"ready wins over terminating in another slice", []*discoveryv1.EndpointSlice{
			slice("x", "engine", "http", 8080, endpoint(a, "rST")),
			slice("y", "engine", "http", 8080, endpoint(b, "RSt")),
		}, []string{b}},
		{"listed twice counts once", []*discoveryv1.EndpointSlice{
			slice("x", "engine", "http", 8080, endpoint(a, "RSt")),
			slice("y", "engine", "http", 8080, endpoint(a, "RSt"), endpoint(c, "RSt")),
		}, []string{a, c}},
		{"other port name", []*discoveryv1.EndpointSlice{slice("s", "engine", "metrics", 9090, endpoint(a, "RSt"))}, nil},
		{"port without number", []*discoveryv1.EndpointSlice{noPort}, nil},
		{"other protocol", []*discoveryv1.EndpointSlice{udp}, nil},
		{"not a pod of this cluster", one(endpoint("192.0.2.1", "RSt"), endpoint("junk", "RSt"), discoveryv1.Endpoint{}), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, ep := range usableEndpoints(netip.MustParsePrefix("10.32.0.0/16"), tt.slices, "http") {
				if ep.Port() != 8080 {
					t.Errorf("endpoint %v does not have the slice's port", ep)
				}
				got = append(got, ep.Addr().String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestBuildTable(t *testing.T) {
	n := &podnet.Net{Pods: netip.MustParsePrefix("10.32.0.0/16"), Services: netip.MustParsePrefix("10.33.0.0/16")}
	svc := func(name, clusterIP string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, Ports: ports},
		}
	}
	services := map[string]*corev1.Service{
		"default/engine": svc("engine", "10.33.0.5",
			corev1.ServicePort{Name: "http", Port: 80},
			corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}),
		"default/headless": svc("headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 80}),
		"default/external": svc("external", "", corev1.ServicePort{Port: 80}),
		"default/foreign":  svc("foreign", "192.0.2.7", corev1.ServicePort{Port: 80}),
		"default/idle":     svc("idle", "10.33.0.6", corev1.ServicePort{Port: 80}),
	}
	v6 := slice("engine-v6", "engine", "http", 8080, endpoint("fd00::1", "RSt"))
	v6.AddressType = discoveryv1.AddressTypeIPv6
	other := slice("engine-other", "engine", "http", 8080, endpoint("10.32.0.9", "RSt"))
	other.Namespace = "other"
	got := buildTable(n, services, map[string]*discoveryv1.EndpointSlice{
		"default/engine-1":   slice("engine-1", "engine", "http", 8080, endpoint("10.32.0.1", "RSt")),
		"default/engine-v6":  v6,
		"other/engine-other": other,
	})

	if len(got) != 2 {
		t.Errorf("got %d ports, want those of engine and idle: %v", len(got), got)
	}
	engine := got[portKey{"default", "engine", "http"}]
	if engine.cluster != netip.MustParseAddrPort("10.33.0.5:80") ||
		!slices.Equal(engine.endpoints, []netip.AddrPort{netip.MustParseAddrPort("10.32.0.1:8080")}) {
		t.Errorf("engine: got %v", engine)
	}
	if idle, ok := got[portKey{"default", "idle", ""}]; !ok || len(idle.endpoints) != 0 {
		t.Errorf("idle: got %v, %t; want it known and without endpoints", idle, ok)
	}
}

func ptr[T any](v T) *T { return &v }
