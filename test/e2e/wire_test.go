package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// wire sends requests by hand.
type wire struct {
	t             testing.TB
	base          string
	authorization string
	transport     *http.Transport
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// wireTo speaks to a URL without credentials.
func wireTo(t testing.TB, base string) wire {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	return wire{t: t, base: base, transport: transport}
}

// nobody speaks to the registry without credentials, as clients do.
func (r *registry) nobody(t testing.TB) wire {
	t.Helper()
	return wireTo(t, "http://"+r.host)
}

// admin speaks to the registry with the administrator's registry token.
func (r *registry) admin(t testing.TB) wire {
	t.Helper()
	return r.nobody(t).basic(adminToken)
}

// basic is the same client with a registry token.
func (w wire) basic(token string) wire {
	w.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+token))
	return w
}

// bearer is the same client with a bearer token.
func (w wire) bearer(token string) wire {
	w.authorization = "Bearer " + token
	return w
}

// send sends a request; a length of -1 keeps it from the server. It may be called from any goroutine.
func (w wire) send(method, path string, body io.Reader, length int64, headers ...string) (answer, error) {
	if !strings.HasPrefix(path, "http") {
		path = w.base + path
	}
	request, err := http.NewRequestWithContext(w.t.Context(), method, path, body)
	if err != nil {
		return answer{}, err
	}
	request.ContentLength = length
	if w.authorization != "" {
		request.Header.Set("Authorization", w.authorization)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := w.transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, header: response.Header, body: content}, err
}

// try sends a request with a body of known length; nil sends none. It may be called from any goroutine.
func (w wire) try(method, path string, body []byte, headers ...string) (answer, error) {
	if body == nil {
		return w.send(method, path, nil, 0, headers...)
	}
	return w.send(method, path, bytes.NewReader(body), int64(len(body)), headers...)
}

// want is try that fails the test unless the status is as expected.
func (w wire) want(status int, method, path string, body []byte, headers ...string) answer {
	w.t.Helper()
	a, err := w.try(method, path, body, headers...)
	return w.check(status, method, path, a, err)
}

// wantUnsized is want with a body whose length the server is not told.
func (w wire) wantUnsized(status int, method, path string, body []byte, headers ...string) answer {
	w.t.Helper()
	a, err := w.send(method, path, struct{ io.Reader }{bytes.NewReader(body)}, -1, headers...)
	return w.check(status, method, path, a, err)
}

func (w wire) check(status int, method, path string, a answer, err error) answer {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != status {
		w.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

func (a answer) location() string { return a.header.Get("Location") }

// query adds a parameter to a Location, which has some already.
func query(location, key, value string) string {
	return location + "&" + url.Values{key: {value}}.Encode()
}

var challengeParameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// challenge reads the parameters of an answer's WWW-Authenticate.
func (a answer) challenge(t testing.TB) map[string]string {
	t.Helper()
	value := a.header.Get("WWW-Authenticate")
	if !strings.HasPrefix(value, "Bearer ") {
		t.Fatalf("the challenge is %q, want a Bearer one", value)
	}
	parameters := map[string]string{}
	for _, found := range challengeParameter.FindAllStringSubmatch(value, -1) {
		parameters[found[1]] = found[2]
	}
	return parameters
}

// token fetches a bearer token by GET with this client's credentials, from where the registry's challenge points to.
func (w wire) token(scopes ...string) string {
	w.t.Helper()
	asked := w
	asked.authorization = ""
	c := asked.want(http.StatusUnauthorized, http.MethodGet, "/v2/", nil).challenge(w.t)
	parameters := url.Values{"service": {c["service"]}, "scope": scopes}
	return tokenOf(w.t, w.want(http.StatusOK, http.MethodGet, c["realm"]+"?"+parameters.Encode(), nil))
}

func tokenOf(t testing.TB, a answer) string {
	t.Helper()
	var issued struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(a.body, &issued); err != nil || issued.Token == "" {
		t.Fatalf("the token endpoint answered %s: %v", a.body, err)
	}
	return issued.Token
}
