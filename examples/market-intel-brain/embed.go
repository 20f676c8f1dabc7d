// Package marketintelbrain holds the platform file of the reference platform, so
// that the rehearsal runs the same platform that a reader of the examples sees.
package marketintelbrain

import _ "embed"

// Platform is platform.yaml.
//
//go:embed platform.yaml
var Platform []byte
