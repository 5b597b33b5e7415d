package content_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// free is the guard of one who may do everything.
type free struct{}

// Require implements content.Guard.
func (free) Require(*database.Batch) {}

// world is a project with two repositories on a fresh database.
type world struct {
	*content.Store
	tb          testing.TB
	db          *database.DB
	here, there content.Place
}

func each(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		id := uuid.Must(uuid.NewV7())
		w := &world{tb: t, db: db, here: content.Place{Project: id, Path: "here"}, there: content.Place{Project: id, Path: "there"}}
		w.Store = w.replica()
		w.exec(`INSERT INTO projects (id, slug, state, created_by, created_at, updated_at) VALUES (?, 'demo', 'unclaimed', 'test', 0, 0)`, id)
		f(t, w)
	})
}

// replica is another store on the same database.
func (w *world) replica() *content.Store {
	return content.New(content.Config{
		DB: w.db, Clock: time.Now, LinkLife: time.Hour, TrashLife: time.Hour, ManifestCache: 1 << 20,
	})
}

func (w *world) exec(statement string, args ...any) {
	w.tb.Helper()
	if err := w.db.Gorm().Exec(statement, args...).Error; err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) count(query string, args ...any) (n int) {
	w.tb.Helper()
	if err := w.db.Gorm().Raw(query, args...).Scan(&n).Error; err != nil {
		w.tb.Fatal(err)
	}
	return n
}

// blob makes a blob without content and shows it in a repository.
func (w *world) blob(p content.Place, name string) digest.Digest {
	w.tb.Helper()
	d := digest.FromString(name)
	w.exec(`INSERT INTO blobs (id, digest, size, created_at) VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING`, uuid.Must(uuid.NewV7()), d.String())
	w.show(p, d)
	return d
}

// show links an existing blob.
func (w *world) show(p content.Place, d digest.Digest) {
	w.tb.Helper()
	b := &database.Batch{}
	content.EnsureRepository(b, p.Project, p.Path, 0)
	content.Link(b, p.Project, p.Path, d, 0, database.ToMicros(time.Now().Add(time.Hour)))
	w.must(w.db.Run(w.tb.Context(), b))
}

func (w *world) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// manifest is one that needs blobs.
func manifest(name string, blobs []digest.Digest, tags ...string) content.NewManifest {
	return content.NewManifest{
		Digest: digest.FromString(name), MediaType: "application/json", Content: []byte(name), Blobs: blobs, Tags: tags, Actor: "test",
	}
}

// together runs functions at once and returns their errors.
func together(functions ...func() error) []error {
	errs := make([]error, len(functions))
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i, f := range functions {
		wg.Go(func() {
			<-begin
			errs[i] = f()
		})
	}
	close(begin)
	wg.Wait()
	return errs
}

// consistent checks what must hold between transactions, whatever they were.
func (w *world) consistent(round int) {
	w.tb.Helper()
	for what, query := range map[string]string{
		"live manifests need hidden blobs": `SELECT count(*) FROM manifest_blobs mb
			JOIN manifests m ON m.repository_id = mb.repository_id AND m.digest = mb.manifest_digest AND m.deleted_at IS NULL
			JOIN repository_blobs l ON l.repository_id = mb.repository_id AND l.digest = mb.blob_digest AND l.deleted_at IS NOT NULL`,
		"live tags name hidden manifests": `SELECT count(*) FROM tags t
			JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest AND m.deleted_at IS NOT NULL
			WHERE t.deleted_at IS NULL`,
		"tags differ from their history": `SELECT count(*) FROM tags t WHERE
			CASE WHEN t.deleted_at IS NULL THEN t.digest ELSE '' END <> coalesce((SELECT h.digest FROM tag_history h
				WHERE h.repository_id = t.repository_id AND h.tag = t.name ORDER BY h.id DESC LIMIT 1), '')`,
		"entries of history change nothing": `SELECT count(*) FROM (SELECT coalesce(digest, '') AS now,
			lag(coalesce(digest, '')) OVER (PARTITION BY repository_id, tag ORDER BY id) AS before FROM tag_history) AS h WHERE now = before`,
	} {
		if n := w.count(query); n != 0 {
			w.tb.Errorf("round %d: %d %s", round, n, what)
		}
	}
}

func name(kind string, round int) string { return fmt.Sprintf("%s %d", kind, round) }

// source is where mounts read from.
func (w *world) source() *content.Source {
	return &content.Source{Place: w.there, Epoch: 1, State: "unclaimed"}
}
