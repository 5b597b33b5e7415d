package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// record answers one request of the token endpoint and returns what its line in the access log gets.
func (w *world) record(request *http.Request) (status int, attrs map[string]string, cause error) {
	w.tb.Helper()
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	w.Mount(engine)
	ctx, record := reqlog.New(request.Context(), "id")
	recorder := httptest.NewRecorder()
	engine.ServeHTTP(recorder, request.WithContext(ctx))
	attrs = map[string]string{}
	for _, attr := range record.Attrs() {
		attrs[attr.Key] = attr.Value.String()
	}
	return recorder.Code, attrs, record.Err()
}

func tokenGet(secret string, values ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, TokenPath+"?"+pairs(values).Encode(), http.NoBody)
	r.SetBasicAuth("x", secret)
	return r
}

func tokenPost(secret string, values ...string) *http.Request {
	form := pairs(append(values, "grant_type", "password", "username", "x", "password", secret))
	r := httptest.NewRequest(http.MethodPost, TokenPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestTheLogTellsWhyThereIsNoToken(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann, gone := w.user("ann", false), w.user("gone", false)
		w.must(w.auth.RevokeToken(t.Context(), gone.token.ID))
		for name, request := range map[string]func(secret string, values ...string) *http.Request{"GET": tokenGet, "POST": tokenPost} {
			for _, tt := range []struct {
				request           *http.Request
				denied, principal string
			}{
				{request(ann.secret), "", "user:" + ann.ID.String()},
				{request(gone.secret), "revoked", ""},
				{request("berth_pat_mistyped"), "wrong length", ""},
				{request("an-unknown-token-of-an-operator"), "unknown token", ""},
				{request(ann.secret, "service", "elsewhere.example"), "another service", "user:" + ann.ID.String()},
			} {
				status, attrs, cause := w.record(tt.request)
				denied := attrs[reqlog.Denied]
				if (status == http.StatusOK) != (tt.denied == "") || (denied == "") != (tt.denied == "") || !strings.Contains(denied, tt.denied) {
					t.Errorf("%s: %d, denied %q, want %q", name, status, denied, tt.denied)
				}
				if attrs[reqlog.Principal] != tt.principal || cause != nil {
					t.Errorf("%s: principal %q, want %q; cause %v", name, attrs[reqlog.Principal], tt.principal, cause)
				}
				if strings.Contains(denied, gone.secret) || strings.Contains(denied, "mistyped") {
					t.Errorf("%s: a secret is logged: %s", name, denied)
				}
			}
		}
		w.must(w.db.Close())
		for name, request := range map[string]*http.Request{"GET": tokenGet(gone.secret), "POST": tokenPost(gone.secret)} {
			w.clock.advance(time.Hour) // no cache knows anything any more
			status, attrs, cause := w.record(request)
			if status != http.StatusServiceUnavailable || cause == nil || attrs[reqlog.Denied] != "" {
				t.Errorf("%s without a database: %d, %v, cause %v", name, status, attrs, cause)
			}
		}
	})
}

// TestRefusalsHaveCauses is about the answers that tell the client less than the log.
func TestRefusalsHaveCauses(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		private := w.project("private", rbac.StateActive, rbac.Private, true)
		w.project("suspended", rbac.StateSuspended, rbac.Public, true)
		viewer := w.user("viewer", false)
		w.member(private, viewer, rbac.RoleViewer)
		id := w.basic(viewer.secret)
		authorize := func(id Identity, name string, action rbac.Action) error {
			_, err := w.Authorize(t.Context(), id, repo(t, name), action)
			return err
		}
		_, ensured := w.EnsureProject(t.Context(), Decision{}, repo(t, "absent"))
		for name, tt := range map[string]struct{ err, want error }{
			"no credential":         {authorize(anonymousIdentity(), "private", rbac.Pull), errNoCredential},
			"ping":                  {w.Ping(anonymousIdentity()), errNoCredential},
			"narrow scope":          {authorize(w.bearer(viewer.secret, "repository:other:pull"), "private", rbac.Pull), errScope},
			"anonymous":             {authorize(w.anyone("private"), "private", rbac.Pull), errPolicy},
			"role":                  {authorize(id, "private", rbac.Push), errPolicy},
			"suspended":             {authorize(id, "suspended", rbac.Push), errSuspended},
			"catalog, anonymous":    {w.AuthorizeCatalog(w.anyone("private")), errPolicy},
			"catalog, narrow scope": {w.AuthorizeCatalog(w.bearer(viewer.secret)), errScope},
			"another push":          {ensured, errOtherPush},
		} {
			known, ok := errors.AsType[*ocierr.Error](tt.err)
			if !ok || !errors.Is(known.Cause, tt.want) || known.Status != 401 && known.Status != 403 {
				t.Errorf("%s: %v, want the cause %v", name, tt.err, tt.want)
			}
		}
	})
}
