package render

import (
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// aws returns what is particular to EKS.
func aws() cloud {
	return cloud{
		loadBalancer:  awsLoadBalancer,
		readinessGate: "elbv2.k8s.aws/pod-readiness-gate-inject",
		families: []family{
			{name: "karpenter", objects: karpenterManifests},
			{name: "terraform", files: terraformFiles},
		},
	}
}

// awsLoadBalancer asks the AWS Load Balancer Controller for a network load
// balancer that sends straight to pods: with nodes as targets, a machine that
// goes takes requests for pods on other machines with it.
func awsLoadBalancer(lb spec.LoadBalancer) map[string]string {
	const prefix = "service.beta.kubernetes.io/aws-load-balancer-"
	scheme := "internet-facing"
	if lb.Internal {
		scheme = "internal"
	}
	return map[string]string{
		prefix + "type":            "external",
		prefix + "nlb-target-type": "ip",
		prefix + "scheme":          scheme,
		prefix + "target-group-attributes": fmt.Sprintf(
			"deregistration_delay.timeout_seconds=%d,deregistration_delay.connection_termination.enabled=true", seconds(lb.Deregistration)),
	}
}
