package server_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

const (
	limitToken    = "an-administrator's-token-for-limits"
	limitPassword = "a long password for limits"
)

// frozen is a whole server whose time stands still: what is taken does not come back.
func frozen(t *testing.T, change func(*config.Config)) *instance {
	t.Helper()
	cfg := settings(t.TempDir())
	cfg.Admin.Token, cfg.Admin.Password = limitToken, limitPassword
	change(&cfg)
	now := time.Now()
	return start(t, cfg, func(o *server.Options) { o.Clock = func() time.Time { return now } })
}

// do sends a request; headers are pairs.
func (i *instance) do(t *testing.T, method, path, body string, headers ...string) (status int, header http.Header, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, i.Endpoints.PublicURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n+1 < len(headers); n += 2 {
		request.Header.Add(headers[n], headers[n+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

// want is do that expects a status.
func (i *instance) want(t *testing.T, status int, method, path, body string, headers ...string) http.Header {
	t.Helper()
	got, header, answer := i.do(t, method, path, body, headers...)
	if got != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, answer)
	}
	return header
}

// tooMany expects a problem that says how long to wait.
func (i *instance) tooMany(t *testing.T, method, path, body string, headers ...string) {
	t.Helper()
	status, header, answer := i.do(t, method, path, body, headers...)
	var problem struct{ Type, Detail string }
	err := json.Unmarshal([]byte(answer), &problem)
	want := "Wait for " + header.Get("Retry-After") + " seconds."
	if header.Get("Retry-After") == "1" {
		want = "Wait for 1 second."
	}
	if status != http.StatusTooManyRequests || err != nil || problem.Type != "urn:berth:problem:too-many-requests" ||
		header.Get("Retry-After") == "" || problem.Detail != want || header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: status %d, header %v: %s", method, path, status, header, answer)
	}
}

func bearer(secret string) []string { return []string{"Authorization", "Bearer " + secret} }

func login(email, password string) string {
	return fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
}

func TestTheProductAPIIsLimited(t *testing.T) {
	t.Parallel()
	i := frozen(t, func(c *config.Config) {
		c.RateLimit.APIBurst, c.RateLimit.AnonymousPercent, c.RateLimit.Replicas = 10, 100, 2
	})
	for range 20 {
		i.want(t, http.StatusUnauthorized, http.MethodGet, "/api/v1/me", "") // challenges are free
	}
	for range 5 { // half of ten
		i.want(t, http.StatusOK, http.MethodGet, "/api/v1/me", "", bearer(limitToken)...)
		i.want(t, http.StatusUnauthorized, http.MethodGet, "/api/v1/me", "", bearer("a-secret-that-is-wrong")...)
	}
	i.tooMany(t, http.MethodGet, "/api/v1/me", "", bearer(limitToken)...)
	i.tooMany(t, http.MethodGet, "/api/v1/me", "", bearer("a-secret-that-is-wrong")...)
	i.tooMany(t, http.MethodPost, "/api/v1/auth/login", login("admin@localhost", limitPassword), "Content-Type", "application/json")
	i.want(t, http.StatusUnauthorized, http.MethodGet, "/api/v1/me", "")
	i.want(t, http.StatusOK, http.MethodGet, "/healthz", "")
}

func TestPasswordsCannotBeGuessedForLong(t *testing.T) {
	t.Parallel()
	i := frozen(t, func(c *config.Config) {
		c.RateLimit.LoginBurst = 2
		c.HTTP.TrustedProxies = []string{"127.0.0.0/8"}
	})
	try := func(status int, email, password, address string) {
		t.Helper()
		headers := []string{"Content-Type", "application/json", "X-Forwarded-For", address}
		if status == http.StatusTooManyRequests {
			i.tooMany(t, http.MethodPost, "/api/v1/auth/login", login(email, password), headers...)
			return
		}
		i.want(t, status, http.MethodPost, "/api/v1/auth/login", login(email, password), headers...)
	}
	for range 4 { // those that succeed are free
		try(http.StatusCreated, "admin@localhost", limitPassword, "192.0.2.1")
	}
	try(http.StatusUnauthorized, "admin@localhost", "wrong password", "192.0.2.1")
	try(http.StatusUnauthorized, "ADMIN@localhost", "wrong password", "192.0.2.2")
	try(http.StatusTooManyRequests, "Admin@localhost", "wrong password", "192.0.2.3")
	try(http.StatusTooManyRequests, "admin@localhost", limitPassword, "192.0.2.1")
	for n := range 9 { // ten from one address, whatever the account
		try(http.StatusUnauthorized, fmt.Sprintf("u%d@localhost", n), "wrong password", "192.0.2.1")
	}
	try(http.StatusTooManyRequests, "another@localhost", "wrong password", "192.0.2.1")
	token := func(status int, secret, address string) {
		t.Helper()
		got, _, answer := i.do(t, http.MethodPost, "/api/v1/auth/login", fmt.Sprintf(`{"token":%q}`, secret),
			"Content-Type", "application/json", "X-Forwarded-For", address)
		if got != status {
			t.Errorf("token from %s: status %d, want %d: %s", address, got, status, answer)
		}
	}
	token(http.StatusTooManyRequests, limitToken, "192.0.2.1")
	token(http.StatusCreated, limitToken, "192.0.2.2")
	token(http.StatusUnauthorized, "a-token-that-is-wrong", "192.0.2.2")
	token(http.StatusUnauthorized, "a-token-that-is-wrong", "192.0.2.2")
	token(http.StatusTooManyRequests, "a-token-that-is-wrong", "192.0.2.2")

	_, _, answer := i.do(t, http.MethodPost, "/api/v1/auth/login", fmt.Sprintf(`{"token":%q}`, limitToken), "Content-Type", "application/json")
	var session struct{ Secret string }
	if err := json.Unmarshal([]byte(answer), &session); err != nil {
		t.Fatal(err)
	}
	i.tooMany(t, http.MethodPut, "/api/v1/me/password", `{"current_password":"a guess at it","new_password":"another password"}`,
		append(bearer(session.Secret), "Content-Type", "application/json")...)
}

// TestThreat17OnlyTrustedProxiesNameTheClient: nobody gets a bucket more by what they say of their address.
func TestThreat17OnlyTrustedProxiesNameTheClient(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		proxies []string
		want    int // of six requests for a token, each saying to be from another address
		claims  func(n int) []string
	}{
		"nobody is trusted": {nil, 3, func(n int) []string { return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.%d", n)} }},
		"a trusted proxy":   {[]string{"127.0.0.0/8"}, 6, func(n int) []string { return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.%d", n)} }},
		"what the client said before the proxy": {[]string{"127.0.0.0/8"}, 3, func(n int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.%d, 198.51.100.1", n)}
		}},
		"in a header line of its own": {[]string{"127.0.0.0/8"}, 3, func(n int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.%d", n), "X-Forwarded-For", "198.51.100.1"}
		}},
		"malformed": {[]string{"127.0.0.0/8"}, 3, func(n int) []string {
			return []string{"X-Forwarded-For", []string{"", ",", "192.0.2.1:99999", "[192.0.2.1]:80", "[2001:db8::1]", strings.Repeat("1.1.1.1,", 50) + "?"}[n]}
		}},
		"malformed in another way": {[]string{"127.0.0.0/8"}, 3, func(n int) []string {
			return []string{"X-Forwarded-For", []string{"x", "999.1.1.1", "999.1.1.1:80", "192.0.2.1:", ":80", "192.0.2.1:80:80"}[n]}
		}},
		"a trusted proxy that names ports": {[]string{"127.0.0.0/8"}, 6, func(n int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.%d:4711", n)}
		}},
		"a trusted proxy that names the ports of IPv6": {[]string{"127.0.0.0/8"}, 6, func(n int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("[2001:db8:0:%d::1]:443", n)}
		}},
		"a port is no address": {[]string{"127.0.0.0/8"}, 3, func(n int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.1:%d", 4711+n)}
		}},
		"trusted proxies in a row that name ports": {[]string{"127.0.0.0/8", "10.0.0.0/8"}, 6, func(n int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.%d:4711, 10.0.0.1:80", n)}
		}},
		"what the client said before the proxy, with ports": {[]string{"127.0.0.0/8"}, 3, func(n int) []string {
			return []string{"X-Forwarded-For", fmt.Sprintf("192.0.2.%d:1, 198.51.100.1:2", n)}
		}},
		"other headers": {[]string{"127.0.0.0/8"}, 3, func(n int) []string {
			return []string{"X-Real-Ip", fmt.Sprintf("192.0.2.%d", n), "Forwarded", fmt.Sprintf("for=192.0.2.%d", n)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := frozen(t, func(c *config.Config) {
				c.RateLimit.TokenBurst, c.RateLimit.AnonymousPercent = 3, 100
				c.HTTP.TrustedProxies = tt.proxies
			})
			let := 0
			for n := range 6 {
				if status, _, _ := i.do(t, http.MethodGet, "/auth/token", "", tt.claims(n)...); status == http.StatusOK {
					let++
				}
			}
			if let != tt.want {
				t.Errorf("%d of 6 tokens, want %d", let, tt.want)
			}
		})
	}
}

// TestDefaultsFitAnImageAndTheConformanceSuites pushes and pulls an image of 100 layers as docker does, and then asks as
// often as the conformance suites do, all in one moment.
func TestDefaultsFitAnImageAndTheConformanceSuites(t *testing.T) {
	t.Parallel()
	i := frozen(t, func(*config.Config) {})
	me := []string{"Authorization", "Basic dTphbi1hZG1pbmlzdHJhdG9yJ3MtdG9rZW4tZm9yLWxpbWl0cw=="} // u:limitToken
	const layers = 100
	var descriptors []string
	for n := range layers + 1 {
		content := fmt.Sprintf("layer %d", n)
		d := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
		blob := "/v2/demo/app/blobs/" + d
		i.want(t, http.StatusNotFound, http.MethodHead, blob, "", me...)
		location := i.want(t, http.StatusAccepted, http.MethodPost, "/v2/demo/app/blobs/uploads/?mount="+d+"&from=other/app", "", me...).Get("Location")
		location = i.want(t, http.StatusAccepted, http.MethodPatch, location, content, me...).Get("Location")
		i.want(t, http.StatusCreated, http.MethodPut, location+"&digest="+d, "", me...)
		i.want(t, http.StatusOK, http.MethodHead, blob, "", me...)
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, d, len(content)))
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}`,
		strings.Replace(descriptors[0], "layer.v1.tar", "config.v1+json", 1), strings.Join(descriptors[1:], ","))
	i.want(t, http.StatusCreated, http.MethodPut, "/v2/demo/app/manifests/1", manifest,
		append(me, "Content-Type", "application/vnd.oci.image.manifest.v1+json")...)
	for _, d := range descriptors {
		var blob struct{ Digest string }
		if err := json.Unmarshal([]byte(d), &blob); err != nil {
			t.Fatal(err)
		}
		i.want(t, http.StatusOK, http.MethodGet, "/v2/demo/app/blobs/"+blob.Digest, "", me...)
	}
	for range 800 {
		i.want(t, http.StatusOK, http.MethodGet, "/v2/demo/app/manifests/1", "", me...)
	}
	for range 560 {
		i.want(t, http.StatusAccepted, http.MethodPost, "/v2/demo/app/blobs/uploads/", "", me...)
	}
	for range 130 {
		i.want(t, http.StatusOK, http.MethodGet, "/auth/token?scope=repository:demo/app:pull", "", me...)
		i.want(t, http.StatusOK, http.MethodGet, "/auth/token?scope=repository:demo/app:pull", "")
	}
}

func TestLimitsCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.RateLimit){
		"all": func(c *config.RateLimit) { c.Enabled = false }, "one": func(c *config.RateLimit) { c.TokenRate = 0 },
		"dry run": func(c *config.RateLimit) { c.DryRun = true },
	} {
		i := frozen(t, func(c *config.Config) { c.RateLimit.TokenBurst = 1; change(&c.RateLimit) })
		for range 5 {
			i.want(t, http.StatusOK, http.MethodGet, "/auth/token", "")
		}
		if logged := strings.Contains(i.log.String(), `over_limit="token (dry run)"`); logged != (name == "dry run") {
			t.Errorf("%s: logged: %t", name, logged)
		}
	}
}
