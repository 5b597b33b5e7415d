package content_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/quota"
)

var shareProject = database.SQL(`SELECT 1 FROM projects WHERE id = $1 {share}`)

// sharing is a guard that only locks the project, as every real one does.
type sharing struct{ project uuid.UUID }

// Require implements content.Guard.
func (s sharing) Require(b *database.Batch) { b.Exec(shareProject, s.project) }

// ledger is a world in which content comes and goes, and what is counted of it.
type ledger struct {
	*world
	tenants *projects.Service
	folder  *quota.Folder
	owner   projects.Creator
}

func newLedger(w *world) *ledger {
	l := &ledger{
		world: w, tenants: projects.NewService(w.db, projects.Options{}),
		folder: quota.NewFolder(w.db, time.Now, slog.New(slog.DiscardHandler)),
		owner:  projects.Creator{UserID: uuid.Must(uuid.NewV7()), AccountID: uuid.Must(uuid.NewV7()), Principal: "user"},
	}
	w.exec(`INSERT INTO accounts (id, kind, name, created_at) VALUES (?, 'personal', '', 1)`, l.owner.AccountID)
	w.exec(`INSERT INTO users (id, account_id, email, created_at, updated_at) VALUES (?, ?, 'a@b', 1, 1)`, l.owner.UserID, l.owner.AccountID)
	return l
}

// counted is what the ledger says that the project holds.
func (l *ledger) counted() int64 {
	l.tb.Helper()
	return int64(l.count(`SELECT coalesce((SELECT sum(bytes) FROM usage_totals WHERE project_id = ?), 0)
		+ coalesce((SELECT sum(bytes) FROM usage_deltas WHERE project_id = ?), 0)`, l.here.Project, l.here.Project))
}

// agrees checks the ledger against a count from scratch.
func (l *ledger) agrees(when string) {
	l.tb.Helper()
	u, err := l.tenants.Usage(l.tb.Context(), l.here.Project)
	l.must(err)
	if got := l.counted(); got != u.Bytes {
		l.tb.Errorf("%s: the ledger has %d bytes, the project %d", when, got, u.Bytes)
	}
}

// push is what a finishing upload does to a blob of size bytes.
func (l *ledger) push(p content.Place, name string, size int64) error {
	d := digest.FromString(name)
	b := &database.Batch{}
	sharing{p.Project}.Require(b)
	content.EnsureRepository(b, p.Project, p.Path, 0)
	quota.Lock(b, p.Project, d)
	b.Exec(insertTestBlob, uuid.Must(uuid.NewV7()), d.String(), size)
	content.Link(b, p.Project, p.Path, d, 0, database.ToMicros(time.Now().Add(time.Hour)))
	return l.db.Run(l.tb.Context(), b)
}

var insertTestBlob = database.SQL(`INSERT INTO blobs (id, digest, size, created_at) VALUES ($1, $2, $3, 0) ON CONFLICT (digest) DO NOTHING`)

// move is a random change of content, of few things so that changes meet.
func (l *ledger) move(r *rand.Rand) func() error {
	guard := sharing{l.here.Project}
	from, to := l.here, l.there
	if r.IntN(2) == 0 {
		from, to = to, from
	}
	n := r.IntN(3)
	layer, size := fmt.Sprintf("layer %d", n), int64(1000*n) // the first is empty
	m := manifest(fmt.Sprintf("manifest %d", n), []digest.Digest{digest.FromString(layer)}, "latest")
	m.Content = []byte(strings.Repeat("m", n+1))
	ctx := l.tb.Context()
	switch r.IntN(16) {
	case 0, 1, 2:
		return func() error { return l.push(to, layer, size) }
	case 3:
		return func() error { return l.Mount(ctx, to, digest.FromString(layer), nil, guard) }
	case 4:
		source := &content.Source{Place: from, Epoch: 1, State: "unclaimed"}
		return func() error { return l.Mount(ctx, to, digest.FromString(layer), source, guard) }
	case 5, 6:
		return func() error { return l.PutManifest(ctx, to, m, guard) }
	case 7:
		return func() error { return l.DeleteManifest(ctx, to, m.Digest, "test", guard) }
	case 8, 9:
		return func() error { return l.DeleteBlob(ctx, to, digest.FromString(layer), guard) }
	case 10:
		return func() error { return l.folder.Fold(ctx) }
	case 11:
		return func() error { return l.DeleteRepository(ctx, to, "test", guard) }
	case 12:
		return func() error {
			_, err := l.RestoreRepository(ctx, to, "test", guard)
			return err
		}
	case 13, 14:
		return func() error {
			_, err := l.RestoreManifest(ctx, to, m.Digest, "test", guard)
			return err
		}
	default:
		return func() error {
			_, err := l.tenants.Recount(ctx, l.here.Project)
			return err
		}
	}
}

// expected tells outcomes of a move that are no failure: there was nothing to do, or something was in the way.
func expected(err error) bool {
	for _, known := range []error{
		content.ErrNotFound, content.ErrInUse, content.ErrBlobsMissing, content.ErrHidden, projects.ErrClaimed,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return err == nil
}

// TestLedgerAgreesWithARecount: whatever meets whatever, the totals and the deltas are what the project holds.
func TestLedgerAgreesWithARecount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLedger(w)
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		seen := map[int64]bool{}
		for i := range 60 {
			var moves []func() error
			for range 8 {
				moves = append(moves, l.move(r))
			}
			if i%10 == 9 {
				moves = append(moves, func() error {
					_, err := l.tenants.Claim(t.Context(), nil, projects.ClaimRequest{ProjectID: l.here.Project, Owner: l.owner, DiscardContent: true})
					return err
				})
			}
			for j, err := range together(moves...) {
				if !expected(err) {
					t.Errorf("seed %d, round %d, move %d: %v", seed, i, j, err)
				}
			}
			l.agrees(fmt.Sprintf("seed %d, round %d", seed, i))
			w.consistent(i)
			w.exec(`UPDATE projects SET state = 'unclaimed', epoch = 1`)
			seen[l.counted()] = true
		}
		if len(seen) < 5 {
			t.Errorf("too little has happened: %v", seen)
		}
		for _, err := range together(
			func() error { return l.folder.Fold(t.Context()) }, func() error { return l.folder.Fold(t.Context()) },
		) {
			w.must(err)
		}
		l.agrees("after folding")
		if n := w.count(`SELECT count(*) FROM usage_deltas`); n != 0 {
			t.Errorf("%d deltas are left", n)
		}
	})
}

// TestABlobCountsOnce: whoever is first to show it in a project and last to hide it, also at once.
func TestABlobCountsOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLedger(w)
		for i := range rounds {
			layer := name("layer", i)
			d := digest.FromString(layer)
			var pushes, deletes []func() error
			for _, p := range []content.Place{w.here, w.there, {Project: w.here.Project, Path: "third"}} {
				pushes = append(pushes, func() error { return l.push(p, layer, 10) })
				deletes = append(deletes, func() error { return w.DeleteBlob(t.Context(), p, d, sharing{p.Project}) })
			}
			for _, err := range together(append(pushes, pushes...)...) {
				w.must(err)
			}
			if got := l.counted(); got != 10 {
				t.Fatalf("round %d: %d bytes after pushes", i, got)
			}
			for _, err := range together(deletes...) {
				w.must(err)
			}
			if got := l.counted(); got != 0 {
				t.Fatalf("round %d: %d bytes after deletions", i, got)
			}
		}
	})
}

// TestRecountRepairs: what was lost or invented in the ledger is set right.
func TestRecountRepairs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := newLedger(w)
		w.must(l.push(w.here, "layer", 100))
		w.must(l.folder.Fold(t.Context()))
		w.must(l.push(w.here, "other", 10))
		w.exec(`UPDATE usage_totals SET bytes = -5`)
		u, err := l.tenants.Recount(t.Context(), w.here.Project)
		if err != nil || u.Bytes != 110 {
			t.Errorf("%+v, %v", u, err)
		}
		l.agrees("after the recount")
	})
}

// TestFoldManyDeltas takes more than one round, by several replicas, with none twice.
func TestFoldManyDeltas(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const deltas = 2500
		b := &database.Batch{}
		for range deltas {
			b.Exec(appendTestDelta, uuid.Must(uuid.NewV7()), w.here.Project)
		}
		w.must(w.db.Run(t.Context(), b))
		l := newLedger(w)
		fold := func() error { return l.folder.Fold(t.Context()) }
		for _, err := range together(fold, fold, fold) {
			w.must(err)
		}
		w.must(fold()) // what a replica that came second left to the first
		if total, left := w.count(`SELECT sum(bytes) FROM usage_totals`), w.count(`SELECT count(*) FROM usage_deltas`); total != 3*deltas || left != 0 {
			t.Errorf("the total is %d, %d deltas are left", total, left)
		}
	})
}

var appendTestDelta = database.SQL(`INSERT INTO usage_deltas (id, project_id, bytes, reason, at) VALUES ($1, $2, 3, 'test', 0)`)
