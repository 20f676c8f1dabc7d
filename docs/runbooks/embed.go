// Package runbooks holds the pages that alerts link to, one for each alert.
package runbooks

import "embed"

// Pages has NAME.md for the alert NAME.
//
//go:embed *.md
var Pages embed.FS
