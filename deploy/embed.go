// Package deploy holds the manifests that install Evenkeel in a cluster. The
// rehearsal deploys these very files, so that the rights they grant are tried.
package deploy

import _ "embed"

// Controller is controller.yaml: namespace, service account, ClusterRole, its
// binding, and the Deployment of evenkeel-controller.
//
//go:embed controller.yaml
var Controller []byte
