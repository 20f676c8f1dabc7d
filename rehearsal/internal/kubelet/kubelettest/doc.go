// Package kubelettest tests the process kubelet against a real API server,
// scheduler and controllers. It is apart from package kubelet because its test
// links all of Kubernetes.
package kubelettest
