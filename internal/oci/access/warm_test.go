package access

import (
	"net/http"
	"testing"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/rbac"
)

// warmCase is a request whose caller and project have been seen a moment ago.
type warmCase struct {
	request *http.Request
	name    string
	actions []rbac.Action
}

func (w *world) warmCases() map[string]warmCase {
	w.tb.Helper()
	private := w.project("private", rbac.StateActive, rbac.Private, true)
	w.project("public", rbac.StateActive, rbac.Public, true)
	w.project("unclaimed", rbac.StateUnclaimed, rbac.Private, false)
	developer, stranger, root := w.user("developer", false), w.user("stranger", false), w.user("root", true)
	w.member(private, developer, rbac.RoleDeveloper)
	pushing := []rbac.Action{rbac.Push}
	return map[string]warmCase{
		"developer pulls":      {bearerRequest(w.jwt(w.basic(developer.secret).Credential, "repository:private/app:pull,push")), "private/app", []rbac.Action{rbac.Pull}},
		"developer pushes":     {bearerRequest(w.jwt(w.basic(developer.secret).Credential, "repository:private/app:pull,push")), "private/app", pushing},
		"developer looks":      {basicRequest(developer.secret), "private/app", []rbac.Action{rbac.Pull, rbac.Push}},
		"robot pushes":         {basicRequest(w.robot(private, rbac.RoleDeveloper)), "private/app", pushing},
		"admin deletes":        {basicRequest(root.secret), "private/app", []rbac.Action{rbac.Delete}},
		"anonymous pulls":      {bearerRequest(w.jwt(anonymousIdentity().Credential, "repository:public/app:pull")), "public/app", []rbac.Action{rbac.Pull}},
		"anonymous pushes":     {bearerRequest(w.jwt(anonymousIdentity().Credential, "repository:unclaimed/app:push")), "unclaimed/app", pushing},
		"stranger pulls":       {bearerRequest(w.jwt(w.basic(stranger.secret).Credential, "repository:public/app:pull")), "public/app", []rbac.Action{rbac.Pull}},
		"stranger looks":       {bearerRequest(w.jwt(w.basic(stranger.secret).Credential, "repository:public/app:pull")), "public/app", []rbac.Action{rbac.Pull, rbac.Push}},
		"user pushes unowned":  {basicRequest(stranger.secret), "unclaimed/app", pushing},
		"by identifier, pulls": {basicRequest(developer.secret), private.String() + "/app", []rbac.Action{rbac.Pull}},
	}
}

func (w *world) handle(c warmCase, r Repo) error {
	id, err := w.Authenticate(c.request)
	if err != nil {
		return err
	}
	_, err = w.Authorize(c.request.Context(), id, r, c.actions...)
	return err
}

func TestAWarmDecisionAsksTheDatabaseNothing(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		for name, c := range w.warmCases() {
			w.must(w.handle(c, repo(t, c.name)))
			before := w.db.Trips()
			w.must(w.handle(c, repo(t, c.name)))
			if trips := w.db.Trips() - before; trips != 0 {
				t.Errorf("%s: %d round trips", name, trips)
			}
		}
	})
}

func BenchmarkWarmDecision(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	for name, c := range w.warmCases() {
		b.Run(name, func(b *testing.B) {
			r := repo(b, c.name)
			b.ReportAllocs()
			for b.Loop() {
				if err := w.handle(c, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGuard(b *testing.B) {
	dbtest.EachBenchmark(b, func(b *testing.B, db *database.DB) {
		w := newWorld(b, db)
		d := w.guardedMember(rbac.RoleDeveloper, rbac.Push).decision
		for b.Loop() {
			var batch database.Batch
			d.Guard.Require(&batch)
			w.must(db.Run(b.Context(), &batch))
		}
	})
}
