package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// healthTimeout is a little more than the server itself waits for its database and its storage.
	healthTimeout = 4 * time.Second
	// maxReport bounds what is read of the answer.
	maxReport = 4 << 10
)

// healthCommand is for images without a shell and without curl.
type healthCommand struct {
	Addr string `env:"BERTH_ADDR" default:"127.0.0.1:5000" help:"Listen address of the server, on this machine."`
	Cert string `name:"tls-cert" env:"BERTH_TLS_CERT" placeholder:"FILE" help:"The server speaks HTTPS if this is set."`
	Live bool   `help:"Ask only whether the process lives, not its database and storage."`
}

// Run asks the server of this machine whether it is well, prints its answer, and fails unless it is.
func (c *healthCommand) Run(p *process) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(p.ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return usageError{fmt.Errorf("BERTH_ADDR: %w", err)}
	}
	client := http.Client{Timeout: healthTimeout, Transport: &http.Transport{
		// The certificate names the public host, and this is a question to our own machine, without a secret in it.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	report, err := io.ReadAll(io.LimitReader(response.Body, maxReport))
	if err != nil {
		return fmt.Errorf("no whole answer: %w", err)
	}
	text := strings.TrimSpace(string(report))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return err
}

// url is where the server of this machine answers about its health.
func (c *healthCommand) url() (string, error) {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return "", usageError{fmt.Errorf("BERTH_ADDR: %w", err)}
	}
	if port == "0" {
		return "", usageError{errors.New("BERTH_ADDR: port 0 is any port, so this cannot know it")}
	}
	// Addresses to listen on, not to connect to. No name: an image without /etc/hosts knows none.
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	scheme, path := "http", "/readyz"
	if c.Cert != "" {
		scheme = "https"
	}
	if c.Live {
		path = "/healthz"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + path, nil
}
