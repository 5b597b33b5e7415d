package access

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

var restrictTokens = database.SQL(`UPDATE tokens SET grants = $2 WHERE user_id = $1`)

// restricted is the secret of a new owner of a project, or an administrator, whose only token has grants.
func (w *world) restricted(name string, admin bool, grants auth.Grants, owned ...uuid.UUID) string {
	w.tb.Helper()
	u := w.user(name, admin)
	for _, project := range owned {
		w.member(project, u, rbac.RoleOwner)
	}
	text, err := json.Marshal(grants)
	w.must(err)
	w.exec(restrictTokens, u.ID, string(text))
	return u.secret
}

func (w *world) restrictedRobot(project uuid.UUID, grants auth.Grants) string {
	w.tb.Helper()
	secret, _, err := w.auth.CreateRobot(w.tb.Context(), auth.NewRobot{ProjectID: project, Name: "ci", Grants: &grants, CreatedBy: "test"})
	w.must(err)
	return secret
}

// capCase says what a holder may do: outcomes of pull, push and delete for each repository.
type capCase struct {
	secret string
	where  map[string]string
}

func (w *world) capCases() map[string]capCase {
	w.tb.Helper()
	mine := w.project("mine", rbac.StateActive, rbac.Private, true)
	other := w.project("other", rbac.StateActive, rbac.Private, true)
	w.project("public", rbac.StateActive, rbac.Public, true)
	w.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false)
	suspended := w.project("suspended", rbac.StateSuspended, rbac.Private, true)
	pull, push, remove := rbac.Pull, rbac.Push, rbac.Delete
	all := []rbac.Action{pull, push, remove}
	return map[string]capCase{
		"robot that only pushes": {w.restrictedRobot(mine, auth.Grants{Actions: []rbac.Action{push}}), map[string]string{
			"mine": "403 ok 403", "mine/app": "403 ok 403", "public/app": "403 403 403", "other/app": "404 404 404", "absent/app": "404 404 404",
		}},
		"robot that only pulls": {w.restrictedRobot(mine, auth.Grants{Actions: []rbac.Action{pull}}), map[string]string{
			"mine/app": "ok 403 403", "public/app": "ok 403 403", "other/app": "404 404 404",
		}},
		"robot for app/**": {w.restrictedRobot(mine, auth.Grants{Actions: []rbac.Action{pull, push}, Repositories: []string{"app/**"}, Tags: []string{"v*"}}), map[string]string{
			"mine": "403 403 403", "mine/app/web": "ok ok 403", "mine/app/web/deep": "ok ok 403", "mine/application": "403 403 403",
			"mine/other": "403 403 403", "public/app/web": "ok 403 403", "public/other": "403 403 403", "other/app/web": "404 404 404",
		}},
		"personal token that pulls": {w.restricted("ann", false, auth.Grants{Actions: []rbac.Action{pull}}, mine, other), map[string]string{
			"mine/app": "ok 403 403", "other/app": "ok 403 403", "absent/app": "404 404 404", "unclaimed/app": "404 404 404",
		}},
		"personal token for one project": {w.restricted("bea", false, auth.Grants{Actions: all, Projects: []uuid.UUID{mine}}, mine, other, suspended), map[string]string{
			"mine/app": "ok ok ok", "other/app": "404 404 404", other.String() + "/app": "404 404 404", "public/app": "403 403 403",
			"absent/app": "404 404 404", "unclaimed/app": "404 404 404", "suspended/app": "404 404 404",
		}},
		"personal token for another's project": {w.restricted("cid", false, auth.Grants{Actions: all, Projects: []uuid.UUID{other}}, mine), map[string]string{
			"mine/app": "404 404 404", "other/app": "404 404 404", "public/app": "403 403 403",
		}},
		"personal token for app/*": {w.restricted("dee", false, auth.Grants{Actions: []rbac.Action{push, remove}, Repositories: []string{"app/*"}}, mine), map[string]string{
			"mine/app/web": "403 ok ok", "mine/app/web/deep": "403 403 403", "absent/app/web": "404 ok 404", "absent/other": "404 404 404",
			"unclaimed/app/web": "404 ok 404",
		}},
		"administrator's token for one project": {w.restricted("root", true, auth.Grants{Actions: all, Projects: []uuid.UUID{mine}}), map[string]string{
			"mine/app": "ok ok ok", "other/app": "404 404 404", "suspended/app": "404 404 404", "absent/app": "404 404 404",
		}},
	}
}

// TestGrantsCapWhatThePolicyPermits asks about each action with the registry token, and with a bearer token of the
// widest scope.
func TestGrantsCapWhatThePolicyPermits(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		for who, c := range w.capCases() {
			for name, want := range c.where {
				wide := w.bearer(c.secret, "repository:"+name+":pull,push,delete")
				for how, id := range map[string]Identity{"registry token": w.basic(c.secret), "bearer token": wide} {
					for i, action := range []rbac.Action{rbac.Pull, rbac.Push, rbac.Delete} {
						_, err := w.Authorize(t.Context(), id, repo(t, name), action)
						if got, want := outcome(err), strings.Fields(want)[i]; got != want {
							t.Errorf("%s, %s, %s %s: got %s, want %s", who, how, action, name, got, want)
						}
					}
				}
			}
		}
	})
}

// TestThreat5GrantsSurviveTheExchange asks for everything everywhere at once: what the token endpoint grants of each
// repository is what the token may do there, and nothing of another one's.
func TestThreat5GrantsSurviveTheExchange(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		for who, c := range e.capCases() {
			scopes, want := []string{}, []string{}
			for name, outcomes := range c.where {
				if strings.HasPrefix(name, "absent/") {
					continue // a creator is granted what it may do afterwards
				}
				scopes = append(scopes, "repository:"+name+":*")
				var actions []string
				for i, outcome := range strings.Fields(outcomes) {
					if outcome == "ok" {
						actions = append(actions, scopeActions[i])
					}
				}
				if len(actions) > 0 {
					want = append(want, "repository:"+name+":"+strings.Join(actions, ","))
				}
			}
			slices.Sort(want)
			for how, r := range map[string]reply{
				"repeated": e.get(c.secret, pairsOf("scope", scopes)...),
				"joined":   e.get(c.secret, "scope", strings.Join(scopes, " ")),
				"posted":   e.post("grant_type", "password", "password", c.secret, "scope", strings.Join(scopes, " ")),
			} {
				got := strings.Fields(r.Scope)
				slices.Sort(got)
				if r.StatusCode != http.StatusOK || !slices.Equal(got, want) {
					t.Errorf("%s, %s: %d\ngot  %s\nwant %s", who, how, r.StatusCode, got, want)
				}
			}
		}
	})
}

func pairsOf(key string, values []string) []string {
	var pairs []string
	for _, value := range values {
		pairs = append(pairs, key, value)
	}
	return pairs
}

// A token that may not push to a project may not be given what it could do after having created it.
func TestGrantsCapWhatACreatorWillBeAllowed(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		mine := e.project("mine", rbac.StateActive, rbac.Private, true)
		all := []rbac.Action{rbac.Pull, rbac.Push, rbac.Delete}
		for name, tt := range map[string]struct {
			grants auth.Grants
			want   string
		}{
			"all":         {auth.Grants{Actions: all}, "repository:absent/app:pull,push,delete"},
			"push":        {auth.Grants{Actions: all[1:2]}, "repository:absent/app:push"},
			"pull":        {auth.Grants{Actions: all[:1]}, ""},
			"delete":      {auth.Grants{Actions: all[2:]}, ""},
			"elsewhere":   {auth.Grants{Actions: all, Repositories: []string{"other"}}, ""},
			"one project": {auth.Grants{Actions: all, Projects: []uuid.UUID{mine}}, ""},
		} {
			secret := e.restricted(strings.ReplaceAll(name, " ", "-"), false, tt.grants)
			if got := e.get(secret, "scope", "repository:absent/app:*").Scope; got != tt.want {
				t.Errorf("%s: %q, want %q", name, got, tt.want)
			}
		}
	})
}

func TestGrantsHoldForTheSourceOfAMount(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		mine := w.project("mine", rbac.StateActive, rbac.Private, true)
		other := w.project("other", rbac.StateActive, rbac.Private, true)
		both := []rbac.Action{rbac.Pull, rbac.Push}
		for name, tt := range map[string]struct {
			grants  auth.Grants
			sources map[string]bool
			within  bool
		}{
			"everything":     {auth.Grants{Actions: both}, map[string]bool{"mine/from": true, "other/from": true}, true},
			"push only":      {auth.Grants{Actions: both[1:]}, map[string]bool{"mine/from": false, "other/from": false}, false},
			"one project":    {auth.Grants{Actions: both, Projects: []uuid.UUID{mine}}, map[string]bool{"mine/from": true, "other/from": false}, true},
			"one repository": {auth.Grants{Actions: both, Repositories: []string{"to"}}, map[string]bool{"mine/from": false, "mine/to": true}, false},
		} {
			id := w.basic(w.restricted(strings.ReplaceAll(name, " ", "-"), false, tt.grants, mine, other))
			for from, want := range tt.sources {
				target, source, err := w.AuthorizeMount(t.Context(), id, repo(t, "mine/to"), repo(t, from))
				if err != nil || (source != nil) != want || target.MayMountWithin() != tt.within {
					t.Errorf("%s, from %s: source %t, within %t, %v", name, from, source != nil, target.MayMountWithin(), err)
				}
			}
		}
	})
}

func TestARestrictedTokenListsNoCatalog(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		mine := e.project("mine", rbac.StateActive, rbac.Private, true)
		pull := []rbac.Action{rbac.Pull}
		for name, tt := range map[string]struct {
			grants auth.Grants
			want   string
		}{
			"pull":        {auth.Grants{Actions: pull, Tags: []string{"v*"}}, "ok"},
			"push":        {auth.Grants{Actions: []rbac.Action{rbac.Push}}, "403"},
			"one project": {auth.Grants{Actions: pull, Projects: []uuid.UUID{mine}}, "403"},
			"some paths":  {auth.Grants{Actions: pull, Repositories: []string{"app"}}, "403"},
		} {
			secret := e.restricted(strings.ReplaceAll(name, " ", "-"), false, tt.grants, mine)
			if got := outcome(e.AuthorizeCatalog(e.basic(secret))); got != tt.want {
				t.Errorf("%s: %s, want %s", name, got, tt.want)
			}
			if got := outcome(e.AuthorizeCatalog(e.bearer(secret, "registry:catalog:*"))); got != tt.want {
				t.Errorf("%s, by bearer token: %s, want %s", name, got, tt.want)
			}
			if scope := e.get(secret, "scope", "registry:catalog:*").Scope; (scope != "") != (tt.want == "ok") {
				t.Errorf("%s: the token endpoint grants %q", name, scope)
			}
		}
	})
}

func TestARunnerTradesItsKeyForOneRepository(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		mine := e.project("mine", rbac.StateActive, rbac.Private, true)
		e.project("other", rbac.StateActive, rbac.Private, true)
		e.project("public", rbac.StateActive, rbac.Public, true)
		secret, token, err := e.auth.CreateRunner(t.Context(), auth.NewRunner{Name: "machine", CreatedBy: "test"})
		e.must(err)
		e.exec(insertGrant, mine, token.ID, "", true)
		for asked, want := range map[string]string{
			"repository:mine/a:pull repository:mine/b:pull":                            "repository:mine/a:pull",
			"repository:other/a:pull repository:mine/b:* repository:mine/c:pull":       "repository:mine/b:pull",
			"repository:public/a:pull repository:mine/a:pull":                          "repository:public/a:pull",
			"repository:mine/a:push repository:other/a:pull":                           "",
			"repository:mine/a:pull repository:mine/a:push":                            "repository:mine/a:pull",
			"repository:public/a:push repository:mine/a:pull repository:public/a:pull": "repository:public/a:pull",
		} {
			if got := e.get(secret, "scope", asked).Scope; got != want {
				t.Errorf("%s: %q, want %q", asked, got, want)
			}
		}
	})
}

// TestARunnerGetsATokenForAnUnclaimedProject has the scope of a pull by digest, which looks like that of any pull.
func TestARunnerGetsATokenForAnUnclaimedProject(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		project := e.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false)
		secret, token, err := e.auth.CreateRunner(t.Context(), auth.NewRunner{Name: "machine", CreatedBy: "test"})
		e.must(err)
		e.exec(insertGrant, project, token.ID, "app", false)
		granted, r := e.get(secret, "scope", "repository:unclaimed/app:pull"), repo(t, "unclaimed/app")
		id, err := e.Authenticate(bearerRequest(granted.Token))
		e.must(err)
		if _, err := e.AuthorizeExisting(t.Context(), id, r, true, rbac.Pull); err != nil {
			t.Errorf("by digest: %v", err)
		}
		if _, err := e.Authorize(t.Context(), id, r, rbac.Pull); err == nil {
			t.Error("what a tag names there, anybody may change")
		}
	})
}
