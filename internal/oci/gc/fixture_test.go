package gc_test

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	// chunkSize makes blobs of several chunks out of little.
	chunkSize = 16 << 10
)

// testClock goes on by itself, and further when it is told to.
type testClock struct{ ahead atomic.Int64 }

func (c *testClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *testClock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// world is a server with a collector and a clock in the hands of a test.
type world struct {
	*ocitest.Client
	t     *testing.T
	env   *ocitest.Env
	r     *ocitest.Replica
	clock *testClock
}

// each runs f on SQLite with a folder, and on PostgreSQL with S3.
func each(t *testing.T, opts ocitest.Options, f func(t *testing.T, w *world)) {
	t.Helper()
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) { f(t, newWorld(t, env, opts)) })
}

func newWorld(t *testing.T, env *ocitest.Env, opts ocitest.Options) *world {
	t.Helper()
	w := &world{t: t, env: env, clock: &testClock{}}
	opts.Clock = w.clock.Now
	if opts.ChunkSize == 0 {
		opts.ChunkSize = chunkSize
	}
	w.r = env.Replica(t, opts)
	w.Client = w.r.Client
	return w
}

// collector is another one on the same backends, which removes objects at once.
func (w *world) collector(change func(*gc.Config)) *gc.Collector {
	cfg := gc.Config{
		DB: w.env.DB, Store: w.env.Store, Clock: w.clock.Now, Load: 100, OrphanAge: gc.DefaultOrphanAge,
		DatabaseClock: func(context.Context) (time.Time, error) { return w.clock.Now(), nil },
	}
	if change != nil {
		change(&cfg)
	}
	return gc.New(cfg)
}

// collect does one collection.
func (w *world) collect() gc.Figures {
	w.t.Helper()
	figures, err := w.r.Collector.Collect(w.t.Context())
	w.must(err)
	return figures
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	w.must(w.env.DB.Gorm().Exec(statement, args...).Error)
}

func (w *world) count(query string, args ...any) (n int64) {
	w.t.Helper()
	w.must(w.env.DB.Gorm().Raw(query, args...).Row().Scan(&n))
	return n
}

// has tells whether a repository lets a blob be read, with all of its bytes. It promises nothing.
func (w *world) has(repo string, content []byte) bool {
	w.t.Helper()
	a := w.Do(http.MethodGet, "/v2/"+repo+"/blobs/"+digest.FromBytes(content).String(), nil)
	if a.Status == http.StatusOK && !bytes.Equal(a.Body, content) {
		w.t.Errorf("%s: a blob of %d bytes has %d other ones", repo, len(content), len(a.Body))
	}
	if a.Status != http.StatusOK && a.Status != http.StatusNotFound {
		w.t.Errorf("%s: GET of a blob answers %d: %s", repo, a.Status, a.Body)
	}
	return a.Status == http.StatusOK
}

// objects are the keys in the store of the days that a test may have gone through.
func (w *world) objects() (keys []string) {
	w.t.Helper()
	for day := -3; day < 60; day++ {
		prefix := time.Now().UTC().AddDate(0, 0, day).Format(time.DateOnly) + "/"
		w.must(w.env.Store.List(w.t.Context(), prefix, func(o storage.Object) error {
			keys = append(keys, o.Key)
			return nil
		}))
	}
	slices.Sort(keys)
	return keys
}

func (w *world) keys(query string) (keys []string) {
	w.t.Helper()
	w.must(w.env.DB.Gorm().Raw(query).Scan(&keys).Error)
	slices.Sort(keys)
	return keys
}

// consistent checks what must hold between transactions, whatever they were.
func (w *world) consistent() {
	w.t.Helper()
	objects := w.objects()
	for _, key := range w.keys(`SELECT object_key FROM chunks`) {
		if _, found := slices.BinarySearch(objects, key); !found {
			w.t.Errorf("a row without its object: %s", key)
		}
	}
	for what, query := range map[string]string{
		"blobs without all of their chunks": `SELECT count(*) FROM blobs b WHERE b.size <>
			(SELECT coalesce(sum(c.size), 0) FROM chunks c WHERE c.owner_id = b.id)`,
		"live manifests need hidden blobs": `SELECT count(*) FROM manifest_blobs mb
			JOIN manifests m ON m.repository_id = mb.repository_id AND m.digest = mb.manifest_digest AND m.deleted_at IS NULL
			JOIN repository_blobs l ON l.repository_id = mb.repository_id AND l.digest = mb.blob_digest AND l.deleted_at IS NOT NULL`,
		"live tags name hidden manifests": `SELECT count(*) FROM tags t
			JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest AND m.deleted_at IS NOT NULL
			WHERE t.deleted_at IS NULL`,
		"links are held by nothing": `SELECT count(*) FROM repository_blobs l WHERE l.held AND NOT EXISTS (SELECT 1 FROM manifest_blobs m
			WHERE m.repository_id = l.repository_id AND m.blob_digest = l.digest)`,
		"blobs without a link wait for no review": `SELECT count(*) FROM blobs b
			WHERE NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.blob_id = b.id)
			  AND NOT EXISTS (SELECT 1 FROM blob_reviews q WHERE q.blob_id = b.id)`,
		"doomed objects have a row":  `SELECT count(*) FROM doomed_objects d JOIN chunks c ON c.object_key = d.object_key`,
		"claims outlive their batch": `SELECT count(*) FROM blob_reviews WHERE claim IS NOT NULL`,
		"chunks belong to nothing": `SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = c.owner_id)
			AND NOT EXISTS (SELECT 1 FROM upload_sessions u WHERE u.id = c.owner_id)`,
	} {
		if n := w.count(query); n != 0 {
			w.t.Errorf("%d %s", n, what)
		}
	}
	w.ledger()
}

// ledger compares what the ledger says of each project with a count from scratch.
func (w *world) ledger() {
	w.t.Helper()
	heldBy := database.SQL(`SELECT ` + quota.Held + `,
		coalesce((SELECT bytes FROM usage_totals WHERE project_id = $1), 0)
		+ coalesce((SELECT CAST(sum(bytes) AS bigint) FROM usage_deltas WHERE project_id = $1), 0)`)
	for _, id := range w.keys(`SELECT CAST(id AS text) FROM projects WHERE state <> 'deleted'`) {
		var held, told int64
		w.must(w.env.DB.QueryRow(w.t.Context(), heldBy, id).Scan(&held, &told))
		if held != told {
			w.t.Errorf("project %s holds %d bytes, the ledger says %d", id, held, told)
		}
	}
}

// bareStore checks that the store has exactly the objects of rows.
func (w *world) bareStore() {
	w.t.Helper()
	rows, objects := w.keys(`SELECT object_key FROM chunks`), w.objects()
	for _, key := range objects {
		if _, found := slices.BinarySearch(rows, key); !found {
			w.t.Errorf("an object without a row: %s", key)
		}
	}
	if len(rows) != len(objects) {
		w.t.Errorf("%d rows and %d objects", len(rows), len(objects))
	}
}

// noise is content that no other seed has.
func noise(size int, seed byte) []byte {
	content := bytes.Repeat([]byte{seed, seed ^ 0x55, 7}, size/3+1)[:size]
	for i := range content {
		content[i] += byte(i >> 8)
	}
	return content
}
