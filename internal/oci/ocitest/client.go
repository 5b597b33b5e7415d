package ocitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Client sends requests by hand, so that a test sees and controls every header.
type Client struct {
	tb    testing.TB
	base  string
	basic string // a registry token
	token string // a bearer token
}

// As is a client with another registry token.
func (c *Client) As(token string) *Client { return &Client{tb: c.tb, base: c.base, basic: token} }

// Bearer is a client with a bearer token.
func (c *Client) Bearer(token string) *Client { return &Client{tb: c.tb, base: c.base, token: token} }

// Nobody is a client without credentials.
func (c *Client) Nobody() *Client { return &Client{tb: c.tb, base: c.base} }

// With is the same client for another test, as a parallel subtest needs it.
func (c *Client) With(tb testing.TB) *Client {
	other := *c
	other.tb = tb
	return &other
}

// At is the same client on another replica.
func (c *Client) At(r *Replica) *Client {
	other := *c
	other.base = r.URL
	return &other
}

// Answer is a response that was read to its end.
type Answer struct {
	// Status is the status code.
	Status int
	// Header are the headers.
	Header http.Header
	// Body is the whole body.
	Body []byte
}

// Code is the first code of an OCI error envelope, or "".
func (a Answer) Code() string {
	var envelope struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(a.Body, &envelope) != nil || len(envelope.Errors) == 0 {
		return ""
	}
	return envelope.Errors[0].Code
}

// Request makes a request of the client's; path may be a Location. headers are pairs of name and value.
func (c *Client) Request(ctx context.Context, method, path string, body io.Reader, headers ...string) *http.Request {
	c.tb.Helper()
	if !strings.HasPrefix(path, "http") {
		path = c.base + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		c.tb.Fatal(err)
	}
	switch {
	case c.basic != "":
		req.SetBasicAuth("any", c.basic)
	case c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// Send sends a request and reads the answer. It may be called from any goroutine.
func (c *Client) Send(req *http.Request) (Answer, error) {
	transport := http.DefaultTransport
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, err
}

// Do sends a request with a body of known length; nil sends none.
func (c *Client) Do(method, path string, body []byte, headers ...string) Answer {
	c.tb.Helper()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	a, err := c.Send(c.Request(c.tb.Context(), method, path, reader, headers...))
	if err != nil {
		c.tb.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// Want is Do that fails the test unless the status is as expected.
func (c *Client) Want(status int, method, path string, body []byte, headers ...string) Answer {
	c.tb.Helper()
	a := c.Do(method, path, body, headers...)
	if a.Status != status {
		c.tb.Fatalf("%s %s: status %d, want %d: %s", method, path, a.Status, status, a.Body)
	}
	return a
}

// Start opens an upload session and returns its Location.
func (c *Client) Start(repo string) string {
	c.tb.Helper()
	return c.Want(http.StatusAccepted, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil).Header.Get("Location")
}

// Query adds a parameter to a Location.
func Query(location, key, value string) string {
	return location + "&" + url.Values{key: {value}}.Encode()
}

// Push uploads a blob as docker does: POST, PATCH, PUT.
func (c *Client) Push(repo string, content []byte) digest.Digest {
	c.tb.Helper()
	d := digest.FromBytes(content)
	location := c.Want(http.StatusAccepted, http.MethodPatch, c.Start(repo), content).Header.Get("Location")
	c.Want(http.StatusCreated, http.MethodPut, Query(location, "digest", d.String()), nil)
	return d
}

// PutManifest pushes a manifest under a reference.
func (c *Client) PutManifest(repo, reference, mediaType string, body []byte) digest.Digest {
	c.tb.Helper()
	a := c.Want(http.StatusCreated, http.MethodPut, "/v2/"+repo+"/manifests/"+reference, body, "Content-Type", mediaType)
	return digest.Digest(a.Header.Get("Docker-Content-Digest"))
}

// Image pushes a config, layers and their image manifest, and returns the manifest and its digest.
func (c *Client) Image(repo, tag string, layers ...[]byte) ([]byte, digest.Digest) {
	c.tb.Helper()
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"created_by":%q}`, tag)
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: v1.Descriptor{
		MediaType: v1.MediaTypeImageConfig, Digest: c.Push(repo, config), Size: int64(len(config)),
	}}
	m.SchemaVersion = 2
	m.Layers = []v1.Descriptor{}
	for _, layer := range layers {
		m.Layers = append(m.Layers, v1.Descriptor{
			MediaType: v1.MediaTypeImageLayer, Digest: c.Push(repo, layer), Size: int64(len(layer)),
		})
	}
	body, err := json.Marshal(m)
	check(c.tb, err)
	return body, c.PutManifest(repo, tag, v1.MediaTypeImageManifest, body)
}

// Token fetches a bearer token with this client's credentials.
func (c *Client) Token(scopes ...string) string {
	c.tb.Helper()
	query := url.Values{"service": {"berth-test"}, "scope": scopes}
	a := c.Want(http.StatusOK, http.MethodGet, "/auth/token?"+query.Encode(), nil)
	var answer struct {
		Token string `json:"token"`
	}
	check(c.tb, json.Unmarshal(a.Body, &answer))
	return answer.Token
}
