// Package handofftest holds the tests that drive the controller against a real
// API server with the ordinary controllers and a real scheduler: what only they
// can show. Nodes and pods are played by a small stand-in for kubelets, so that a
// test decides when a pod becomes Ready.
package handofftest
