// Package client is a client of Berth's product API, generated from its contract. [New] makes one that sends a secret and
// turns problem details into errors.
package client

//go:generate sh -c "$(go run ../internal/testenv/cmd/tool oapi-codegen) -config config.yaml ../web/openapi/openapi.yaml"
