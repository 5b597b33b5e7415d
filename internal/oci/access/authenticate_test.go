package access

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/rbac"
)

func TestAuthenticateAccepts(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann := w.user("ann", false)
		raw, _, _, err := w.auth.IssueJWT(t.Context(), w.basic(ann.secret).Credential, []auth.Access{{Type: "repository", Name: "a", Actions: []string{"pull"}}})
		w.must(err)

		nobody, err := w.Authenticate(httptest.NewRequest(http.MethodGet, "/v2/", http.NoBody))
		if err != nil || nobody.Presented || nobody.Credential.Principal.Kind != rbac.KindAnonymous {
			t.Errorf("without a header: %+v, %v", nobody, err)
		}
		for name, header := range map[string]string{
			"Basic":                    "Basic " + encode("ann:"+ann.secret),
			"any user name":            "Basic " + encode(":"+ann.secret),
			"schemes ignore case":      "bAsIc " + encode("x:"+ann.secret),
			"Bearer":                   "Bearer " + raw,
			"bearer in lower case":     "bearer " + raw,
			"several spaces before it": "Bearer   " + raw,
		} {
			id, err := w.Authenticate(withHeader(header))
			if err != nil || !id.Presented || id.Credential.Principal.ID != ann.ID {
				t.Errorf("%s: %+v, %v", name, id, err)
			}
			bearer := strings.EqualFold(header[:6], "bearer")
			if id.Bearer != bearer || (len(id.Access) == 1) != bearer {
				t.Errorf("%s: Bearer is %t, Access is %v", name, id.Bearer, id.Access)
			}
		}
	})
}

func TestAuthenticateRefuses(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann := w.user("ann", false)
		raw, _, _, err := w.auth.IssueJWT(t.Context(), w.basic(ann.secret).Credential, nil)
		w.must(err)
		good := "Basic " + encode("x:"+ann.secret)
		for name, header := range map[string][]string{
			"empty":                   {""},
			"scheme only":             {"Basic"},
			"unknown scheme":          {"Digest " + ann.secret},
			"bare token":              {ann.secret},
			"Basic, empty":            {"Basic "},
			"Basic, not base64":       {"Basic !"},
			"Basic, no colon":         {"Basic " + encode(ann.secret)},
			"Basic, no password":      {"Basic " + encode("ann:")},
			"Basic, both empty":       {"Basic " + encode(":")},
			"Basic, a password":       {"Basic " + encode("ann@example.dev:correct horse battery")},
			"Basic, a bearer token":   {"Basic " + encode("ann:"+raw)},
			"Basic, unknown token":    {"Basic " + encode("ann:an-unknown-token-of-an-operator")},
			"Basic, token and a tail": {"Basic " + encode("ann:"+ann.secret+"x")},
			"Bearer, empty":           {"Bearer "},
			"Bearer, not a JWT":       {"Bearer x"},
			"Bearer, a secret":        {"Bearer " + ann.secret},
			"Bearer, cut":             {"Bearer " + raw[:len(raw)-4]},
			"Bearer, with a tail":     {"Bearer " + raw + " x"},
			"two that agree":          {good, good},
			"two that differ":         {good, "Bearer " + raw},
			"over-long":               {"Bearer " + strings.Repeat("x", MaxAuthorizationLength)},
		} {
			_, err := w.Authenticate(withHeader(header...), RepositoryScope(repo(t, "demo/app"), rbac.Push))
			got := answerTo(err)
			want := `Bearer realm="` + testRealm + `",service="` + testService + `",scope="repository:demo/app:pull,push",` +
				`error="invalid_token",error_description="the token is malformed, unknown, expired or revoked"`
			if got.status != http.StatusUnauthorized || got.code != ocierr.Unauthorized.Code || got.challenge != want {
				t.Errorf("%s: got %d %s\n%s", name, got.status, got.code, got.challenge)
			}
		}
	})
}

func TestExpiredBearerTokenIsInvalid(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		raw, _, expires, err := w.auth.IssueJWT(t.Context(), anonymousIdentity().Credential, nil)
		w.must(err)
		if _, err := w.Authenticate(bearerRequest(raw)); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(expires.Sub(w.clock.Now()) + time.Second)
		_, err = w.Authenticate(bearerRequest(raw))
		challenge, parseErr := parseChallenge(answerTo(err).challenge)
		if parseErr != nil || challenge.Error != "invalid_token" || challenge.Scope != "" {
			t.Errorf("got %+v (%v)", challenge, parseErr)
		}
	})
}

func TestTheLongestBearerTokenFits(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		var scopes []string
		left := MaxScopeLength
		for i := range MaxScopes {
			room := (left-1)/(MaxScopes-i) - len("repository::*") - 1
			left -= room + len("repository::*") + 1
			scopes = append(scopes, "repository:"+strings.Repeat("a", room-i%7)+strings.Repeat("b", i%7)+strings.Repeat("c", i/7)+":*")
		}
		for tooLong(scopes) {
			scopes[0] = strings.Replace(scopes[0], "aa", "a", 1)
		}
		parsed, err := ParseScopes(scopes...)
		w.must(err)
		if len(parsed) != MaxScopes {
			t.Fatalf("%d scopes", len(parsed))
		}
		raw, _, _, err := w.auth.IssueJWT(t.Context(), w.basic(w.user("ann", false).secret).Credential, accessOf(parsed))
		w.must(err)
		if _, err := w.Authenticate(bearerRequest(raw)); err != nil {
			t.Errorf("a token of %d bytes: %v", len(raw), err)
		}
		t.Logf("%d bytes", len(raw))
	})
}

func TestDatabaseDownIsNeverA401(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann := w.user("ann", false)
		raw, _, _, err := w.auth.IssueJWT(t.Context(), w.basic(ann.secret).Credential, nil)
		w.must(err)
		id := w.basic(ann.secret)
		project := w.project("demo", rbac.StateActive, rbac.Private, true)
		w.member(project, ann, rbac.RoleOwner)
		cold := w.replica()
		w.must(w.db.Close())

		checks := map[string]error{}
		_, checks["Basic"] = cold.Authenticate(basicRequest(ann.secret))
		_, checks["Bearer"] = cold.Authenticate(bearerRequest(raw))
		_, checks["Authorize"] = cold.Authorize(t.Context(), id, repo(t, "demo"), rbac.Pull)
		_, _, checks["AuthorizeMount"] = cold.AuthorizeMount(t.Context(), id, repo(t, "demo/a"), repo(t, "demo/b"))
		for name, err := range checks {
			got := answerTo(err)
			if got.status != http.StatusServiceUnavailable || !strings.Contains(got.all, "Retry-After") || got.challenge != "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func withHeader(values ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/", http.NoBody)
	r.Header["Authorization"] = values
	return r
}
