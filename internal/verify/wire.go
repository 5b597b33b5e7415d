package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	// answerTime is how long an answer may take to begin: a proxy that gathers bodies needs some of it.
	answerTime = 60 * time.Second
	// maxAnswer bounds what is read of an answer: more than anything that was pushed.
	maxAnswer = 64 << 20
	// nameBytes are the random bytes of a name: 104 bits, as BERTH_UNCLAIMED_SLUGS=random asks for.
	nameBytes = 13
)

// wire speaks HTTP with the registry. It follows no redirects by itself: credentials are not for others.
type wire struct {
	base   *url.URL
	client *http.Client
}

func newWire(base *url.URL, insecure bool) *wire {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, ResponseHeaderTimeout: answerTime, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}, //nolint:gosec // only where the operator asks for it
	}
	return &wire{base, &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// request is what is sent.
type request struct {
	method string
	path   string // or a URL
	bearer string
	basic  string // the password
	body   io.Reader
	length int64
	header map[string]string
}

// answer is what came back, read to its end.
type answer struct {
	method string
	url    *url.URL
	status int
	header http.Header
	body   []byte
}

// statusError is an answer with another status than was expected.
type statusError struct {
	method, path string
	status       int
	body         string
}

// Error implements error.
func (e statusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.method, e.path, e.status, e.body)
}

// want returns a statusError unless the answer has one of these.
func (a answer) want(statuses ...int) error {
	for _, status := range statuses {
		if a.status == status {
			return nil
		}
	}
	const enough = 300
	text := strings.Join(strings.Fields(string(a.body[:min(len(a.body), enough)])), " ")
	return statusError{a.method, a.url.Path, a.status, text}
}

// location is where the answer sends the client, which must be the same registry.
func (a answer) location() (string, error) {
	raw := a.header.Get("Location")
	to, err := a.url.Parse(raw)
	if raw == "" || err != nil {
		return "", fmt.Errorf("%s %s: the Location is %q", a.method, a.url.Path, raw)
	}
	if to.Host != a.url.Host || to.Scheme != a.url.Scheme {
		return "", fmt.Errorf("%s %s: the Location leads to %s://%s: a proxy rewrites it, or the registry takes its name from a header", a.method, a.url.Path, to.Scheme, to.Host)
	}
	return to.String(), nil
}

func (w *wire) do(ctx context.Context, r request) (answer, error) {
	target := r.path
	if strings.HasPrefix(target, "/") {
		target = strings.TrimSuffix(w.base.String(), "/") + target
	}
	out, err := http.NewRequestWithContext(ctx, r.method, target, r.body)
	if err != nil {
		return answer{}, fmt.Errorf("make a request: %w", err)
	}
	out.ContentLength = r.length
	if r.bearer != "" {
		out.Header.Set("Authorization", "Bearer "+r.bearer)
	}
	if r.basic != "" {
		out.SetBasicAuth("verify", r.basic)
	}
	for name, value := range r.header {
		out.Header.Set(name, value)
	}
	response, err := w.client.Do(out)
	if err != nil {
		return answer{}, withoutQuery(r.method, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: the answer ends early: %w", r.method, out.URL.Path, err)
	}
	return answer{r.method, out.URL, response.StatusCode, response.Header, body}, nil
}

// withoutQuery keeps what a URL is signed with out of an error.
func withoutQuery(method string, err error) error {
	wrapped, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	path, _, _ := strings.Cut(wrapped.URL, "?")
	return fmt.Errorf("%s %s: %w", method, path, wrapped.Err)
}

// parameter finds what a challenge says.
var parameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

func parameters(challenge string) map[string]string {
	out := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(challenge, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// token fetches a bearer token with a password, or without any, for scopes.
func (r *run) token(ctx context.Context, password string, scopes ...string) (string, error) {
	query := url.Values{"service": {r.service}, "scope": scopes}
	join := "?"
	if strings.Contains(r.realm, "?") {
		join = "&"
	}
	a, err := r.wire.do(ctx, request{method: http.MethodGet, path: r.realm + join + query.Encode(), basic: password})
	if err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", err
	}
	var issued struct {
		Token       string
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &issued); err != nil {
		return "", fmt.Errorf("GET %s: no token: %w", a.url.Path, err)
	}
	if issued.Token == "" {
		issued.Token = issued.AccessToken
	}
	if issued.Token == "" {
		return "", fmt.Errorf("GET %s: the answer has no token", a.url.Path)
	}
	return issued.Token, nil
}

// errNoLogIn is why nothing is pushed where the token was not seen to be the holder's.
var errNoLogIn = skip{"without a log-in, nothing is pushed"}

// may fetches a token of the holder's for actions on the repository.
func (r *run) may(ctx context.Context, actions string) (string, error) {
	if !r.loggedIn {
		return "", errNoLogIn
	}
	return r.token(ctx, r.options.Token, scope(r.repository, actions))
}

func scope(repository, actions string) string { return "repository:" + repository + ":" + actions }

func randomName() string {
	random := make([]byte, nameBytes)
	_, _ = rand.Read(random) // it never fails
	return hex.EncodeToString(random)
}

// some is a body with its length.
func some(body []byte) (io.Reader, int64) { return bytes.NewReader(body), int64(len(body)) }
