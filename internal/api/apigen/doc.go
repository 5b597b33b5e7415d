// Package apigen is the server side of the product API's contract: types, routes and the interface that the handlers
// implement, all generated.
package apigen

//go:generate sh -c "$(go run ../../testenv/cmd/tool oapi-codegen) -config config.yaml ../../../web/openapi/openapi.yaml"
