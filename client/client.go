package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// basePath is where the operations are below a server's URL.
const basePath = "/api/v1"

// DefaultTimeout bounds one request, from its beginning to the last byte of its answer.
const DefaultTimeout = time.Minute

// New makes a client of the server at a URL, such as https://registry.example.dev, that sends secret: a session or a
// personal token. An empty secret sends none, for logging in and signing up. Any answer that says that a call failed
// becomes an [*Error]. Later options win, so [WithHTTPClient] brings another transport, without that conversion.
//
// Errors: a URL that is none of a server.
func New(server, secret string, opts ...ClientOption) (*ClientWithResponses, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return nil, errors.New("client: the URL of a server begins with http:// or https:// and names a host")
	}
	transport := &checked{doer: &http.Client{Timeout: DefaultTimeout}, secret: secret}
	return NewClientWithResponses(strings.TrimRight(server, "/")+basePath, append([]ClientOption{WithHTTPClient(transport)}, opts...)...)
}

// WithoutTimeout lets requests take as long as they do, as exports need it. Their context still ends them.
func WithoutTimeout() ClientOption {
	return func(c *Client) error {
		if own, ok := c.Client.(*checked); ok {
			own.doer = &http.Client{}
		}
		return nil
	}
}

// Error is an answer that says that a call failed.
type Error struct {
	// Problem is what the server said. Without any, its Status is that of the answer, and its Title names that.
	Problem Problem
	// Header is that of the answer, such as Retry-After.
	Header http.Header
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s (%d)", e.Problem.Title, e.Problem.Status)
	if e.Problem.Errors != nil && len(*e.Problem.Errors) > 0 {
		fields := make([]string, len(*e.Problem.Errors))
		for i, field := range *e.Problem.Errors {
			fields[i] = field.Pointer + " " + field.Detail
		}
		return text + ": " + strings.Join(fields, "; ")
	}
	if e.Problem.Detail != nil {
		text += ": " + *e.Problem.Detail
	}
	return text
}

// Kind is the last part of the problem's type, such as "not-found".
func (e *Error) Kind() string { return e.Problem.Type[strings.LastIndexByte(e.Problem.Type, ':')+1:] }

// checked sends the secret and turns failures into errors.
type checked struct {
	doer   HttpRequestDoer
	secret string
}

// Do implements HttpRequestDoer.
func (c *checked) Do(r *http.Request) (*http.Response, error) {
	if c.secret != "" {
		r.Header.Set("Authorization", "Bearer "+c.secret)
	}
	answer, err := c.doer.Do(r)
	if err != nil || answer.StatusCode < http.StatusBadRequest {
		return answer, err
	}
	defer func() { _ = answer.Body.Close() }()
	return nil, failure(answer)
}

// maxProblem bounds how much of a failure is read, in bytes.
const maxProblem = 64 << 10

func failure(answer *http.Response) *Error {
	e := &Error{Header: answer.Header}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxProblem))
	if err == nil {
		err = json.Unmarshal(body, &e.Problem)
	}
	if err != nil || e.Problem.Title == "" { // from something in between, not from the server
		e.Problem = Problem{Type: "about:blank", Title: http.StatusText(answer.StatusCode)}
	}
	e.Problem.Status = answer.StatusCode
	return e
}

// NextCursor gives the cursor of the page after that of a list's answer, or nil after the last one.
func NextCursor(answer *http.Response) *string {
	for link := range strings.SplitSeq(answer.Header.Get("Link"), ",") {
		target, params, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
		if !ok || !strings.Contains(params, `rel="next"`) {
			continue
		}
		parsed, err := url.Parse(target)
		if err != nil {
			return nil
		}
		if cursor := parsed.Query().Get("cursor"); cursor != "" {
			return &cursor
		}
	}
	return nil
}
