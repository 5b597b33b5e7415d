package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// client is the one client of all servers: the same code, the same buffers, for each of them.
type client struct {
	http *http.Client
	*registry
	repository string
}

const (
	clientBuffer = 256 << 10
	// smallBuffer is for clients in the hundreds.
	smallBuffer = 32 << 10
)

func newHTTPClient(buffer int) *http.Client {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	return &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, DisableCompression: true, MaxIdleConnsPerHost: 1024,
		ReadBufferSize: buffer, WriteBufferSize: buffer,
	}}
}

func (r *registry) client(buffer int) *client {
	return &client{http: newHTTPClient(buffer), registry: r, repository: repository}
}

// in is the same client, for another repository.
func (c *client) in(repository string) *client {
	return &client{http: c.http, registry: c.registry, repository: repository}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// do sends a request and returns the answer if it has the status that is wanted.
func (c *client) do(r *http.Request, want int) (*http.Response, error) {
	if err := c.sign(r); err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	if answer.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)) // only for the message
		_ = answer.Body.Close()
		return nil, fmt.Errorf("%s: %s %s: status %s, want %d: %s", c.name, r.Method, r.URL.Path, answer.Status, want, text)
	}
	return answer, nil
}

// send is do for answers whose body does not matter; it returns their headers.
func (c *client) send(r *http.Request, want int) (http.Header, error) {
	answer, err := c.do(r, want)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return answer.Header, nil
}

func (c *client) url(kind, reference string) string {
	return c.base + "/v2/" + c.repository + "/" + kind + "/" + reference
}

// sign adds what the registry wants to know of the caller.
func (c *client) sign(r *http.Request) error {
	switch {
	case c.auth != nil:
		return c.auth.sign(r, c.repository)
	case c.token != "":
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return nil
}

// begin opens an upload session and returns where it goes on.
func (c *client) begin(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("blobs", "uploads/"), nil)
	if err != nil {
		return "", err
	}
	header, err := c.send(r, http.StatusAccepted)
	return c.absolute(header.Get("Location")), err
}

// patch sends a body to a session and returns where it goes on. A negative length sends it as chunks of HTTP, as Docker
// does; a start of at least 0 states the range.
func (c *client) patch(ctx context.Context, location string, body io.Reader, length, start int64) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPatch, location, io.NopCloser(body))
	if err != nil {
		return "", err
	}
	r.ContentLength = length
	r.Header.Set("Content-Type", "application/octet-stream")
	if start >= 0 {
		r.Header.Set("Content-Range", strconv.FormatInt(start, 10)+"-"+strconv.FormatInt(start+length-1, 10))
	}
	header, err := c.send(r, http.StatusAccepted)
	return c.absolute(header.Get("Location")), err
}

// finish names the content of a session.
func (c *client) finish(ctx context.Context, location, digest string) error {
	return c.finishWith(ctx, location, digest, nil, 0)
}

// finishWith sends the last bytes of a session and names its content.
func (c *client) finishWith(ctx context.Context, location, digest string, body io.Reader, length int64) error {
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, location+separator+"digest="+url.QueryEscape(digest), body)
	if err != nil {
		return err
	}
	if body != nil {
		r.ContentLength = length
		r.Header.Set("Content-Type", "application/octet-stream")
	}
	_, err = c.send(r, http.StatusCreated)
	return err
}

// push uploads a blob as most clients do: POST, one PATCH with everything, an empty PUT.
func (c *client) push(ctx context.Context, blob content) error {
	digest, err := blob.digest()
	if err != nil {
		return err
	}
	location, err := c.begin(ctx)
	if err != nil {
		return err
	}
	if location, err = c.patch(ctx, location, blob.reader(), blob.size, -1); err != nil {
		return err
	}
	return c.finish(ctx, location, digest)
}

// pull downloads a URL and returns its size.
func (c *client) pull(ctx context.Context, from string) (int64, error) {
	return c.pullTo(ctx, from, io.Discard)
}

func (c *client) pullTo(ctx context.Context, from string, to io.Writer) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return 0, err
	}
	answer, err := c.do(r, http.StatusOK)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	n, err := copyBody(to, answer.Body)
	if err != nil {
		return n, fmt.Errorf("%s: %w", c.name, err)
	}
	return n, nil
}

// copyBody copies without io.Discard's own buffers, which are small.
func copyBody(to io.Writer, from io.Reader) (int64, error) {
	buffer := buffers.Get().(*[clientBuffer]byte) //nolint:errcheck // it holds nothing else
	defer buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer[:])
}

var buffers = sync.Pool{New: func() any { return new([clientBuffer]byte) }}

// verify downloads a blob and compares it with its digest.
func (c *client) verify(ctx context.Context, from, digest string) error {
	h := sha256.New()
	if _, err := c.pullTo(ctx, from, h); err != nil {
		return err
	}
	if got := digestOf(h); got != digest {
		return fmt.Errorf("%s: %s yields %s", c.name, from, got)
	}
	return nil
}

// verifyBlob verifies a content that was pushed.
func (c *client) verifyBlob(ctx context.Context, blob content) error {
	digest, err := blob.digest()
	if err != nil {
		return err
	}
	return c.verify(ctx, c.url("blobs", digest), digest)
}
