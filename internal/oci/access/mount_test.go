package access

import (
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/rbac"
)

func TestAuthorizeMount(t *testing.T) {
	t.Parallel()
	const both = `scope="repository:mine/to:pull,push repository:theirs/from:pull"`
	eachWorld(t, func(t *testing.T, w *world) {
		mine := w.project("mine", rbac.StateActive, rbac.Private, true)
		theirs := w.project("theirs", rbac.StateActive, rbac.Private, true)
		w.project("public", rbac.StateActive, rbac.Public, true)
		pusher, reader := w.user("pusher", false), w.user("reader", false)
		for _, u := range []user{pusher, reader} {
			w.member(mine, u, rbac.RoleDeveloper)
		}
		w.member(theirs, reader, rbac.RoleViewer)
		root := w.user("root", true)
		for name, tt := range map[string]struct {
			id        Identity
			from      string
			status    string // of the answer; ok: a decision
			challenge string
			source    bool
		}{
			"no token":                             {anonymousIdentity(), "theirs/from", "401", both, false},
			"no token, no such source":             {anonymousIdentity(), "absent/from", "401", `scope="repository:mine/to:pull,push repository:absent/from:pull"`, false},
			"may not push":                         {w.anyone("mine/to", "theirs/from"), "theirs/from", "401", both + `,error="insufficient_scope"`, false},
			"neither is in the scope":              {w.bearer(reader.secret), "theirs/from", "401", both + `,error="insufficient_scope"`, false},
			"the source is not in the scope":       {w.bearer(reader.secret, "repository:mine/to:pull,push"), "theirs/from", "401", both + `,error="insufficient_scope"`, false},
			"both are":                             {w.bearer(reader.secret, "repository:mine/to:pull,push repository:theirs/from:pull"), "theirs/from", "ok", "", true},
			"a registry token":                     {w.basic(reader.secret), "theirs/from", "ok", "", true},
			"may not pull the source":              {w.basic(pusher.secret), "theirs/from", "ok", "", false},
			"may not, with a wide token":           {w.bearer(pusher.secret, "repository:mine/to:pull,push repository:theirs/from:pull"), "theirs/from", "ok", "", false},
			"may not, with a narrow token":         {w.bearer(pusher.secret, "repository:mine/to:pull,push"), "theirs/from", "ok", "", false},
			"no such source":                       {w.bearer(pusher.secret, "repository:mine/to:pull,push"), "absent/from", "ok", "", false},
			"admin, no such source":                {w.bearer(root.secret, "repository:mine/to:pull,push"), "absent/from", "ok", "", false},
			"no such identifier":                   {w.basic(root.secret), uuid.NewString() + "/from", "ok", "", false},
			"public source, narrow token":          {w.bearer(pusher.secret, "repository:mine/to:pull,push"), "public/from", "401", `scope="repository:mine/to:pull,push repository:public/from:pull",error="insufficient_scope"`, false},
			"push to the source is not pulling it": {w.bearer(reader.secret, "repository:mine/to:pull,push repository:theirs/from:push"), "theirs/from", "401", both + `,error="insufficient_scope"`, false},
		} {
			target, source, err := w.AuthorizeMount(t.Context(), tt.id, repo(t, "mine/to"), repo(t, tt.from))
			want := ""
			if tt.challenge != "" {
				want = `Bearer realm="` + testRealm + `",service="` + testService + `",` + tt.challenge
			}
			got := ""
			if err != nil {
				challenge, parseErr := parseChallenge(answerTo(err).challenge)
				w.must(parseErr)
				challenge.ErrorDescription = ""
				got = challenge.String()
			}
			if outcome(err) != tt.status || got != want || (source != nil) != tt.source {
				t.Errorf("%s: %v, source %v\ngot  %s\nwant %s", name, err, source, got, want)
			}
			if err == nil && (target.Project.ID != mine || !target.Allows(rbac.Push)) {
				t.Errorf("%s: target %+v", name, target)
			}
			if source != nil && source.Project.ID != theirs {
				t.Errorf("%s: source %+v", name, source)
			}
		}
	})
}

func TestMayMountWithin(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		mine := w.project("mine", rbac.StateActive, rbac.Private, true)
		w.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false)
		ann := w.user("ann", false)
		w.member(mine, ann, rbac.RoleDeveloper)
		for name, tt := range map[string]struct {
			id   Identity
			to   string
			want bool
		}{
			"registry token":    {w.basic(ann.secret), "mine/to", true},
			"bearer token":      {w.bearer(ann.secret, "repository:mine/to:pull,push"), "mine/to", true},
			"robot that pushes": {w.basic(w.robot(mine, rbac.RoleDeveloper)), "mine/to", true},
			"unclaimed":         {w.basic(ann.secret), "unclaimed/to", false},
			"anonymous":         {w.anyone("unclaimed/to"), "unclaimed/to", false},
			"absent":            {w.basic(ann.secret), "absent/to", false},
		} {
			d, err := w.Authorize(t.Context(), tt.id, repo(t, tt.to), rbac.Push)
			w.must(err)
			if d.MayMountWithin() != tt.want {
				t.Errorf("%s: got %t", name, !tt.want)
			}
		}
		if (Decision{}).MayMountWithin() {
			t.Error("the zero Decision may")
		}
	})
}
