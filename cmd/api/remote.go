package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/client"
	"github.com/berthregistry/berth/internal/config"
)

// remoteFlags are the settings of the commands that talk to a running server through its product API.
type remoteFlags struct {
	Server string        `env:"BERTH_SERVER" default:"http://127.0.0.1:5000" placeholder:"URL" help:"URL of the server."`
	Token  config.Secret `env:"BERTH_TOKEN" placeholder:"SECRET" help:"Personal token, or secret of a session."`
	Output string        `enum:"text,json" default:"text" help:"Form of the output: text or json."`
}

func (f remoteFlags) client(p *process, options ...client.ClientOption) (*client.ClientWithResponses, error) {
	if err := p.loader.Check(); err != nil {
		return nil, err
	}
	if f.Token == "" {
		return nil, usageError{errors.New("BERTH_TOKEN: a token is needed; see berth token create")}
	}
	c, err := client.New(f.Server, f.Token.Reveal(), options...)
	if err != nil {
		return nil, usageError{fmt.Errorf("BERTH_SERVER: %w", err)}
	}
	return c, nil
}

// print writes what a command found: value as the API has it, or the table, whose cells are separated by tabs.
func (f remoteFlags) print(to io.Writer, value any, table func(io.Writer)) error {
	if f.Output == "json" {
		out := json.NewEncoder(to)
		out.SetIndent("", "  ")
		return out.Encode(value)
	}
	columns := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	table(columns)
	return columns.Flush()
}

// got is the value of an answer, which is missing in what is no answer of the product API, such as the page of another
// server at this URL.
func got[T any](value *T, answer *http.Response) (*T, error) {
	if value == nil {
		return nil, fmt.Errorf("BERTH_SERVER: this is not the product API of Berth: it answers %s, %s",
			answer.Status, answer.Header.Get("Content-Type"))
	}
	return value, nil
}

// newKey makes a creation safe to repeat: the transport may send a request again whose connection broke.
func newKey() *string {
	key := uuid.NewString()
	return &key
}

func orDash[T ~string](value *T) string {
	if value == nil || *value == "" {
		return "-"
	}
	return string(*value)
}
