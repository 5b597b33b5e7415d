package database_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

// tripsOf is what f costs once it is warm.
func tripsOf(db *database.DB, f func()) (trips, commits int64) {
	f()
	trips, commits = db.Trips(), db.Commits()
	f()
	return db.Trips() - trips, db.Commits() - commits
}

func TestTripsAreExact(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		list := database.SQL(`SELECT id FROM projects`)
		for name, c := range map[string]struct {
			trips, commits int64
			do             func(t *testing.T)
		}{
			"read": {1, 0, func(t *testing.T) { epochOf(t, db, project) }},
			"read of nothing": {1, 0, func(t *testing.T) {
				wantIs(t, db.QueryRow(t.Context(), projectEpoch, uuid.New()).Scan(new(int64)), database.ErrNoRows)
			}},
			"list": {1, 0, func(t *testing.T) {
				rows, err := db.Query(t.Context(), list)
				if err != nil {
					t.Fatal(err)
				}
				for rows.Next() {
				}
				if err := rows.Err(); err != nil {
					t.Error(err)
				}
			}},
			"batch of five": {1, 1, func(t *testing.T) {
				run(t, db, func(b *database.Batch) {
					b.Require(errUnmet, shareProject, project)
					b.Exec(raiseEpoch, project)
					b.Require(errUnmet, raiseEpoch, project)
					b.Query(func(r database.Rows) error { return r.Scan(new(int64)) }, raiseEpoch, project)
					b.Exec(insertAccount, uuid.New(), "name")
				})
			}},
			"batch with large parameters": {1, 1, func(t *testing.T) {
				large := strings.Repeat("x", 1<<20)
				run(t, db, func(b *database.Batch) {
					b.Exec(insertAccount, uuid.New(), large)
					b.Exec(insertAccount, uuid.New(), large)
				})
			}},
			"batch that fails": {1, 0, func(t *testing.T) {
				var b database.Batch
				b.Exec(raiseEpoch, project)
				b.Require(errUnmet, raiseEpochFrom, project, -1)
				b.Exec(raiseEpoch, project)
				wantIs(t, db.Run(t.Context(), &b), errUnmet)
			}},
			"write of GORM": {1, 1, func(t *testing.T) {
				if err := db.Gorm().Exec("UPDATE projects SET epoch = 1 WHERE id = ?", project).Error; err != nil {
					t.Error(err)
				}
			}},
			"read of GORM": {1, 0, func(t *testing.T) {
				var names []string
				if err := db.Gorm().Raw("SELECT name FROM accounts LIMIT 3").Scan(&names).Error; err != nil {
					t.Error(err)
				}
			}},
		} {
			t.Run(name, func(t *testing.T) {
				trips, commits := tripsOf(db, func() { c.do(t) })
				if trips != c.trips || commits != c.commits {
					t.Errorf("%d trips and %d commits, want %d and %d", trips, commits, c.trips, c.commits)
				}
			})
		}
	})
}
