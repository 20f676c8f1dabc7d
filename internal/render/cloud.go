package render

import (
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// A cloud is everything that the output for one provider has and others do not.
type cloud struct {
	// loadBalancer returns the annotations that make a Service of type
	// LoadBalancer drain as the platform says.
	loadBalancer func(spec.LoadBalancer) map[string]string
	// readinessGate is the label of a namespace whose pods are ready only once their
	// load balancer takes them for healthy.
	readinessGate string
	families      []family
}

func cloudOf(p *spec.Platform) (cloud, error) {
	switch p.Cluster.Provider {
	case spec.AWS:
		return aws(), nil
	}
	return cloud{}, fmt.Errorf("there is no output for the provider %q", p.Cluster.Provider)
}
