package gc_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/projects"
)

func (w *world) project(slug string) uuid.UUID {
	w.t.Helper()
	p, err := w.r.Projects.Get(w.t.Context(), slug)
	w.must(err)
	return p.ID
}

// deleteProject deletes a project and gives the clock the time after which it is purged.
func (w *world) deleteProject(slug string) uuid.UUID {
	w.t.Helper()
	id := w.project(slug)
	_, err := w.r.Projects.Delete(w.t.Context(), nil, id, 0)
	w.must(err)
	w.exec(`UPDATE projects SET purge_after = ? WHERE id = ?`, w.clock.Now().Add(time.Hour).UnixMicro(), id)
	return id
}

// TestAProjectIsPurgedWithAllThatIsIts, in steps, and the audit log stays.
func TestAProjectIsPurgedWithAllThatIsIts(t *testing.T) {
	each(t, ocitest.Options{Batch: 2}, func(t *testing.T, w *world) {
		shared := noise(chunkSize, 1)
		for _, repo := range []string{"gone/app", "gone/web", "gone"} {
			w.Image(repo, "v1", shared, noise(2*chunkSize, 2))
			w.Image(repo, "v2", noise(chunkSize, 3))
		}
		w.Image("kept/app", "v1", shared)
		w.Want(http.StatusAccepted, http.MethodPatch, w.Start("gone/app"), noise(3*chunkSize, 4)) // stays open
		id := w.project("gone")
		token := uuid.Must(uuid.NewV7())
		w.exec(`INSERT INTO tokens (id, kind, project_id, name, secret_hash, created_by, created_at) VALUES (?, 'runner', ?, 'r', 'h', 'test', 0)`, token, id)
		w.exec(`INSERT INTO runner_grants (project_id, token_id, created_by, created_at) VALUES (?, ?, 'test', 0)`, w.project("kept"), token)
		w.exec(`INSERT INTO runner_grants (project_id, token_id, created_by, created_at) VALUES (?, ?, 'test', 0)`, id, token)
		w.exec(`INSERT INTO webhooks (id, project_id, url, events, secret, created_by, created_at, updated_at) VALUES (?, ?, 'u', '', '', 'test', 0, 0)`, token, id)
		w.exec(`INSERT INTO events_outbox (id, webhook_id, kind, object, data, next_attempt_at, created_at) VALUES (?, ?, 'k', 'o', '{}', 0, 0)`, token, token)
		w.exec(`INSERT INTO limit_overrides (subject_id, subject_kind, name, value, created_by, created_at) VALUES (?, 'project', 'n', 1, 'test', 0)`, id)
		w.deleteProject("gone")

		if f := w.collect(); f.Projects != 0 || f.Manifests != 0 {
			t.Errorf("before its time: %+v", f)
		}
		w.clock.advance(2 * time.Hour)
		f := w.collect()
		if f.Projects != 1 || f.Repositories != 3 || f.Manifests != 6 || f.Tags != 6 {
			t.Errorf("%+v", f)
		}
		for _, table := range referring(t, w.env.DB, "projects") {
			if n := w.count(`SELECT count(*) FROM `+table+` WHERE project_id = ?`, id); n != 0 {
				t.Errorf("%s has %d rows left", table, n)
			}
		}
		if n := w.count(`SELECT count(*) FROM audit_log WHERE action = 'project.purge' AND object = ?`, id.String()); n != 1 {
			t.Errorf("%d entries in the audit log", n)
		}
		if n := w.count(`SELECT (SELECT count(*) FROM events_outbox) + (SELECT count(*) FROM limit_overrides)`); n != 0 {
			t.Errorf("%d events and limits are left", n)
		}
		w.clock.advance(2 * time.Hour)
		w.collect()
		w.consistent()
		w.bareStore()
		if !w.has("kept/app", shared) {
			t.Error("another project's blob is gone")
		}
	})
}

// TestRestoreAgainstPurge: whoever is first wins, and nothing is half done.
func TestRestoreAgainstPurge(t *testing.T) {
	each(t, ocitest.Options{Batch: 1}, func(t *testing.T, w *world) {
		layer := noise(chunkSize, 1)
		for _, slug := range []string{"first", "second"} {
			w.Image(slug+"/app", "v1", layer)
		}
		early := w.deleteProject("first")
		_, err := w.r.Projects.Restore(t.Context(), nil, early, "")
		w.must(err)
		late := w.deleteProject("second")
		w.clock.advance(2 * time.Hour)
		w.collect()
		if _, err := w.r.Projects.Restore(t.Context(), nil, late, ""); err == nil {
			t.Error("a project was restored after its purge")
		}
		if !w.has("first/app", layer) {
			t.Error("a project that was restored is not whole")
		}

		// A replica whose clock is late restores while the purge has begun.
		w.Image("third/app", "v1", layer, noise(chunkSize, 2))
		third := w.deleteProject("third")
		w.clock.advance(2 * time.Hour)
		c := w.collector(func(cfg *gc.Config) { cfg.Batch = 1 })
		behind := projects.NewService(w.env.DB, projects.Options{Clock: func() time.Time { return w.clock.Now().Add(-3 * time.Hour) }})
		if _, err := behind.Restore(t.Context(), nil, third, ""); err != nil {
			t.Errorf("before the purge: %v", err)
		}
		w.must(func() error { _, err := c.Collect(t.Context()); return err }())
		if !w.has("third/app", layer) {
			t.Error("a project that was restored in time is not whole")
		}
		w.deleteProject("third")
		w.clock.advance(2 * time.Hour)
		w.must(func() error { _, err := c.Collect(t.Context()); return err }())
		if _, err := behind.Restore(t.Context(), nil, third, ""); err == nil {
			t.Error("a purged project was restored")
		}
		w.consistent()
	})
}

// TestRepositoriesArePurged once they are empty, and those that a push has brought back are not.
func TestRepositoriesArePurged(t *testing.T) {
	each(t, ocitest.Options{Batch: 1}, func(t *testing.T, w *world) {
		layer := noise(chunkSize, 1)
		for _, repo := range []string{"demo/gone", "demo/back", "demo/kept"} {
			w.Image(repo, "v1", layer)
		}
		now := w.clock.Now().UnixMicro()
		purge := w.clock.Now().Add(48 * time.Hour).UnixMicro()
		for _, table := range []string{"manifests", "tags", "repository_blobs"} {
			w.exec(`UPDATE `+table+` SET deleted_at = ?, purge_after = ? WHERE repository_id IN
				(SELECT id FROM repositories WHERE path IN ('gone', 'back'))`, now, purge)
		}
		w.exec(`UPDATE repositories SET deleted_at = ?, purge_after = ? WHERE path IN ('gone', 'back')`, now, purge)
		w.exec(`DELETE FROM usage_deltas`) // what is hidden behind the server's back is not in its books
		w.exec(`DELETE FROM usage_totals`)
		w.exec(`INSERT INTO usage_deltas (id, project_id, bytes, reason, at) SELECT ?, r.project_id,
			(SELECT sum(m.size) FROM manifests m WHERE m.repository_id = r.id) +
			(SELECT sum(b.size) FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id WHERE l.repository_id = r.id), 'test', 0
			FROM repositories r WHERE r.path = 'kept'`, uuid.Must(uuid.NewV7()))
		w.collect()
		w.clock.advance(49 * time.Hour)
		w.Push("demo/back", layer)
		f := w.collect()
		if f.Repositories != 1 || f.Manifests != 2 || f.Tags != 2 {
			t.Errorf("%+v", f)
		}
		if n := w.count(`SELECT count(*) FROM repositories`); n != 2 {
			t.Errorf("%d repositories are left", n)
		}
		if n := w.count(`SELECT count(*) FROM audit_log WHERE action = 'repository.purge' AND repository = 'gone'`); n != 1 {
			t.Errorf("%d entries in the audit log", n)
		}
		if !w.has("demo/back", layer) || !w.has("demo/kept", layer) {
			t.Error("a blob is gone")
		}
		w.consistent()
	})
}

// TestARepositoryThatIsBackKeepsItsHistory: a collection that found it in the trash is late.
func TestARepositoryThatIsBackKeepsItsHistory(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.Image("demo/app", "v1", noise(chunkSize, 1))
		var id uuid.UUID
		w.must(w.env.DB.Gorm().Raw(`SELECT id FROM repositories`).Row().Scan(&id))
		if _, err := w.r.Collector.PurgeHistory(t.Context(), id); err != nil {
			t.Error(err)
		}
		if n := w.count(`SELECT count(*) FROM tag_history`); n != 1 {
			t.Errorf("%d entries of the history are left", n)
		}
	})
}

// TestPurgeKnowsEveryTable: a new table that refers to projects or repositories has to be purged with them. What is
// missing goes into projectTables.
func TestPurgeKnowsEveryTable(t *testing.T) {
	env := ocitest.Embedded(t)
	known := map[string][]string{
		"projects": {
			"repositories", "upload_sessions", "runner_grants", "members", "tokens", "tag_rules", "retention_rules", "retention_schedule",
			"webhooks", "usage_deltas", "usage_totals",
		},
		"repositories": {"manifests", "repository_blobs", "tag_history"},
	}
	for parent, tables := range known {
		slices.Sort(tables)
		if found := referring(t, env.DB, parent); !slices.Equal(found, tables) {
			t.Errorf("%s are referred to by %v, and purged with %v", parent, found, tables)
		}
	}
}

// referring are the tables with a foreign key to a table, in order.
func referring(t *testing.T, db *database.DB, parent string) []string {
	t.Helper()
	query := `SELECT DISTINCT m.name FROM sqlite_master m, pragma_foreign_key_list(m.name) f
		WHERE m.type = 'table' AND f."table" = ? ORDER BY m.name`
	if db.Dialect() == database.Postgres {
		query = `SELECT DISTINCT CAST(CAST(conrelid AS regclass) AS text) AS name FROM pg_constraint
			WHERE contype = 'f' AND confrelid = CAST(CAST(? AS text) AS regclass) ORDER BY name`
	}
	var names []string
	if err := db.Gorm().Raw(query, parent).Scan(&names).Error; err != nil {
		t.Fatal(err)
	}
	return names
}

// TestAProjectThatCannotGoStopsNoOther: one is still referred to, by what nobody knows to purge.
func TestAProjectThatCannotGoStopsNoOther(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.exec(`CREATE TABLE unknown (project_id ` + map[string]string{database.SQLite: "TEXT", database.Postgres: "uuid"}[w.env.DB.Dialect()] +
			` REFERENCES projects (id))`)
		for _, slug := range []string{"stuck", "free"} {
			w.Push(slug+"/app", noise(chunkSize, 1))
		}
		w.exec(`INSERT INTO unknown SELECT id FROM projects WHERE slug = 'stuck'`)
		w.deleteProject("stuck")
		w.deleteProject("free")
		w.clock.advance(2 * time.Hour)
		for i, want := range []int64{1, 0} {
			if f := w.collect(); f.Projects != want {
				t.Errorf("collection %d: %+v", i, f)
			}
		}
		w.exec(`DELETE FROM unknown`)
		if f := w.collect(); f.Projects != 1 {
			t.Errorf("once nothing refers to it: %+v", f)
		}
	})
}
