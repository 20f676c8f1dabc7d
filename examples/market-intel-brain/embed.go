// Package marketintelbrain holds the manifests of the reference platform, so that
// the rehearsal deploys the same files that a reader of the examples sees.
package marketintelbrain

import "embed"

// Manifests has the folder manifests: market-intel-brain.yaml with the namespace,
// to be applied first, and one file per service.
//
//go:embed manifests
var Manifests embed.FS
