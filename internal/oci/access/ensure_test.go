package access

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// push authorizes a push and creates the project where it is missing.
func (w *world) push(id Identity, name string) (Decision, error) {
	w.tb.Helper()
	to := repo(w.tb, name)
	d, err := w.Authorize(w.tb.Context(), id, to, rbac.Push)
	if err != nil {
		return d, err
	}
	return w.EnsureProject(w.tb.Context(), d, to)
}

func TestEnsureProject(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann := w.user("ann", false)
		mine, err := w.push(w.basic(ann.secret), "mine/app")
		w.must(err)
		if mine.Project.State != rbac.StateActive || mine.Project.AccountID != ann.AccountID || !mine.Allows(rbac.Push) {
			t.Errorf("a user's project: %+v", mine.Project)
		}
		w.must(w.commit(t.Context(), mine))

		nobodys, err := w.push(w.anyone("nobodys/app"), "nobodys/app")
		w.must(err)
		if nobodys.Project.State != rbac.StateUnclaimed || nobodys.Project.ID == uuid.Nil {
			t.Errorf("an anonymous project: %+v", nobodys.Project)
		}
		w.must(w.commit(t.Context(), nobodys))

		again, err := w.EnsureProject(t.Context(), mine, repo(t, "mine/app"))
		if err != nil || again.Project != mine.Project {
			t.Errorf("what exists: %+v, %v", again, err)
		}
	})
}

func TestEnsureProjectRefuses(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorldWith(t, db, rbac.Options{UnclaimedPush: true}, projects.Options{UnclaimedSlugs: projects.SlugsRandom, UnclaimedPush: true})
		user := w.basic(w.user("ann", false).secret)
		for name, tt := range map[string]struct {
			id   Identity
			name string
			want string
		}{
			"too short":          {user, "a/app", "400 NAME_INVALID"},
			"reserved":           {user, "admin/app", "403 DENIED"},
			"not for anonymous":  {w.anyone("demo/app"), "demo/app", "403 DENIED"},
			"an identifier":      {user, uuid.NewString() + "/app", "404 NAME_UNKNOWN"},
			"anonymous, also so": {w.anyone("0190a8e0-0000-7000-8000-000000000000"), "0190a8e0-0000-7000-8000-000000000000", "401 UNAUTHORIZED"},
		} {
			_, err := w.push(tt.id, tt.name)
			got := answerTo(err)
			if status, code, _ := strings.Cut(tt.want, " "); outcome(err) != status || got.code != code {
				t.Errorf("%s: got %s", name, got.all)
			}
		}
		if d, err := w.push(w.anyone("k7q2m9x4w8t3z6r5p1n0/app"), "k7q2m9x4w8t3z6r5p1n0/app"); err != nil || d.Project.State != rbac.StateUnclaimed {
			t.Errorf("a random name: %+v, %v", d, err)
		}
	})
}

// TestEnsureProjectDecidesAnew: who was permitted to create a project is not therefore permitted to push to the one that
// somebody else created first.
func TestEnsureProjectDecidesAnew(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		ann, bob := w.basic(w.user("ann", false).secret), w.basic(w.user("bob", false).secret)
		demo := repo(t, "demo/app")
		slow, err := w.Authorize(t.Context(), ann, demo, rbac.Push)
		w.must(err)
		slowAnonymous, err := w.Authorize(t.Context(), w.anyone("demo/app"), demo, rbac.Push)
		w.must(err)
		if _, err := w.replica().push(bob, "demo/app"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.EnsureProject(t.Context(), slow, demo); outcome(err) != "404" {
			t.Errorf("a user: %v", err)
		}
		if _, err := w.EnsureProject(t.Context(), slowAnonymous, demo); outcome(err) != "401" {
			t.Errorf("anonymous: %v", err)
		}
	})
}

func TestEnsureProjectOnlyForAPermittedPush(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		d, err := w.Authorize(t.Context(), w.anyone("demo/app"), repo(t, "demo/app"), rbac.Push)
		w.must(err)
		if _, err := w.EnsureProject(t.Context(), d, repo(t, "other/app")); outcome(err) != "403" {
			t.Errorf("another repository: %v", err)
		}
		if _, err := w.EnsureProject(t.Context(), Decision{}, repo(t, "demo/app")); outcome(err) != "403" {
			t.Errorf("no decision: %v", err)
		}
		if _, err := w.projects.Resolve(t.Context(), "demo"); err == nil {
			t.Error("the project was created")
		}
	})
}

func TestParallelFirstPushes(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		id := w.basic(w.user("ann", false).secret)
		replica := w.replica()
		var wg sync.WaitGroup
		ids := make([]uuid.UUID, 20)
		for i := range ids {
			wg.Go(func() {
				d, err := []*world{w, replica}[i%2].push(id, "demo/app")
				if err != nil {
					t.Error(err)
				}
				ids[i] = d.Project.ID
			})
		}
		wg.Wait()
		for _, project := range ids {
			if project != ids[0] || project == uuid.Nil {
				t.Errorf("several projects: %v", ids)
			}
		}
	})
}
