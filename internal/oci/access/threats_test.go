package access

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// verbs are what the handlers ask for, whatever the method and path: GET, HEAD, writes, deletes.
var verbs = [][]rbac.Action{{rbac.Pull}, {rbac.Pull, rbac.Push}, {rbac.Push}, {rbac.Delete}}

// TestThreatMountFromAForeignRepository: it is as if the source did not exist, so there is nothing to link.
func TestThreatMountFromAForeignRepository(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		w.project("theirs", rbac.StateActive, rbac.Private, true)
		w.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false)
		mine, ann := w.project("mine", rbac.StateActive, rbac.Private, true), w.user("ann", false)
		w.member(mine, ann, rbac.RoleOwner)
		wide := "repository:mine/to:* repository:theirs/from:* repository:unclaimed/from:* repository:absent/from:*"
		for who, id := range map[string]Identity{
			"owner": w.basic(ann.secret), "with a wide token": w.bearer(ann.secret, wide), "robot": w.basic(w.robot(mine, rbac.RoleDeveloper)),
		} {
			for _, from := range []string{"theirs/from", "unclaimed/from", "absent/from"} {
				target, source, err := w.AuthorizeMount(t.Context(), id, repo(t, "mine/to"), repo(t, from))
				if err != nil || source != nil || target.Project.ID != mine {
					t.Errorf("%s from %s: source %v, %v", who, from, source, err)
				}
			}
		}
	})
}

// TestThreatTokenFromBefore: a bearer token outlives what it was granted for, and is worth nothing then. A replica that
// has not heard of the change may allow a read for some seconds, and never commits a write.
func TestThreatTokenFromBefore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		who    string
		change string // ? is the project
		want   string // of a push on another replica, and on this one when its memory is over
		reads  bool   // whether the answer to a pull is the same
	}{
		"claim":       {"anonymous", `UPDATE projects SET state = 'active', epoch = epoch + 1 WHERE id = ?`, "401", true},
		"role loss":   {"developer", `DELETE FROM members WHERE project_id = ?`, "404", true},
		"demotion":    {"developer", `UPDATE members SET role = 'viewer' WHERE project_id = ?`, "403", false},
		"suspension":  {"developer", `UPDATE projects SET state = 'suspended', epoch = epoch + 1 WHERE id = ?`, "403", true},
		"revocation":  {"developer", `UPDATE tokens SET revoked_at = 1 WHERE id <> ?`, "401", true},
		"lock-out":    {"developer", `UPDATE users SET locked_at = 1 WHERE id <> ?`, "401", true},
		"robot's end": {"robot", `UPDATE tokens SET revoked_at = 1 WHERE project_id = ?`, "401", true},
		"deletion":    {"robot", `UPDATE projects SET state = 'deleted', slug = NULL, epoch = epoch + 1 WHERE id = ?`, "404", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWorld(t, func(t *testing.T, w *world) {
				project, raw := w.formerToken(tt.who)
				before, err := w.pushWith(raw)
				w.must(err)
				w.must(w.db.Gorm().Exec(tt.change, project).Error)

				if err := w.commit(t.Context(), before); !errors.Is(err, projects.ErrChanged) && !errors.Is(err, auth.ErrRevoked) && !errors.Is(err, projects.ErrRole) {
					t.Errorf("a decision from before is committed: %v", err)
				}
				w.clock.advance(cacheTTL)
				for where, replica := range map[string]*world{"here": w, "on another replica": w.replica()} {
					if _, err := replica.pushWith(raw); outcome(err) != tt.want {
						t.Errorf("push %s: got %v, want %s", where, err, tt.want)
					}
					if _, err := replica.with(raw, rbac.Pull); (outcome(err) == tt.want) != tt.reads {
						t.Errorf("pull %s: %v", where, err)
					}
				}
			})
		})
	}
}

// formerToken makes a project and a bearer token that may push to it.
func (w *world) formerToken(who string) (uuid.UUID, string) {
	w.tb.Helper()
	credential := anonymousIdentity().Credential
	if who == "anonymous" {
		return w.project("demo", rbac.StateUnclaimed, rbac.Private, false), w.jwt(credential, "repository:demo:*")
	}
	project := w.project("demo", rbac.StateActive, rbac.Private, true)
	if who == "robot" {
		return project, w.jwt(w.basic(w.robot(project, rbac.RoleDeveloper)).Credential, "repository:demo:*")
	}
	u := w.user("ann", false)
	w.member(project, u, rbac.Role(who))
	return project, w.jwt(w.basic(u.secret).Credential, "repository:demo:*")
}

func (w *world) jwt(credential auth.Credential, scopes ...string) string {
	w.tb.Helper()
	parsed, err := ParseScopes(scopes...)
	w.must(err)
	raw, _, _, err := w.auth.IssueJWT(w.tb.Context(), credential, accessOf(parsed))
	w.must(err)
	return raw
}

func (w *world) with(raw string, actions ...rbac.Action) (Decision, error) {
	id, err := w.Authenticate(bearerRequest(raw))
	if err != nil {
		return Decision{}, err
	}
	return w.Authorize(w.tb.Context(), id, repo(w.tb, "demo"), actions...)
}

func (w *world) pushWith(raw string) (Decision, error) { return w.with(raw, rbac.Push) }

// TestThreatProjectMadeAnewUnderTheSameName: neither the members nor the robots of the old one get into the new one.
func TestThreatProjectMadeAnewUnderTheSameName(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"owner", "robot"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			eachWorld(t, func(t *testing.T, w *world) {
				project, raw := w.formerToken(who)
				before, err := w.pushWith(raw)
				w.must(err)
				w.must(w.db.Gorm().Exec(`UPDATE projects SET state = 'deleted', slug = NULL, epoch = epoch + 1 WHERE id = ?`, project).Error)
				other := w.user("other", false)
				w.exec(insertProject, uuid.Must(uuid.NewV7()), uuid.NullUUID{UUID: other.AccountID, Valid: true}, "demo", "active", "private", "")

				if err := w.commit(t.Context(), before); !errors.Is(err, projects.ErrChanged) {
					t.Errorf("a decision from before: %v", err)
				}
				w.clock.advance(cacheTTL)
				for _, replica := range []*world{w, w.replica()} {
					for _, verb := range verbs {
						if _, err := replica.with(raw, verb...); outcome(err) != "404" {
							t.Errorf("%v: %v", verb, err)
						}
					}
				}
			})
		})
	}
}

// TestThreatPrivateContentReadAnonymously: no verb gets through, whatever the token says.
func TestThreatPrivateContentReadAnonymously(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		private := w.project("private", rbac.StateActive, rbac.Private, true)
		for _, name := range []string{"private/app", private.String() + "/app"} {
			for who, id := range map[string]Identity{"no token": anonymousIdentity(), "wide token": w.anyone(name)} {
				for _, verb := range verbs {
					_, err := w.Authorize(t.Context(), id, repo(t, name), verb...)
					_, errByDigest := w.AuthorizeExisting(t.Context(), id, repo(t, name), true, verb...)
					if outcome(err) != "401" || outcome(errByDigest) != "401" {
						t.Errorf("%s, %s, %v: %v, by digest %v", who, name, verb, err, errByDigest)
					}
				}
			}
			if _, source, err := w.AuthorizeMount(t.Context(), w.anyone(name, "absent"), repo(t, "absent"), repo(t, name)); err != nil || source != nil {
				t.Errorf("mount: source %v, %v", source, err)
			}
		}
	})
}

// TestThreatScopeWidenedByTheExchange: a token that may only pull gives bearer tokens that may only pull, the scopes of
// several repositories stay apart, and a bearer token is not traded for a wider one.
func TestThreatScopeWidenedByTheExchange(t *testing.T) {
	t.Parallel()
	eachEndpoint(t, func(t *testing.T, e *endpoint) {
		project := e.project("demo", rbac.StateActive, rbac.Private, true)
		got := e.get(e.robot(project, rbac.RoleViewer), "scope", "repository:demo/app:*")
		if got.Scope != "repository:demo/app:pull" {
			t.Errorf("a robot that may pull was granted %s", got.Scope)
		}
		if _, err := e.Authenticate(basicRequest(got.Token)); outcome(err) != "401" {
			t.Errorf("a bearer token as a password: %v", err)
		}

		ann := e.user("ann", false)
		e.member(project, ann, rbac.RoleOwner)
		two := e.get(ann.secret, "scope", "repository:demo/a:pull repository:demo/b:push,delete", "scope", "repository:demo:pull")
		id, err := e.Authenticate(bearerRequest(two.Token))
		e.must(err)
		for name, want := range map[string]string{
			"demo/a": "ok 401 401", "demo/b": "401 ok ok", "demo": "ok 401 401", "demo/a/b": "401 401 401", "demo/c": "401 401 401",
		} {
			for i, action := range []rbac.Action{rbac.Pull, rbac.Push, rbac.Delete} {
				_, err := e.Authorize(t.Context(), id, repo(t, name), action)
				if want := strings.Fields(want)[i]; outcome(err) != want {
					t.Errorf("%s %s: %v, want %s", action, name, err, want)
				}
			}
		}
	})
}

// TestThreatOneKindReplayedAsAnother covers what this package decides: where each kind of secret is taken at all. That a
// bearer token is well-made is for package auth.
func TestThreatOneKindReplayedAsAnother(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann := w.user("ann", false)
		credential := w.basic(ann.secret).Credential
		raw := w.jwt(credential, "repository:demo:*")
		elsewhere, err := auth.NewService(w.db, auth.Options{Clock: w.clock.Now, Issuer: testService, Service: "another.example"})
		w.must(err)
		foreign, _, _, err := elsewhere.IssueJWT(t.Context(), credential, nil)
		w.must(err)
		for name, header := range map[string]string{
			"a bearer token as Basic":           "Basic " + encode("x:"+raw),
			"a registry token as Bearer":        "Bearer " + ann.secret,
			"a bearer token of another service": "Bearer " + foreign,
			"two bearer tokens in one header":   "Bearer " + raw + ", Bearer " + raw,
		} {
			if _, err := w.Authenticate(withHeader(header)); outcome(err) != "401" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestThreatExistenceTold: every answer about a project that the caller may not see is, byte for byte, the answer about
// one that does not exist. That a push may create a project, and so tells whether its name is free, cannot be hidden.
func TestThreatExistenceTold(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		hidden := w.project("hidden", rbac.StateActive, rbac.Private, true)
		w.project("quashed", rbac.StateSuspended, rbac.Private, true)
		gone := w.project("gone", rbac.StateDeleted, rbac.Public, true)
		home := w.project("home", rbac.StateActive, rbac.Private, true)
		absentID := uuid.Must(uuid.NewV7()).String()
		user := w.user("ann", false).secret
		robot := w.robot(home, rbac.RoleDeveloper)
		names := []string{"hidden/app", "quashed/app", hidden.String() + "/app", gone.String() + "/app", "absent/app", absentID + "/app"}
		all := "repository:" + strings.Join(names, ":* repository:") + ":*"
		for who, id := range map[string]Identity{
			"no token": anonymousIdentity(), "anonymous": w.bearer("", all), "anonymous, narrow": w.bearer(""),
			"user": w.basic(user), "user, bearer": w.bearer(user, all), "user, narrow": w.bearer(user),
			"robot": w.basic(robot), "robot, bearer": w.bearer(robot, all),
		} {
			for _, verb := range verbs {
				reference := ""
				for _, name := range names {
					_, err := w.AuthorizeExisting(t.Context(), id, repo(t, name), false, verb...)
					if strings.HasPrefix(name, "absent/") && who == "anonymous" && errors.Is(err, ocierr.NameUnknown) {
						continue // its token's scope takes in a push that may create this one
					}
					got := strings.ReplaceAll(answerTo(err).all, name, "<name>")
					if err == nil || reference != "" && got != reference {
						t.Errorf("%s, %v, %s: got %s\nwant %s", who, verb, name, got, reference)
					}
					reference = got
				}
			}
		}
	})
}
