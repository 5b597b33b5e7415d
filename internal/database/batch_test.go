package database_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

func TestBatchRequirementUndoesEverything(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project, account, later := newProject(t, db), uuid.New(), uuid.New()
		errOther := errors.New("another requirement")
		var b database.Batch
		b.Exec(insertAccount, account, "before")
		b.Require(errOther, raiseEpochFrom, project, 1)
		b.Require(errUnmet, raiseEpochFrom, project, 1)
		b.Require(errOther, raiseEpochFrom, project, 1)
		b.Query(func(database.Rows) error { t.Error("a later statement's rows were read"); return nil }, raiseEpoch, project)
		b.Exec(insertAccount, later, "after")

		err := db.Run(t.Context(), &b)
		wantIs(t, err, errUnmet)
		wantIsNot(t, err, errOther, database.ErrUnavailable)
		if got := epochOf(t, db, project); got != 1 {
			t.Errorf("epoch is %d after a batch that failed", got)
		}
		for _, id := range []uuid.UUID{account, later} {
			var name string
			wantIs(t, db.QueryRow(t.Context(), accountName, id).Scan(&name), database.ErrNoRows)
		}
	})
}

func TestBatchRequirementMet(t *testing.T) {
	withCTE := database.SQL(`
		WITH p AS (SELECT id, epoch FROM projects WHERE id = $1)
		UPDATE projects SET epoch = epoch + 10 WHERE id IN (SELECT id FROM p) AND epoch >= (SELECT epoch FROM p)
		RETURNING id -- even with a comment at its end`)
	insert := database.SQL(`
		INSERT INTO accounts (id, kind, name, created_at) SELECT $1, 'personal', {text:$2}, epoch FROM projects WHERE id = $3
		ON CONFLICT (id) DO NOTHING RETURNING id, name, name`)
	remove := database.SQL(`DELETE FROM accounts WHERE id = $1 RETURNING id`)
	several := database.SQL(`SELECT id FROM projects WHERE id <> $1 ORDER BY id {share}`)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project, account := newProject(t, db), uuid.New()
		newProject(t, db)
		newProject(t, db)
		run(t, db, func(b *database.Batch) {
			b.Require(errUnmet, shareProject, project)
			b.Require(errUnmet, withCTE, project)
			b.Require(errUnmet, insert, account, "name", project)
			b.Require(errUnmet, several, project)
		})
		if got := epochOf(t, db, project); got != 11 {
			t.Errorf("epoch is %d", got)
		}
		var b database.Batch
		b.Require(errUnmet, insert, account, "name", project) // ON CONFLICT DO NOTHING returns no row
		wantIs(t, db.Run(t.Context(), &b), errUnmet)
		run(t, db, func(b *database.Batch) { b.Require(errUnmet, remove, account) })
		b = database.Batch{}
		b.Require(errUnmet, remove, account)
		wantIs(t, db.Run(t.Context(), &b), errUnmet)
	})
}

// A data-modifying statement changes all its rows although the requirement needs one.
func TestBatchRequirementChangesAllRows(t *testing.T) {
	raiseAll := database.SQL(`UPDATE projects SET epoch = epoch + 1 RETURNING id`)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		var projects []uuid.UUID
		for range 200 {
			projects = append(projects, newProject(t, db))
		}
		run(t, db, func(b *database.Batch) { b.Require(errUnmet, raiseAll) })
		for _, p := range projects {
			if got := epochOf(t, db, p); got != 2 {
				t.Fatalf("epoch of a project is %d", got)
			}
		}
	})
}

func TestBatchQuerySeesWhatCameBefore(t *testing.T) {
	names := database.SQL(`SELECT name, id FROM accounts ORDER BY name`)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		var got, looped []string
		var epochs []int64
		run(t, db, func(b *database.Batch) {
			b.Query(func(database.Rows) error { t.Error("no rows expected"); return nil }, names)
			b.Exec(insertAccount, uuid.New(), "a")
			b.Exec(insertAccount, uuid.New(), "b")
			b.Query(func(r database.Rows) error {
				var epoch int64
				err := r.Scan(&epoch)
				epochs = append(epochs, epoch)
				return err
			}, raiseEpoch, project)
			b.Query(func(r database.Rows) error {
				var name string
				var id uuid.UUID
				err := r.Scan(&name, &id)
				got = append(got, name)
				return err
			}, names)
			b.Query(func(r database.Rows) error {
				for r.Next() {
					var name string
					var id uuid.UUID
					if err := r.Scan(&name, &id); err != nil {
						return err
					}
					looped = append(looped, name)
				}
				return nil
			}, names)
		})
		want := []string{"a", "b"}
		if !slices.Equal(got, want) || !slices.Equal(looped, want) || !slices.Equal(epochs, []int64{2}) {
			t.Errorf("got %v, %v and %v", got, looped, epochs)
		}
	})
}

func TestBatchScanErrorComesAfterTheCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		errScan := errors.New("scan")
		var b database.Batch
		b.Query(func(database.Rows) error { return errScan }, raiseEpoch, project)
		b.Exec(raiseEpoch, project)
		wantIs(t, db.Run(t.Context(), &b), errScan)
		if got := epochOf(t, db, project); got != 3 {
			t.Errorf("epoch is %d", got)
		}
		b = database.Batch{}
		b.Query(func(r database.Rows) error { var wrong []int; return r.Scan(&wrong) }, raiseEpoch, project)
		wantIsNot(t, db.Run(t.Context(), &b), database.ErrUnavailable)
	})
}

func TestBatchEmptyAndAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		before := db.Trips()
		run(t, db, func(*database.Batch) {})
		if db.Trips() != before {
			t.Error("an empty batch made a trip")
		}
		var b database.Batch
		b.Exec(raiseEpoch, project)
		for range 3 {
			if err := db.Run(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
		if got := epochOf(t, db, project); got != 4 {
			t.Errorf("epoch is %d", got)
		}
	})
}

// 50 writers raise a counter by compare-and-set; those that lose read again. The sum must be exact.
func TestBatchCompareAndSet(t *testing.T) {
	const writers, rounds = 50, 10
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range rounds {
					if err := increment(t.Context(), db, project); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if got := epochOf(t, db, project); got != 1+writers*rounds {
			t.Errorf("epoch is %d, want %d", got, 1+writers*rounds)
		}
	})
}

func increment(ctx context.Context, db *database.DB, project uuid.UUID) error {
	for {
		var epoch int64
		if err := db.QueryRow(ctx, projectEpoch, project).Scan(&epoch); err != nil {
			return err
		}
		var b database.Batch
		b.Require(errUnmet, raiseEpochFrom, project, epoch)
		if err := db.Run(ctx, &b); !errors.Is(err, errUnmet) {
			return err
		}
	}
}

// Batches that fail beside others undo themselves alone.
func TestBatchFailuresStayAlone(t *testing.T) {
	const writers = 60
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		taken := uuid.New()
		run(t, db, func(b *database.Batch) { b.Exec(insertAccount, taken, "taken") })
		ids := make([]uuid.UUID, writers)
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			ids[i] = uuid.New()
			wg.Go(func() {
				var b database.Batch
				b.Exec(insertAccount, ids[i], "new")
				switch i % 3 {
				case 1:
					b.Exec(insertAccount, taken, "again")
				case 2:
					b.Require(errUnmet, raiseEpoch, taken)
				}
				errs[i] = db.Run(t.Context(), &b)
			})
		}
		wg.Wait()
		for i, err := range errs {
			var name string
			found := db.QueryRow(t.Context(), accountName, ids[i]).Scan(&name)
			switch i % 3 {
			case 0:
				if err != nil || found != nil {
					t.Errorf("batch %d: %v, %v", i, err, found)
				}
			case 1:
				wantIs(t, err, database.ErrConflict)
				wantIs(t, found, database.ErrNoRows)
			case 2:
				wantIs(t, err, errUnmet)
				wantIs(t, found, database.ErrNoRows)
			}
		}
	})
}

// A scan runs in the caller's goroutine and may use the database, whatever becomes of it.
func TestBatchScanIsTheCallersOwn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		func() {
			defer func() {
				if p := recover(); p != "from scan" {
					t.Errorf("recovered %v", p)
				}
			}()
			run(t, db, func(b *database.Batch) {
				b.Query(func(database.Rows) error { panic("from scan") }, raiseEpoch, project)
			})
		}()
		run(t, db, func(b *database.Batch) {
			b.Query(func(database.Rows) error {
				run(t, db, func(b *database.Batch) { b.Require(errUnmet, raiseEpoch, project) })
				return nil
			}, raiseEpoch, project)
		})
		var done sync.WaitGroup
		done.Go(func() {
			run(t, db, func(b *database.Batch) {
				b.Query(func(database.Rows) error { runtime.Goexit(); return nil }, raiseEpoch, project)
			})
		})
		done.Wait()
		if got := epochOf(t, db, project); got != 5 {
			t.Errorf("epoch is %d", got)
		}
	})
}
