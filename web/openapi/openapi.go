// Package openapi holds the contract of the product API, from which its server and client are generated.
package openapi

import _ "embed"

// The page for people is made from it, too.
//go:generate go run ./reference

// Document is openapi.yaml as it is served.
//
//go:embed openapi.yaml
var Document []byte
