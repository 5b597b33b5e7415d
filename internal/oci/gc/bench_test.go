package gc_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

const (
	fewBlobs, manyBlobs = 10_000, 1_000_000
	// garbage is how many blobs one collection of the benchmark finds.
	garbage = 400
	// sizeBound is how much longer a blob may take among many than among few.
	sizeBound = 1.5
	// enoughRounds is from how many collections on the bound is held.
	enoughRounds = 5
)

// BenchmarkCollection compares what it costs to collect a blob among few blobs that stay, and among many.
func BenchmarkCollection(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *ocitest.Env{database.SQLite: ocitest.Embedded, database.Postgres: ocitest.Servers} {
		b.Run(name, func(b *testing.B) {
			heaps := [2]*heap{newHeap(b, open(b), fewBlobs), newHeap(b, open(b), manyBlobs)}
			var times [2][]time.Duration
			for b.Loop() {
				for i, h := range heaps { // in turns, so that what else the machine does hits both
					times[i] = append(times[i], h.collect(b))
				}
			}
			var medians [2]float64
			for i := range times {
				slices.Sort(times[i])
				medians[i] = float64(times[i][len(times[i])/2].Nanoseconds()) / garbage
			}
			ratio := medians[1] / medians[0]
			b.ReportMetric(0, "ns/op") // of both together
			b.ReportMetric(medians[0], "ns/blob-few")
			b.ReportMetric(medians[1], "ns/blob-many")
			b.ReportMetric(ratio, "ratio")
			if len(times[0]) >= enoughRounds && ratio > sizeBound {
				b.Errorf("a blob among %d takes %.2f times as long as among %d, want at most %.1f", manyBlobs, ratio, fewBlobs, sizeBound)
			}
		})
	}
}

// heap is a registry with blobs that manifests need, all past their promise.
type heap struct {
	db        *database.DB
	collector *gc.Collector
	made      int
	filling   bool // references need not be looked up: they are right
}

func newHeap(b *testing.B, env *ocitest.Env, size int) *heap {
	b.Helper()
	begun := time.Now()
	h := &heap{db: env.DB, made: size, filling: true}
	h.collector = gc.New(gc.Config{DB: env.DB, Store: env.Store, Clock: time.Now, SweepDelay: time.Hour, Load: 100, OrphanAge: 48 * time.Hour})
	h.run(b, `INSERT INTO projects (id, slug, state, created_by, created_at, updated_at) SELECT `+h.id("8000", "1")+`, 'demo', 'active', 'test', `+
		strconv.FormatInt(begun.UnixMicro(), 10)+`, 0`) // since then there are days to look through
	h.run(b, `INSERT INTO repositories (id, project_id, path, created_at) SELECT `+h.id("8000", "2")+`, `+h.id("8000", "1")+`, 'app', 0`)
	h.blobs(b, 1, size)
	h.run(b, `INSERT INTO manifests (repository_id, digest, media_type, size, content, pushed_by, created_at)
		SELECT `+h.id("8000", "2")+`, 'm' || i, 'x', 1, `+h.bytes()+`, 'test', 0 `+h.count(), 1, size/10)
	h.run(b, `INSERT INTO manifest_blobs (repository_id, manifest_digest, blob_digest)
		SELECT `+h.id("8000", "2")+`, 'm' || ((i - 1) / 10 + 1), 'sha256:' || i `+h.count(), 1, size)
	h.run(b, `UPDATE repository_blobs SET held = true`) // as the first collection leaves it
	h.filling = false
	if h.db.Dialect() == database.Postgres {
		for _, table := range []string{"blobs", "chunks", "repository_blobs", "manifests", "manifest_blobs"} {
			h.run(b, `ANALYZE `+table)
		}
	}
	b.Logf("%d blobs after %s", size, time.Since(begun).Round(time.Millisecond))
	return h
}

// collect makes garbage and tells how long it takes to collect it.
func (h *heap) collect(b *testing.B) time.Duration {
	b.Helper()
	h.blobs(b, h.made+1, h.made+garbage)
	h.made += garbage
	begun := time.Now()
	f, err := h.collector.Collect(b.Context())
	took := time.Since(begun)
	if err != nil || f.Blobs != garbage {
		b.Fatalf("%+v, %v", f, err)
	}
	return took
}

// blobs makes blobs of one chunk, with links that nobody was promised.
func (h *heap) blobs(b *testing.B, from, to int) {
	b.Helper()
	id := h.id("9000", "i")
	h.run(b, `INSERT INTO blobs (id, digest, size, created_at) SELECT `+id+`, 'sha256:' || i, 7, 0 `+h.count(), from, to)
	h.run(b, `INSERT INTO chunks (owner_id, start, size, object_key, created_at) SELECT `+id+`, 0, 7, 'day/x/' || i, 0 `+h.count(), from, to)
	h.run(b, `INSERT INTO repository_blobs (repository_id, digest, blob_id, created_at, keep_until)
		SELECT `+h.id("8000", "2")+`, 'sha256:' || i, `+id+`, 0, 0 `+h.count(), from, to)
}

// count, id and bytes are what the dialects write differently.
func (h *heap) count() string {
	if h.db.Dialect() == database.Postgres {
		return `FROM generate_series($1::bigint, $2::bigint) AS n(i)`
	}
	return `FROM (WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i < $2) SELECT i FROM n) AS n`
}

func (h *heap) id(group, i string) string {
	if h.db.Dialect() == database.Postgres {
		return fmt.Sprintf(`('01900000-0000-7000-%s-' || lpad(to_hex(%s), 12, '0'))::uuid`, group, i)
	}
	return fmt.Sprintf(`printf('01900000-0000-7000-%s-%%012x', %s)`, group, i)
}

func (h *heap) bytes() string {
	if h.db.Dialect() == database.Postgres {
		return `'\x00'::bytea`
	}
	return `x'00'`
}

// run runs a statement that may take its time.
func (h *heap) run(b *testing.B, text string, bounds ...int) {
	b.Helper()
	var batch database.Batch
	if h.db.Dialect() == database.Postgres {
		batch.Exec(database.SQL(`SET LOCAL statement_timeout = 0`))
		if h.filling {
			batch.Exec(database.SQL(`SET LOCAL session_replication_role = replica`))
		}
	}
	args := make([]any, len(bounds))
	for i, n := range bounds {
		args[i] = int64(n)
	}
	batch.Exec(database.SQL(text), args...)
	if err := h.db.Run(context.WithoutCancel(b.Context()), &batch); err != nil {
		b.Fatalf("%v: %s", err, text)
	}
}
