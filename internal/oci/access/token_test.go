package access

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/rbac"
)

// endpoint is the token endpoint on a real server.
type endpoint struct {
	*world
	url string
}

func eachEndpoint(t *testing.T, f func(t *testing.T, e *endpoint)) {
	t.Helper()
	eachWorld(t, func(t *testing.T, w *world) { f(t, w.serve()) })
}

func (w *world) serve() *endpoint {
	w.tb.Helper()
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	w.Mount(engine)
	server := httptest.NewServer(engine)
	w.tb.Cleanup(server.Close)
	return &endpoint{world: w, url: server.URL + TokenPath}
}

// reply is what came back, decoded as any of the possible bodies.
type reply struct {
	*http.Response
	body string
	tokenResponse
	oauthError
	Errors []struct{ Code, Message string }
}

func (e *endpoint) do(method, query, secret string, header http.Header, body string) reply {
	e.tb.Helper()
	request, err := http.NewRequestWithContext(e.tb.Context(), method, e.url+"?"+query, strings.NewReader(body))
	e.must(err)
	if secret != "" {
		request.SetBasicAuth("x", secret)
	}
	for key, values := range header {
		request.Header[key] = values
	}
	response, err := http.DefaultClient.Do(request)
	e.must(err)
	defer func() { e.must(response.Body.Close()) }()
	raw, err := io.ReadAll(response.Body)
	e.must(err)
	out := reply{Response: response, body: string(raw)}
	if method != http.MethodHead {
		for _, into := range []any{&out.tokenResponse, &out.oauthError, &out} {
			e.must(json.Unmarshal(raw, into))
		}
	}
	if response.Header.Get("Cache-Control") != "no-store" || response.Header.Get("Content-Type") != "application/json" {
		e.tb.Errorf("%s %s: headers %v", method, query, response.Header)
	}
	return out
}

func (e *endpoint) get(secret string, values ...string) reply {
	e.tb.Helper()
	return e.do(http.MethodGet, pairs(values).Encode(), secret, nil, "")
}

func (e *endpoint) post(values ...string) reply {
	e.tb.Helper()
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	return e.do(http.MethodPost, "", "", header, pairs(values).Encode())
}

func pairs(values []string) url.Values {
	form := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		form.Add(values[i], values[i+1])
	}
	return form
}

func TestTokenGrantsWhatThePolicyAllows(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		private := e.project("private", rbac.StateActive, rbac.Private, true)
		e.project("public", rbac.StateActive, rbac.Public, true)
		e.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false)
		e.project("suspended", rbac.StateSuspended, rbac.Public, true)
		members := map[string]string{"anonymous": "", "user": e.user("user", false).secret, "admin": e.user("root", true).secret}
		for _, role := range []rbac.Role{rbac.RoleViewer, rbac.RoleDeveloper, rbac.RoleMaintainer} {
			u := e.user(string(role), false)
			e.member(private, u, role)
			members[string(role)] = u.secret
		}
		members["robot"] = e.robot(private, rbac.RoleViewer)
		ask := []string{"private/app", "public/app", "unclaimed/app", "suspended/app", "absent/app"}
		for who, want := range map[string]string{
			"anonymous":  "public:pull unclaimed:push absent:push",
			"user":       "public:pull unclaimed:push absent:pull,push,delete catalog:*",
			"viewer":     "private:pull public:pull unclaimed:push absent:pull,push,delete catalog:*",
			"developer":  "private:pull,push public:pull unclaimed:push absent:pull,push,delete catalog:*",
			"maintainer": "private:pull,push,delete public:pull unclaimed:push absent:pull,push,delete catalog:*",
			"robot":      "private:pull public:pull catalog:*",
			"admin": "private:pull,push,delete public:pull,push,delete unclaimed:pull,push,delete suspended:pull " +
				"absent:pull,push,delete catalog:*",
		} {
			values := []string{"service", testService}
			for _, name := range ask {
				values = append(values, "scope", "repository:"+name+":*")
			}
			values = append(values, "scope", "registry:catalog:*")
			got := e.get(members[who], values...)
			short := strings.NewReplacer("registry:", "", "repository:", "", "/app:", ":")
			if got.StatusCode != http.StatusOK || short.Replace(got.Scope) != want {
				t.Errorf("%s: got %d %s\nwant %s", who, got.StatusCode, got.Scope, want)
			}
			id, err := e.Authenticate(bearerRequest(got.Token))
			if err != nil || scopesOf(id) != got.Scope {
				t.Errorf("%s: the token carries %s, %v", who, scopesOf(id), err)
			}
		}
	})
}

func TestTokenResponse(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		ann := e.user("ann", false)
		for name, got := range map[string]reply{
			"GET": e.get(ann.secret, "scope", "repository:demo/app:pull,push", "account", "ann", "client_id", "docker", "offline_token", "true"),
			"POST password": e.post("grant_type", "password", "username", "ann", "password", ann.secret, "service", testService,
				"scope", "repository:demo/app:pull,push", "client_id", "containerd-client", "access_type", "offline"),
			"POST refresh_token": e.post("grant_type", "refresh_token", "refresh_token", ann.secret, "service", "",
				"scope", "repository:demo/app:push", "scope", "repository:demo/app:pull"),
		} {
			issued, err := time.Parse(time.RFC3339, got.IssuedAt)
			if got.StatusCode != http.StatusOK || err != nil || e.clock.Now().Sub(issued).Abs() > 2*time.Second {
				t.Errorf("%s: %d, issued %s (%v)", name, got.StatusCode, got.IssuedAt, err)
			}
			if got.Token == "" || got.Token != got.AccessToken || got.TokenType != "Bearer" || got.ExpiresIn != 300 {
				t.Errorf("%s: %s", name, got.body)
			}
			if got.Scope != "repository:demo/app:pull,push" || strings.Contains(got.body, "refresh_token") {
				t.Errorf("%s: %s", name, got.body)
			}
		}
	})
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	const basic = `Basic realm="` + testService + `"`
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		ann := e.user("ann", false)
		bearer := e.get(ann.secret).Token
		tooMany := make([]string, 0, 4*MaxScopes)
		for i := range MaxScopes + 1 {
			tooMany = append(tooMany, "scope", "repository:r"+strings.Repeat("x", i)+":pull")
		}
		password := []string{"grant_type", "password", "username", "ann", "password", ann.secret}
		for name, tt := range map[string]struct {
			got       reply
			status    int
			code      string // of the envelope, or of RFC 6749
			challenge string
		}{
			"GET, unknown token":   {e.get("an-unknown-token-of-an-operator"), 401, "UNAUTHORIZED", basic},
			"GET, a password":      {e.get("correct horse battery staple"), 401, "UNAUTHORIZED", basic},
			"GET, a bearer token":  {e.do("GET", "", "", http.Header{"Authorization": {"Bearer " + bearer}}, ""), 401, "UNAUTHORIZED", basic},
			"GET, two headers":     {e.do("GET", "", "", http.Header{"Authorization": {"Basic eDp4", "Basic eDp4"}}, ""), 401, "UNAUTHORIZED", basic},
			"GET, another service": {e.get(ann.secret, "service", "elsewhere.example"), 400, "UNSUPPORTED", ""},
			"GET, too many scopes": {e.get(ann.secret, tooMany...), 400, "UNSUPPORTED", ""},
			"GET, bad query":       {e.do("GET", "scope=%zz", ann.secret, nil, ""), 400, "UNSUPPORTED", ""},
			"PUT":                  {e.do("PUT", "", ann.secret, nil, ""), 405, "UNSUPPORTED", ""},
			"DELETE":               {e.do("DELETE", "", ann.secret, nil, ""), 405, "UNSUPPORTED", ""},

			"POST, unknown token":      {e.post("grant_type", "password", "username", "a", "password", "an-unknown-token-of-an-operator"), 400, "invalid_grant", ""},
			"POST, a password":         {e.post("grant_type", "password", "username", "a", "password", "secret"), 400, "invalid_grant", ""},
			"POST, a bearer token":     {e.post("grant_type", "refresh_token", "refresh_token", bearer), 400, "invalid_grant", ""},
			"POST, no password":        {e.post("grant_type", "password", "username", "ann"), 400, "invalid_request", ""},
			"POST, no refresh token":   {e.post("grant_type", "refresh_token", "password", ann.secret), 400, "invalid_request", ""},
			"POST, other grant":        {e.post("grant_type", "authorization_code", "code", "x"), 400, "unsupported_grant_type", ""},
			"POST, no grant":           {e.post("password", ann.secret), 400, "invalid_request", ""},
			"POST, password twice":     {e.post(append(password, "password", ann.secret)...), 400, "invalid_request", ""},
			"POST, another service":    {e.post(append(password, "service", "elsewhere.example")...), 400, "invalid_request", ""},
			"POST, too many scopes":    {e.post(append(password, tooMany...)...), 400, "invalid_scope", ""},
			"POST, JSON":               {e.do("POST", "", "", http.Header{"Content-Type": {"application/json"}}, `{"grant_type":"password"}`), 400, "invalid_request", ""},
			"POST, bad form":           {e.do("POST", "", "", form, "grant_type=%zz"), 400, "invalid_request", ""},
			"POST, bad query":          {e.do("POST", "x=%zz", "", form, pairs(password).Encode()), 400, "invalid_request", ""},
			"POST, secrets in the URL": {e.do("POST", pairs(password).Encode(), "", form, ""), 400, "invalid_request", ""},
			"POST, Basic is no grant":  {e.do("POST", "", ann.secret, form, ""), 400, "invalid_request", ""},
			"POST, a body over 64 KiB": {e.do("POST", "", "", form, pairs(password).Encode()+"&x="+strings.Repeat("x", maxTokenForm)), 413, "SIZE_INVALID", ""},
			"POST, a body of 64 KiB":   {e.do("POST", "", "", form, padded("grant_type=x", maxTokenForm)), 400, "unsupported_grant_type", ""},
		} {
			got := tt.got.Code
			if len(tt.got.Errors) > 0 {
				got = tt.got.Errors[0].Code
			}
			if tt.got.StatusCode != tt.status || got != tt.code || tt.got.Header.Get(headerChallenge) != tt.challenge {
				t.Errorf("%s: got %d %s, %q", name, tt.got.StatusCode, tt.got.body, tt.got.Header.Get(headerChallenge))
			}
			if tt.got.Token != "" || tt.status == 405 && tt.got.Header.Get("Allow") != "GET, POST" {
				t.Errorf("%s: %v %s", name, tt.got.Header, tt.got.body)
			}
		}
	})
}

// TestContainerdFallsBack plays the steps of containerd with a credential that is no good: POST, and on 400, 401 or 404
// a GET with the same, whose 401 it reports.
func TestContainerdFallsBack(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		post := e.post("grant_type", "password", "username", "ann", "password", "wrong", "service", testService, "client_id", "containerd-client")
		get := e.get("wrong", "service", testService)
		if post.StatusCode != http.StatusBadRequest || get.StatusCode != http.StatusUnauthorized {
			t.Errorf("POST %d, GET %d", post.StatusCode, get.StatusCode)
		}
	})
}

func TestTokenEndpointWithTheDatabaseDown(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		ann := e.user("ann", false)
		e.must(e.db.Close())
		for name, got := range map[string]reply{
			"GET":            e.get(ann.secret, "scope", "repository:demo:pull"),
			"GET, anonymous": e.get("", "scope", "repository:demo:pull"),
			"POST":           e.post("grant_type", "password", "username", "ann", "password", ann.secret),
		} {
			if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.Header.Get(headerChallenge) != "" {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
			}
		}
	})
}

// scopesOf writes out what a bearer token carries.
func scopesOf(id Identity) string {
	var scopes []Scope
	for _, access := range id.Access {
		scopes = append(scopes, Scope(access))
	}
	return strings.Join(scopeStrings(scopes), " ")
}

// padded fills a form up to a length.
func padded(form string, length int) string {
	return form + "&x=" + strings.Repeat("x", length-len(form)-len("&x="))
}
