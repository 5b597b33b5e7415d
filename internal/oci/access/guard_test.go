package access

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// change is what happens between a decision and its commit: one statement about the project, token or user of a case.
type change struct {
	sql  string
	want error // of the guard
}

// changes lists them by their subject, whose identifier ? stands for.
var changes = map[string]map[string]change{
	"project": {
		"suspension":       {`UPDATE projects SET state = 'suspended', epoch = epoch + 1 WHERE id = ?`, projects.ErrChanged},
		"state only":       {`UPDATE projects SET state = 'suspended' WHERE id = ?`, projects.ErrChanged},
		"epoch only":       {`UPDATE projects SET epoch = epoch + 1 WHERE id = ?`, projects.ErrChanged},
		"deletion":         {`UPDATE projects SET state = 'deleted', slug = NULL, epoch = epoch + 1 WHERE id = ?`, projects.ErrChanged},
		"visibility":       {`UPDATE projects SET visibility = 'public' WHERE id = ?`, nil},
		"change of a slug": {`UPDATE projects SET slug = 'another' WHERE id = ?`, nil},
	},
	"unclaimed": {
		"claim":                   {`UPDATE projects SET state = 'active', epoch = epoch + 1 WHERE id = ?`, projects.ErrChanged},
		"claim that forgot epoch": {`UPDATE projects SET state = 'active' WHERE id = ?`, projects.ErrChanged},
	},
	"token": {
		"revocation":     {`UPDATE tokens SET revoked_at = 1 WHERE id = ?`, auth.ErrRevoked},
		"expiry":         {`UPDATE tokens SET expires_at = 1 WHERE id = ?`, auth.ErrRevoked},
		"expiry to come": {`UPDATE tokens SET expires_at = 99999999999999999 WHERE id = ?`, nil},
		"use":            {`UPDATE tokens SET last_used_at = 1 WHERE id = ?`, nil},
	},
	"user": {
		"lock-out": {`UPDATE users SET locked_at = 1 WHERE id = ?`, auth.ErrRevoked},
		"rename":   {`UPDATE users SET name = 'x' WHERE id = ?`, nil},
	},
	"member": {
		"expulsion": {`DELETE FROM members WHERE user_id = ?`, projects.ErrRole},
		"demotion":  {`UPDATE members SET role = 'viewer' WHERE user_id = ?`, projects.ErrRole},
		"promotion": {`UPDATE members SET role = 'owner' WHERE user_id = ?`, nil},
	},
	"admin": {
		"demotion of an admin": {`UPDATE users SET admin = (1 = 0) WHERE id = ?`, auth.ErrNotAdmin},
	},
	"robot": {
		"robot turned runner": {`UPDATE tokens SET project_id = NULL, kind = 'runner' WHERE id = ?`, auth.ErrRevoked},
	},
}

// guarded is a decision about to be committed, and the subjects of changes that matter to it.
type guarded struct {
	decision Decision
	subjects map[string]uuid.UUID
}

// guardedCases makes one caller of each kind with a permission to write to a project.
var guardedCases = map[string]func(w *world) guarded{
	"anonymous": func(w *world) guarded {
		project := w.project("demo", rbac.StateUnclaimed, rbac.Private, false)
		return guarded{w.allowed(w.anyone("demo"), rbac.Push), map[string]uuid.UUID{
			"project": project, "unclaimed": project,
		}}
	},
	"user of an unclaimed project": func(w *world) guarded {
		project, ann := w.project("demo", rbac.StateUnclaimed, rbac.Private, false), w.user("ann", false)
		return guarded{w.allowed(w.basic(ann.secret), rbac.Push), map[string]uuid.UUID{
			"project": project, "unclaimed": project, "token": ann.token.ID, "user": ann.ID,
		}}
	},
	"developer": func(w *world) guarded {
		return w.guardedMember(rbac.RoleDeveloper, rbac.Push)
	},
	"maintainer": func(w *world) guarded {
		return w.guardedMember(rbac.RoleMaintainer, rbac.Delete)
	},
	"admin": func(w *world) guarded {
		project, root := w.project("demo", rbac.StateActive, rbac.Private, true), w.user("root", true)
		return guarded{w.allowed(w.basic(root.secret), rbac.Delete), map[string]uuid.UUID{
			"project": project, "token": root.token.ID, "user": root.ID, "admin": root.ID,
		}}
	},
	"robot": func(w *world) guarded {
		project := w.project("demo", rbac.StateActive, rbac.Private, true)
		id := w.basic(w.robot(project, rbac.RoleDeveloper))
		return guarded{w.allowed(id, rbac.Push), map[string]uuid.UUID{
			"project": project, "token": id.Credential.TokenID, "robot": id.Credential.TokenID,
		}}
	},
}

func (w *world) guardedMember(role rbac.Role, action rbac.Action) guarded {
	project, ann := w.project("demo", rbac.StateActive, rbac.Private, true), w.user("ann", false)
	w.member(project, ann, role)
	return guarded{w.allowed(w.basic(ann.secret), action), map[string]uuid.UUID{
		"project": project, "token": ann.token.ID, "user": ann.ID, "member": ann.ID,
	}}
}

func (w *world) allowed(id Identity, action rbac.Action) Decision {
	w.tb.Helper()
	d, err := w.Authorize(w.tb.Context(), id, repo(w.tb, "demo"), action)
	w.must(err)
	return d
}

// commit does the guarded write of a decision, and tells whether it was done.
func (w *world) commit(ctx context.Context, d Decision) error {
	account := uuid.Must(uuid.NewV7())
	var b database.Batch
	d.Guard.Require(&b)
	b.Exec(insertAccount, account)
	err := w.db.Run(ctx, &b)
	var n int
	w.must(w.db.QueryRow(ctx, countAccount, account).Scan(&n))
	if (n == 1) != (err == nil) {
		w.tb.Errorf("%d rows were written, and the error is %v", n, err)
	}
	return err
}

var (
	insertAccount = database.SQL(`INSERT INTO accounts (id, kind, name, created_at) VALUES ($1, 'personal', 'x', 0)`)
	countAccount  = database.SQL(`SELECT count(*) FROM accounts WHERE id = $1`)
)

// TestGuardSeesChanges and its concurrent twin share the cases.
func TestGuardSeesChanges(t *testing.T) {
	t.Parallel()
	forEachChange(t, func(t *testing.T, w *world, d Decision, c change, id uuid.UUID) {
		if err := w.commit(t.Context(), d); err != nil {
			t.Fatalf("before the change: %v", err)
		}
		w.must(w.db.Gorm().Exec(c.sql, id).Error)
		if err := w.commit(t.Context(), d); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	})
}

// TestGuardWaitsForChangesUnderWay starts the commit while the change is made and not yet committed.
func TestGuardWaitsForChangesUnderWay(t *testing.T) {
	t.Parallel()
	forEachChange(t, func(t *testing.T, w *world, d Decision, c change, id uuid.UUID) {
		tx := w.db.Gorm().Begin()
		w.must(tx.Exec(c.sql, id).Error)
		done := make(chan error, 1)
		go func() { done <- w.commit(context.WithoutCancel(t.Context()), d) }()
		if w.db.Dialect() == database.Postgres && c.want != nil {
			w.awaitLockWait(done)
		}
		w.must(tx.Commit().Error)
		if err := <-done; !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	})
}

var countLockWaits = database.SQL(`
	SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)

// awaitLockWait returns when a statement waits for a row that a transaction has changed.
func (w *world) awaitLockWait(done <-chan error) {
	w.tb.Helper()
	for n := 0; n == 0; {
		if len(done) > 0 {
			w.tb.Error("the commit did not wait")
			return
		}
		w.must(w.db.QueryRow(w.tb.Context(), countLockWaits).Scan(&n))
	}
}

func forEachChange(t *testing.T, f func(t *testing.T, w *world, d Decision, c change, id uuid.UUID)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		for who, makeCase := range guardedCases {
			for subject := range makeCase(cleared(t, db)).subjects {
				for name, c := range changes[subject] {
					t.Run(who+"/"+name, func(t *testing.T) {
						w := cleared(t, db)
						g := makeCase(w)
						f(t, w, g.decision, c, g.subjects[subject])
					})
				}
			}
		}
	})
}

// cleared is a new world over a database whose tables, as far as the cases fill them, are emptied.
func cleared(t *testing.T, db *database.DB) *world {
	t.Helper()
	w := newWorld(t, db)
	for _, table := range []string{"members", "tokens", "projects", "users", "accounts"} {
		w.must(db.Gorm().Exec("DELETE FROM " + table).Error)
	}
	return w
}

func TestGuardsThatLetNothingThrough(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		project, ann := w.project("demo", rbac.StateActive, rbac.Public, true), w.user("ann", false)
		w.member(project, ann, rbac.RoleViewer)
		if err := w.commit(t.Context(), Decision{}); !errors.Is(err, errNothing) {
			t.Errorf("no decision: %v", err)
		}
		if err := w.commit(t.Context(), w.allowed(w.basic(ann.secret), rbac.Pull)); !errors.Is(err, errNothing) {
			t.Errorf("a decision to read: %v", err)
		}
		absent, err := w.Authorize(t.Context(), w.basic(ann.secret), repo(t, "absent"), rbac.Push)
		w.must(err)
		if err := w.commit(t.Context(), absent); !errors.Is(err, projects.ErrChanged) {
			t.Errorf("a project that was never created: %v", err)
		}
	})
}

func TestGuardIsOneExchange(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		d := w.guardedMember(rbac.RoleDeveloper, rbac.Push).decision
		var b database.Batch
		d.Guard.Require(&b)
		if b.Len() > 3 {
			t.Errorf("%d statements", b.Len())
		}
		w.must(w.db.Run(t.Context(), &b)) // prepares
		before := w.db.Trips()
		w.must(w.db.Run(t.Context(), &b))
		if trips := w.db.Trips() - before; trips != 1 {
			t.Errorf("%d exchanges", trips)
		}
	})
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		d := w.guardedMember(rbac.RoleDeveloper, rbac.Push).decision
		for in, want := range map[error]struct {
			status    int
			challenge string
		}{
			projects.ErrChanged: {http.StatusServiceUnavailable, ""},
			projects.ErrRole:    {http.StatusForbidden, ""},
			auth.ErrNotAdmin:    {http.StatusForbidden, ""},
			errNothing:          {http.StatusForbidden, ""},
			auth.ErrRevoked: {http.StatusUnauthorized, `Bearer realm="` + testRealm + `",service="` + testService +
				`",scope="repository:demo:pull,push",error="invalid_token",` +
				`error_description="the token is malformed, unknown, expired or revoked"`},
		} {
			got := answerTo(d.Guard.Translate(in))
			if got.status != want.status || got.challenge != want.challenge {
				t.Errorf("%v: got %d %s", in, got.status, got.challenge)
			}
			if !errors.Is(d.Guard.Translate(in), in) {
				t.Errorf("%v is lost", in)
			}
		}
		if err := d.Guard.Translate(ocierr.BlobUnknown); !errors.Is(err, ocierr.BlobUnknown) {
			t.Errorf("another error became %v", err)
		}
		if d.Guard.Translate(nil) != nil {
			t.Error("nil became an error")
		}
		for _, in := range []error{projects.ErrChanged, auth.ErrRevoked, projects.ErrRole, auth.ErrNotAdmin, errNothing} {
			if got := answerTo(Guard{}.Translate(in)); got.status != http.StatusForbidden {
				t.Errorf("the zero Guard answers %d to %v", got.status, in)
			}
		}
	})
}

// TestAnOutdatedDecisionHealsItself: after a refused commit the next request is decided on what is true now.
func TestAnOutdatedDecisionHealsItself(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		project, ann := w.project("demo", rbac.StateUnclaimed, rbac.Private, false), w.user("ann", false)
		d := w.allowed(w.basic(ann.secret), rbac.Push)
		w.must(w.db.Gorm().Exec(changes["unclaimed"]["claim"].sql, project).Error)
		w.member(project, ann, rbac.RoleOwner)

		err := d.Guard.Translate(w.commit(t.Context(), d))
		if !errors.Is(err, ocierr.Unavailable) {
			t.Fatal(err)
		}
		again := w.allowed(w.basic(ann.secret), rbac.Push)
		if err := w.commit(t.Context(), again); err != nil {
			t.Errorf("the repeated request: %v", err)
		}
	})
}
