// Package proto has what is generated from the protocol besides Go code.
package proto

import _ "embed"

// OpenAPI describes the JSON routes of the gateway, as OpenAPI 3.1.
//
//go:embed openapi.json
var OpenAPI []byte
