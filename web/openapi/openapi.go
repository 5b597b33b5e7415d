// Package openapi holds the contract of the product API, from which its server and client are generated.
package openapi

import _ "embed"

// Document is openapi.yaml as it is served.
//
//go:embed openapi.yaml
var Document []byte
