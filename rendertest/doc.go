// Package rendertest checks the rendered reference platform against the real
// definitions of the systems that read it: the CRDs of Karpenter and KEDA with
// their validation rules, the API server's own types and pod security levels,
// Prometheus, and Terraform. It is a module of its own because those systems
// are large and the product needs none of them.
//
// It reads examples/market-intel-brain/rendered, which a test of internal/render
// proves to be fresh.
package rendertest
