package database_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

func BenchmarkQueryRow(b *testing.B) {
	read := database.SQL(`SELECT slug, epoch, state FROM projects WHERE id = $1`)
	dbtest.EachBenchmark(b, func(b *testing.B, db *database.DB) {
		project := newProject(b, db)
		one := func() error {
			var slug, state string
			var epoch int64
			return db.QueryRow(b.Context(), read, project).Scan(&slug, &epoch, &state)
		}
		b.Run("1", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := one(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("parallel", func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := one(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	})
}

// BenchmarkRun executes batches of a guard and two writes.
func BenchmarkRun(b *testing.B) {
	dbtest.EachBenchmark(b, func(b *testing.B, db *database.DB) {
		for _, writers := range []int{1, 10, 50} {
			b.Run(fmt.Sprint(writers), func(b *testing.B) {
				projects := make([]uuid.UUID, writers)
				for i := range projects {
					projects[i] = newProject(b, db)
				}
				b.ReportAllocs()
				b.ResetTimer()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for _, project := range projects {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							var batch database.Batch
							batch.Require(errUnmet, shareProject, project)
							batch.Exec(insertAccount, uuid.Must(uuid.NewV7()), "name")
							batch.Require(errUnmet, raiseEpoch, project)
							if err := db.Run(b.Context(), &batch); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	})
}
