// Package deploy holds the manifests that install Evenkeel in a cluster, as the chart
// in charts/evenkeel renders them. The rehearsal deploys these very files, so that the
// rights they grant and the policies that hold them are tried.
package deploy

import (
	"bytes"
	_ "embed"
)

// Controller is controller.yaml: namespace, service account, rights, and the
// Deployment of evenkeel-controller with what belongs to it.
//
//go:embed controller.yaml
var Controller []byte

// Policies is policies.yaml: what the service accounts of the controller and of the
// agent may change of pods and nodes.
//
//go:embed policies.yaml
var Policies []byte

// Capacity is capacity.yaml: the rights of a controller that acts on capacity, and the
// policy that holds them.
//
//go:embed capacity.yaml
var Capacity []byte

// Agent is agent.yaml: namespace, service account, rights, and the DaemonSet of
// evenkeel-agent.
//
//go:embed agent.yaml
var Agent []byte

// Operators is operators.yaml: the rights of people who run evenkeel drain and cancel.
//
//go:embed operators.yaml
var Operators []byte

// PoliciesFor returns Policies as they are for a controller that runs under another
// service account, such as that of a rendered platform.
func PoliciesFor(namespace, account string) []byte {
	return bytes.ReplaceAll(Policies,
		[]byte(`"system:serviceaccount:evenkeel-system:evenkeel-controller"`),
		[]byte(`"system:serviceaccount:`+namespace+":"+account+`"`))
}
