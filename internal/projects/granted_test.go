package projects

import (
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

var (
	registerMachine = database.SQL(`
		INSERT INTO tokens (id, kind, name, secret_hash, created_by, created_at) VALUES ($1, 'runner', 'runner', $2, 'test', 0)`)
	grantPull = database.SQL(`
		INSERT INTO runner_grants (project_id, token_id, repository, all_repositories, created_by, created_at)
		VALUES ($1, $2, $3, $4, 'test', 0)`)
	ungrantPulls = database.SQL(`DELETE FROM runner_grants WHERE project_id = $1`)
)

func (f *fixture) machine() uuid.UUID {
	f.t.Helper()
	id := uuid.Must(uuid.NewV7())
	f.exec(registerMachine, id, id.String())
	return id
}

func (f *fixture) wantGranted(project, token uuid.UUID, path string, want bool) {
	f.t.Helper()
	granted, err := f.Granted(f.t.Context(), project, token, path)
	f.must(err)
	if granted != want {
		f.t.Errorf("path %q: granted %t, want %t", path, granted, want)
	}
}

func TestAGrantIsForOneRunnerAndItsRepositories(t *testing.T) {
	t.Parallel()
	each(t, func(_ *testing.T, f *fixture) {
		one, all := f.ensure("one", anonymous).ID, f.ensure("all", anonymous).ID
		runner, other := f.machine(), f.machine()
		f.exec(grantPull, one, runner, "app", false)
		f.exec(grantPull, all, runner, "", true)
		f.wantGranted(one, runner, "app", true)
		f.wantGranted(one, runner, "app/web", false)
		f.wantGranted(one, runner, "", false)
		f.wantGranted(one, other, "app", false)
		f.wantGranted(all, runner, "app", true)
		f.wantGranted(all, runner, "", true)
		f.wantGranted(all, other, "app", false)
	})
}

func TestAGrantIsRememberedForAWhileAndItsAbsenceIsNot(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f *fixture) {
		project, runner := f.ensure("demo", anonymous).ID, f.machine()
		f.wantGranted(project, runner, "app", false)
		f.exec(grantPull, project, runner, "app", false)
		f.wantGranted(project, runner, "app", true)

		before := f.db.Trips()
		f.wantGranted(project, runner, "app", true)
		if trips := f.db.Trips() - before; trips != 0 {
			t.Errorf("a remembered grant took %d round trips", trips)
		}
		f.exec(ungrantPulls, project)
		f.wantGranted(project, runner, "app", true)
		f.clock.advance(DefaultCacheTTL)
		f.wantGranted(project, runner, "app", false)
	})
}

func TestForgetEndsAGrantAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(_ *testing.T, f *fixture) {
		project, runner := f.ensure("demo", anonymous).ID, f.machine()
		f.exec(grantPull, project, runner, "", true)
		f.wantGranted(project, runner, "app", true)
		f.exec(ungrantPulls, project)
		f.Forget(project)
		f.wantGranted(project, runner, "app", false)
	})
}
