package apitest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Caller sends requests with one credential.
type Caller struct {
	tb      testing.TB
	replica *Replica
	secret  string
}

// As is a caller with a secret; "" sends none.
func (r *Replica) As(tb testing.TB, secret string) *Caller {
	return &Caller{tb: tb, replica: r, secret: secret}
}

// Admin is the administrator, by token.
func (r *Replica) Admin(tb testing.TB) *Caller { return r.As(tb, AdminToken) }

// At is the same caller at another replica.
func (c *Caller) At(r *Replica) *Caller { return &Caller{tb: c.tb, replica: r, secret: c.secret} }

// Secret is what the caller shows.
func (c *Caller) Secret() string { return c.secret }

// Answer is a response that was read to its end. The zero Answer stands for none.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request; path is below /api/v1, or absolute. The body is sent as it is if it is a string or bytes, else as
// JSON; nil sends none. headers are pairs of name and value; an empty value removes a header that would be sent. An answer that is not
// as the contract says is an error of the test. Do may be called from any goroutine.
func (c *Caller) Do(method, path string, body any, headers ...string) Answer {
	c.tb.Helper()
	request, err := c.request(method, path, body, headers)
	if err != nil {
		c.tb.Errorf("%s %s: %v", method, path, err)
		return Answer{}
	}
	response, err := c.replica.http.Do(request)
	if err != nil {
		c.tb.Errorf("%s %s: %v", method, path, err)
		return Answer{}
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		c.tb.Errorf("%s %s: %v", method, path, err)
	}
	answer := Answer{Status: response.StatusCode, Header: response.Header, Body: content}
	if err := validate(request, answer); err != nil {
		c.tb.Errorf("%s %s: %d is not in the contract: %v\n%s", method, path, answer.Status, err, content)
	}
	return answer
}

func (c *Caller) request(method, path string, body any, headers []string) (*http.Request, error) {
	content, err := encoded(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(c.tb.Context(), method, c.replica.absolute(path), bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.secret != "" {
		request.Header.Set("Authorization", "Bearer "+c.secret)
	}
	for pair := range slices.Chunk(headers, 2) {
		request.Header.Set(pair[0], pair[1])
		if pair[1] == "" {
			request.Header.Del(pair[0])
		}
	}
	return request, nil
}

func (r *Replica) absolute(path string) string {
	if strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/v2/") {
		return r.URL + path
	}
	return r.URL + prefix + path
}

func encoded(body any) ([]byte, error) {
	switch body := body.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(body), nil
	case []byte:
		return body, nil
	}
	return json.Marshal(body)
}

// Want is Do that ends the test unless the status is as expected.
func (c *Caller) Want(status int, method, path string, body any, headers ...string) Answer {
	c.tb.Helper()
	answer := c.Do(method, path, body, headers...)
	if answer.Status != status {
		c.tb.Fatalf("%s %s: status %d, want %d: %s", method, path, answer.Status, status, answer.Body)
	}
	return answer
}

// problem is the body of an answer that says that a call failed.
type problem struct {
	Type   string
	Errors []struct{ Pointer string }
}

func (a Answer) problem() (p problem) {
	_ = json.Unmarshal(a.Body, &p) // what is no problem has no type
	return p
}

// Kind is the last part of a problem's type; "" for what is none.
func (a Answer) Kind() string { return strings.TrimPrefix(a.problem().Type, "urn:berth:problem:") }

// Pointers are what a problem points at.
func (a Answer) Pointers() []string {
	var pointers []string
	for _, e := range a.problem().Errors {
		pointers = append(pointers, e.Pointer)
	}
	return pointers
}

// Text is the string at a path of keys in a JSON body, "" for none.
func (a Answer) Text(path ...string) string {
	var value any
	_ = json.Unmarshal(a.Body, &value)
	for _, key := range path {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	text, _ := value.(string)
	return text
}

// Items are the objects of a list.
func (a Answer) Items(tb testing.TB) []map[string]any {
	tb.Helper()
	var list struct{ Items []map[string]any }
	Check(tb, json.Unmarshal(a.Body, &list))
	return list.Items
}

// Next is the path of the next page of a list, "" after the last one. path is that of this page.
func (a Answer) Next(tb testing.TB, path string) string {
	tb.Helper()
	link := a.Header.Get("Link")
	if link == "" {
		return ""
	}
	target, rest, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if rest != `; rel="next"` {
		tb.Fatalf("Link: %s", link)
	}
	base, err := url.Parse(path)
	Check(tb, err)
	next, err := base.Parse(target)
	Check(tb, err)
	return next.String()
}

// Stable is all that a client sees of an answer but the time, the request's ID and what is to be replaced.
func (a Answer) Stable(replaced ...string) string {
	var text strings.Builder
	text.WriteString(http.StatusText(a.Status) + "\n")
	header := maps.Clone(a.Header)
	header.Del("Date")
	header.Del("X-Request-Id")
	_ = header.Write(&text) // to memory
	text.Write(a.Body)
	id := a.Header.Get("X-Request-Id")
	return strings.NewReplacer(append(replaced, id, "<request>")...).Replace(text.String())
}
