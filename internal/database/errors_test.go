package database_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

var (
	insertMember = database.SQL(`
		INSERT INTO repositories (id, project_id, path, created_at) VALUES ($1, $2, '', {now})`)
	deleteProject = database.SQL(`DELETE FROM projects WHERE id = $1`)
)

func TestErrorsOfConstraints(t *testing.T) {
	check := database.SQL(`UPDATE projects SET state = 'nonsense' WHERE id = $1`)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		for name, c := range map[string]struct {
			want error
			fill func(b *database.Batch)
		}{
			"unique": {database.ErrConflict, func(b *database.Batch) { b.Exec(insertProject, uuid.New(), "p"+project.String()) }},
			"key":    {database.ErrConflict, func(b *database.Batch) { b.Exec(insertProject, project, "other") }},
			"parent": {database.ErrForeignKey, func(b *database.Batch) { b.Exec(insertMember, uuid.New(), uuid.New()) }},
			"child": {database.ErrForeignKey, func(b *database.Batch) {
				b.Exec(insertMember, uuid.New(), project)
				b.Exec(deleteProject, project)
			}},
			"check":  {nil, func(b *database.Batch) { b.Exec(check, project) }},
			"syntax": {nil, func(b *database.Batch) { b.Exec(database.SQL("SELEC 1")) }},
		} {
			t.Run(name, func(t *testing.T) {
				var b database.Batch
				c.fill(&b)
				err := db.Run(t.Context(), &b)
				if c.want != nil {
					wantIs(t, err, c.want)
				} else {
					wantIsNot(t, err, database.ErrConflict, database.ErrForeignKey)
				}
				wantIsNot(t, err, database.ErrUnavailable)
			})
		}
	})
}

// A manifest's need of a blob restricts the link's deletion; this is the one foreign key with RESTRICT.
func TestErrorsOfRestrict(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project, repository, blob := newProject(t, db), uuid.New(), uuid.New()
		run(t, db, func(b *database.Batch) {
			b.Exec(insertMember, repository, project)
			b.Exec(database.SQL(`INSERT INTO blobs (id, digest, size, created_at) VALUES ($1, 'd', 1, 1)`), blob)
			b.Exec(database.SQL(`INSERT INTO repository_blobs (repository_id, digest, blob_id, created_at, keep_until)
				VALUES ($1, 'd', $2, 1, 1)`), repository, blob)
			b.Exec(database.SQL(`INSERT INTO manifests (repository_id, digest, media_type, size, content, pushed_by, created_at)
				VALUES ($1, 'm', 'x', 1, $2, 'test', 1)`), repository, []byte{})
			b.Exec(database.SQL(`INSERT INTO manifest_blobs VALUES ($1, 'm', 'd')`), repository)
		})
		unlink := database.SQL(`DELETE FROM repository_blobs WHERE repository_id = $1`)
		var b database.Batch
		b.Exec(unlink, repository)
		wantIs(t, db.Run(t.Context(), &b), database.ErrForeignKey)
		run(t, db, func(b *database.Batch) {
			b.Exec(database.SQL(`DELETE FROM manifests WHERE repository_id = $1`), repository) // cascades
			b.Exec(unlink, repository)
		})
	})
}

func TestErrorsOfContext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var b database.Batch
		b.Exec(raiseEpoch, project)
		for _, err := range []error{
			db.Run(ctx, &b), db.Ping(ctx), db.QueryRow(ctx, projectEpoch, project).Scan(new(int64)),
			db.Gorm().WithContext(ctx).Exec("UPDATE projects SET epoch = 9").Error,
		} {
			wantIs(t, err, context.Canceled)
			wantIsNot(t, err, database.ErrUnavailable)
		}
		wantIs(t, queryError(ctx, db, project), context.Canceled)
		late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancelLate()
		wantIs(t, db.Run(late, &b), context.DeadlineExceeded)
		if got := epochOf(t, db, project); got != 1 {
			t.Errorf("epoch is %d", got)
		}
	})
}

func TestErrorsAfterClose(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		var b database.Batch
		b.Exec(raiseEpoch, project)
		for _, err := range []error{
			db.Run(t.Context(), &b), db.Ping(t.Context()), queryError(t.Context(), db, project),
			db.QueryRow(t.Context(), projectEpoch, project).Scan(new(int64)),
			db.Gorm().Exec("UPDATE projects SET epoch = 9").Error,
		} {
			wantIs(t, err, database.ErrUnavailable)
			wantIsNot(t, err, database.ErrUnclear)
		}
	})
}

// Close finishes the batches that it finds under way: each caller hears of its own.
func TestCloseDrains(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for {
					var b database.Batch
					b.Exec(raiseEpoch, project)
					if err := db.Run(t.Context(), &b); err != nil {
						if !errors.Is(err, database.ErrUnavailable) || errors.Is(err, database.ErrUnclear) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		run(t, db, func(b *database.Batch) { b.Exec(raiseEpoch, project) })
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

func TestErrorsOfURLs(t *testing.T) {
	for _, url := range []string{
		"", "berth.db", "mysql://x", "sqlite:", "sqlite::memory:", "sqlite:file::memory:", "sqlite:x?mode=ro", "sqlite://host/x",
		"sqlite:x/", "sqlite:a\x00b", "postgres://user:secret@:port/", "postgres://h/d?pool_max_conns=none",
	} {
		db, err := database.Open(t.Context(), database.Config{URL: url})
		if err == nil {
			t.Errorf("%q was opened", url)
			_ = db.Close()
			continue
		}
		if errors.Is(err, database.ErrUnavailable) {
			t.Errorf("%q: %v", url, err)
		}
	}
	_, err := database.Open(t.Context(), database.Config{URL: "postgres://u:secret@127.0.0.1:1/d"})
	wantIs(t, err, database.ErrUnavailable)
}

type account struct {
	ID        uuid.UUID
	Kind      string
	Name      string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func TestGorm(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		g := db.Gorm().WithContext(t.Context())
		first := account{ID: uuid.New(), Kind: "personal", Name: "first", CreatedAt: 1}
		if err := g.Create(&first).Error; err != nil {
			t.Fatal(err)
		}
		wantIs(t, g.Create(&first).Error, gorm.ErrDuplicatedKey, database.ErrConflict)
		orphan := map[string]any{"id": uuid.New(), "project_id": uuid.New(), "path": "", "created_at": 1}
		wantIs(t, g.Table("repositories").Create(orphan).Error, gorm.ErrForeignKeyViolated, database.ErrForeignKey)
		wantIs(t, g.First(&account{}, "id = ?", uuid.New()).Error, gorm.ErrRecordNotFound)

		before := db.Commits()
		err := g.Transaction(func(tx *gorm.DB) error {
			if err := tx.Create(&account{ID: uuid.New(), Kind: "personal", Name: "undone", CreatedAt: 2}).Error; err != nil {
				return err
			}
			return errUnmet
		})
		wantIs(t, err, errUnmet)
		if got := db.Commits() - before; got != 0 {
			t.Errorf("%d commits of a transaction that was rolled back", got)
		}
		err = g.Transaction(func(tx *gorm.DB) error {
			var all []account
			if err := tx.Find(&all).Error; err != nil || len(all) != 1 {
				t.Errorf("found %v: %v", all, err)
			}
			return tx.Model(&first).Update("name", "renamed").Error
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := db.Commits() - before; got != 1 {
			t.Errorf("%d commits of one transaction", got)
		}
		var name string
		if err := db.QueryRow(t.Context(), accountName, first.ID).Scan(&name); err != nil || name != "renamed" {
			t.Errorf("got %q, %v", name, err)
		}
	})
}

// GORM and batches write at the same time, on SQLite through one connection.
func TestGormBesideBatches(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 10 {
					if err := db.Gorm().Exec("UPDATE projects SET epoch = epoch + 1 WHERE id = ?", project).Error; err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				for range 10 {
					var b database.Batch
					b.Require(errUnmet, raiseEpoch, project)
					if err := db.Run(t.Context(), &b); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := epochOf(t, db, project); got != 201 {
			t.Errorf("epoch is %d", got)
		}
	})
}

func queryError(ctx context.Context, db *database.DB, project uuid.UUID) error {
	rows, err := db.Query(ctx, projectEpoch, project)
	if err == nil {
		rows.Close()
		err = rows.Err()
	}
	return err
}
