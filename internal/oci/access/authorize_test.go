package access

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/rbac"
)

// rights is the whole table: who gets what for pull, push and delete in a project of each kind.
// ok is a decision, any other word the status of the answer.
var rights = []struct {
	who   string
	where map[string]string
}{
	{"anonymous", map[string]string{
		"absent": "401 ok 401", "unclaimed": "401 ok 401", "private": "401 401 401", "public": "ok 401 401", "deleted": "401 401 401",
		"suspended-private": "401 401 401", "suspended-public": "401 403 403", "suspended-unclaimed": "401 403 403",
	}},
	{"user", map[string]string{
		"absent": "404 ok 404", "unclaimed": "404 ok 404", "private": "404 404 404", "public": "ok 403 403", "deleted": "404 404 404",
		"suspended-private": "404 404 404", "suspended-public": "403 403 403", "suspended-unclaimed": "403 403 403",
	}},
	{"viewer", map[string]string{
		"private": "ok 403 403", "public": "ok 403 403", "suspended-private": "403 403 403", "suspended-public": "403 403 403",
		"deleted": "404 404 404",
	}},
	{"developer", map[string]string{
		"private": "ok ok 403", "public": "ok ok 403", "suspended-private": "403 403 403", "suspended-public": "403 403 403",
		"deleted": "404 404 404",
	}},
	{"maintainer", map[string]string{
		"private": "ok ok ok", "public": "ok ok ok", "suspended-private": "403 403 403", "suspended-public": "403 403 403",
		"deleted": "404 404 404",
	}},
	{"owner", map[string]string{
		"private": "ok ok ok", "public": "ok ok ok", "suspended-private": "403 403 403", "suspended-public": "403 403 403",
		"deleted": "404 404 404",
	}},
	{"robot-developer", map[string]string{
		"private": "ok ok 403", "public": "ok ok 403", "suspended-private": "403 403 403", "suspended-public": "403 403 403",
		"deleted": "404 404 404",
	}},
	{"robot-viewer", map[string]string{
		"private": "ok 403 403", "public": "ok 403 403", "suspended-private": "403 403 403", "suspended-public": "403 403 403",
		"deleted": "404 404 404",
	}},
	{"robot-elsewhere", map[string]string{
		"absent": "404 404 404", "unclaimed": "404 404 404", "private": "404 404 404", "public": "ok 403 403",
		"suspended-private": "404 404 404", "suspended-public": "403 403 403", "suspended-unclaimed": "404 404 404",
	}},
	{"runner", map[string]string{
		"absent": "404 404 404", "unclaimed": "404 404 404", "private": "404 404 404", "public": "ok 403 403",
		"suspended-private": "404 404 404", "suspended-public": "403 403 403", "suspended-unclaimed": "404 404 404",
	}},
	{"runner-granted", map[string]string{
		"unclaimed": "403 403 403", "private": "ok 403 403", "public": "ok 403 403",
		"suspended-private": "403 403 403", "suspended-public": "403 403 403", "deleted": "404 404 404",
	}},
	{"admin", map[string]string{
		"absent": "ok ok 404", "unclaimed": "ok ok ok", "private": "ok ok ok", "public": "ok ok ok", "deleted": "404 404 404",
		"suspended-private": "ok 403 403", "suspended-public": "ok 403 403", "suspended-unclaimed": "ok 403 403",
	}},
}

func TestRightsTable(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		places := w.places()
		for _, row := range rights {
			for kind, want := range row.where {
				id := w.caller(row.who, kind, places[kind])
				for i, action := range []rbac.Action{rbac.Pull, rbac.Push, rbac.Delete} {
					_, err := w.Authorize(t.Context(), id, nameOf(kind, places[kind]), action)
					if got, want := outcome(err), strings.Fields(want)[i]; got != want {
						t.Errorf("%s, %s, %s: got %s (%v), want %s", row.who, kind, action, got, err, want)
					}
				}
			}
		}
	})
}

// places makes a project of each kind; one that is absent has no ID.
func (w *world) places() map[string]uuid.UUID {
	w.tb.Helper()
	return map[string]uuid.UUID{
		"absent":              uuid.Nil,
		"unclaimed":           w.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false),
		"private":             w.project("private", rbac.StateActive, rbac.Private, true),
		"public":              w.project("public", rbac.StateActive, rbac.Public, true),
		"suspended-private":   w.project("suspended-private", rbac.StateSuspended, rbac.Private, true),
		"suspended-public":    w.project("suspended-public", rbac.StateSuspended, rbac.Public, true),
		"suspended-unclaimed": w.project("suspended-unclaimed", rbac.StateSuspended, rbac.Private, false),
		"deleted":             w.project("deleted", rbac.StateDeleted, rbac.Public, true),
	}
}

// nameOf names a deleted project by its identifier: its slug would be free.
func nameOf(kind string, project uuid.UUID) Repo {
	if kind == "deleted" {
		return Repo{Segment: project.String(), Path: "app"}
	}
	return Repo{Segment: kind, Path: "app"}
}

// caller signs somebody in who is who in one project.
func (w *world) caller(who, kind string, project uuid.UUID) Identity {
	w.tb.Helper()
	name := who + "-of-" + kind
	switch who {
	case "anonymous":
		return w.anyone(nameOf(kind, project).Name())
	case "robot-developer", "robot-viewer":
		return w.basic(w.robot(project, rbac.Role(strings.TrimPrefix(who, "robot-"))))
	case "robot-elsewhere":
		return w.basic(w.robot(w.project("home-"+kind, rbac.StateActive, rbac.Private, true), rbac.RoleDeveloper))
	case "runner", "runner-granted":
		secret, token, err := w.auth.CreateRunner(w.tb.Context(), auth.NewRunner{Name: "machine", CreatedBy: "test"})
		w.must(err)
		if who == "runner-granted" {
			w.exec(insertGrant, project, token.ID, "", true)
		}
		return w.basic(secret)
	}
	u := w.user(name, who == "admin")
	if who != "user" && who != "admin" {
		w.member(project, u, rbac.Role(who))
	}
	return w.basic(u.secret)
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return strconv.Itoa(answerTo(err).status)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	const bare = `Bearer realm="` + testRealm + `",service="` + testService + `"`
	insufficient := func(scope string) string {
		return bare + `,scope="` + scope + `",error="insufficient_scope",error_description="the token does not allow this"`
	}
	eachWorld(t, func(t *testing.T, w *world) {
		private := w.project("private", rbac.StateActive, rbac.Private, true)
		w.project("suspended", rbac.StateSuspended, rbac.Public, true)
		viewer, owner, stranger := w.user("viewer", false), w.user("owner", false), w.user("stranger", false)
		w.member(private, viewer, rbac.RoleViewer)
		w.member(private, owner, rbac.RoleOwner)

		const nothing = ""
		tests := map[string]struct {
			id        Identity
			name      string
			actions   []rbac.Action
			status    int
			code      string
			challenge string
		}{
			"no token, pull": {
				anonymousIdentity(), "private/app", []rbac.Action{rbac.Pull},
				401, "UNAUTHORIZED", bare + `,scope="repository:private/app:pull"`,
			},
			"no token, push": {
				anonymousIdentity(), "private/app", []rbac.Action{rbac.Push},
				401, "UNAUTHORIZED", bare + `,scope="repository:private/app:pull,push"`,
			},
			"no token, delete": {
				anonymousIdentity(), "private/app", []rbac.Action{rbac.Delete},
				401, "UNAUTHORIZED", bare + `,scope="repository:private/app:delete"`,
			},
			"no token, head": {
				anonymousIdentity(), "private/app", []rbac.Action{rbac.Pull, rbac.Push},
				401, "UNAUTHORIZED", bare + `,scope="repository:private/app:pull,push"`,
			},
			"scope lacks pull":   {w.bearer(owner.secret), "private/app", []rbac.Action{rbac.Pull}, 401, "UNAUTHORIZED", insufficient("repository:private/app:pull")},
			"scope lacks push":   {w.bearer(owner.secret, "repository:private/app:pull"), "private/app", []rbac.Action{rbac.Push}, 401, "UNAUTHORIZED", insufficient("repository:private/app:pull,push")},
			"scope lacks delete": {w.bearer(owner.secret, "repository:private/app:pull,push"), "private/app", []rbac.Action{rbac.Delete}, 401, "UNAUTHORIZED", insufficient("repository:private/app:delete")},
			"the scope is of another repository": {
				w.bearer(owner.secret, "repository:private/app2:*"), "private/app", []rbac.Action{rbac.Pull},
				401, "UNAUTHORIZED", insufficient("repository:private/app:pull"),
			},
			"the scope names the slug, the request the identifier": {
				w.bearer(owner.secret, "repository:private/app:*"), private.String() + "/app", []rbac.Action{rbac.Pull},
				401, "UNAUTHORIZED", insufficient("repository:" + private.String() + "/app:pull"),
			},
			"anonymous, denied": {w.anyone("private/app"), "private/app", []rbac.Action{rbac.Pull}, 401, "UNAUTHORIZED", insufficient("repository:private/app:pull")},
			"member, denied":    {w.basic(viewer.secret), "private/app", []rbac.Action{rbac.Push}, 403, "DENIED", nothing},
			"a wider token would not help": {
				w.bearer(viewer.secret, "repository:private/app:pull"), "private/app", []rbac.Action{rbac.Push}, 403, "DENIED", nothing,
			},
			"stranger, denied":           {w.basic(stranger.secret), "private/app", []rbac.Action{rbac.Pull}, 404, "NAME_UNKNOWN", nothing},
			"stranger, narrowed, denied": {w.bearer(stranger.secret), "private/app", []rbac.Action{rbac.Pull}, 404, "NAME_UNKNOWN", nothing},
			"absent identifier":          {w.basic(stranger.secret), uuid.NewString(), []rbac.Action{rbac.Push}, 404, "NAME_UNKNOWN", nothing},
			"suspended":                  {w.basic(stranger.secret), "suspended", []rbac.Action{rbac.Push}, 403, "DENIED", nothing},
			"head of what a push would create, with nothing": {
				w.bearer(""), "absent", []rbac.Action{rbac.Pull, rbac.Push}, 401, "UNAUTHORIZED", insufficient("repository:absent:pull,push"),
			},
			"anonymous, head, denied": {
				w.anyone("private/app"), "private/app", []rbac.Action{rbac.Pull, rbac.Push}, 401, "UNAUTHORIZED", insufficient("repository:private/app:pull,push"),
			},
			"head of what does not exist, with pull": {
				w.bearer(owner.secret, "repository:absent:pull"), "absent", []rbac.Action{rbac.Pull, rbac.Push}, 404, "NAME_UNKNOWN", nothing,
			},
		}
		for name, tt := range tests {
			_, err := w.Authorize(t.Context(), tt.id, repo(t, tt.name), tt.actions...)
			got := answerTo(err)
			if got.status != tt.status || got.code != tt.code || got.challenge != tt.challenge {
				t.Errorf("%s: got %d %s\n%s\nwant %d %s\n%s", name, got.status, got.code, got.challenge, tt.status, tt.code, tt.challenge)
			}
			if told := strings.Contains(got.all, "suspended: unpaid"); told != (name == "suspended") {
				t.Errorf("%s: tells the reason of a suspension: %t", name, told)
			}
		}
	})
}

func TestDecisionTellsWhatWasGranted(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		public := w.project("public", rbac.StateActive, rbac.Public, true)
		developer, stranger := w.user("developer", false), w.user("stranger", false)
		w.member(public, developer, rbac.RoleDeveloper)
		both := "repository:public/app:pull,push"
		for name, tt := range map[string]struct {
			id         Identity
			pull, push bool
		}{
			"stranger":                      {w.basic(stranger.secret), true, false},
			"stranger with a wide token":    {w.bearer(stranger.secret, both), true, false},
			"developer":                     {w.basic(developer.secret), true, true},
			"developer with a wide token":   {w.bearer(developer.secret, both), true, true},
			"developer with a pull token":   {w.bearer(developer.secret, "repository:public/app:pull"), true, false},
			"developer with a push token":   {w.bearer(developer.secret, "repository:public/app:push"), false, true},
			"anonymous with a wide token":   {w.bearer("", both), true, false},
			"admin, who has no role at all": {w.basic(w.user("admin", true).secret), true, true},
		} {
			d, err := w.Authorize(t.Context(), tt.id, repo(t, "public/app"), rbac.Pull, rbac.Push)
			if err != nil || d.Allows(rbac.Pull) != tt.pull || d.Allows(rbac.Push) != tt.push || d.Allows(rbac.Delete) {
				t.Errorf("%s: granted %v, %v", name, d.granted, err)
			}
			if d.Project.ID != public || d.Project.Epoch != 1 || d.Principal != tt.id.Credential.Principal {
				t.Errorf("%s: %+v", name, d)
			}
		}
	})
}

func TestRunnersPullByDigestFromUnclaimedProjects(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		project := w.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false)
		secret, token, err := w.auth.CreateRunner(t.Context(), auth.NewRunner{Name: "machine", CreatedBy: "test"})
		w.must(err)
		w.exec(insertGrant, project, token.ID, "app", false)
		id := w.basic(secret)
		for name, want := range map[string]string{"unclaimed/app": "ok", "unclaimed/app/web": "404", "unclaimed": "404"} {
			_, err := w.AuthorizeExisting(t.Context(), id, repo(t, name), true, rbac.Pull)
			if got := outcome(err); got != want {
				t.Errorf("%s by digest: got %s, want %s", name, got, want)
			}
		}
		if _, err := w.Authorize(t.Context(), id, repo(t, "unclaimed/app"), rbac.Pull); outcome(err) != "403" {
			t.Errorf("by tag: %v", err)
		}
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		got := answerTo(w.Ping(anonymousIdentity()))
		if want := `Bearer realm="` + testRealm + `",service="` + testService + `"`; got.status != 401 || got.challenge != want {
			t.Errorf("without a token: %d %s", got.status, got.challenge)
		}
		for name, id := range map[string]Identity{
			"anonymous": w.bearer(""), "no scopes": w.bearer(w.user("ann", false).secret), "Basic": w.basic(w.user("bob", false).secret),
		} {
			if err := w.Ping(id); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAuthorizeCatalog(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann := w.user("ann", false)
		for name, tt := range map[string]struct {
			id   Identity
			want string
		}{
			"no token":                  {anonymousIdentity(), `scope="registry:catalog:*"`},
			"anonymous":                 {w.bearer("", "registry:catalog:*"), `scope="registry:catalog:*",error="insufficient_scope"`},
			"without the scope":         {w.bearer(ann.secret), `scope="registry:catalog:*",error="insufficient_scope"`},
			"a repository of that name": {w.bearer(ann.secret, "repository:catalog:*"), `scope="registry:catalog:*",error="insufficient_scope"`},
			"with the scope":            {w.bearer(ann.secret, "registry:catalog:*"), ""},
			"with the registry token":   {w.basic(ann.secret), ""},
			"with a robot's":            {w.basic(w.robot(w.project("demo", rbac.StateActive, rbac.Private, true), rbac.RoleViewer)), ""},
		} {
			err := w.AuthorizeCatalog(tt.id)
			if tt.want == "" != (err == nil) || err != nil && !strings.Contains(answerTo(err).challenge, tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
