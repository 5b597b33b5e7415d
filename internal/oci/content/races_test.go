package content_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
)

const rounds = 20

// TestManifestPutAgainstBlobDelete: one of the two wins, never both: no live manifest lacks a blob.
func TestManifestPutAgainstBlobDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		stays, other := w.blob(w.here, "stays"), w.replica()
		wins := [2]int{}
		for i := range rounds {
			layer := w.blob(w.here, name("layer", i))
			m := manifest(name("manifest", i), []digest.Digest{layer, stays}, "latest")
			errs := together(
				func() error { return w.PutManifest(t.Context(), w.here, m, free{}) },
				func() error { return other.DeleteBlob(t.Context(), w.here, layer, free{}) },
			)
			var missing *content.MissingBlobsError
			switch {
			case errs[0] == nil && errors.Is(errs[1], content.ErrInUse):
				wins[0]++
			case errors.As(errs[0], &missing) && errs[1] == nil:
				wins[1]++
				if !slices.Equal(missing.Digests, []digest.Digest{layer}) {
					t.Errorf("round %d: missing %s", i, missing.Digests)
				}
			default:
				t.Errorf("round %d: put %v, delete %v", i, errs[0], errs[1])
			}
			w.consistent(i)
		}
		t.Logf("%d puts and %d deletes won", wins[0], wins[1])
	})
}

// TestManifestRevivedAgainstBlobDelete: neither does one that a push brings back.
func TestManifestRevivedAgainstBlobDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range rounds {
			layer := w.blob(w.here, name("layer", i))
			m := manifest(name("manifest", i), []digest.Digest{layer}, "latest")
			w.must(w.PutManifest(t.Context(), w.here, m, free{}))
			w.must(w.DeleteManifest(t.Context(), w.here, m.Digest, "test", free{}))
			errs := together(
				func() error { return w.PutManifest(t.Context(), w.here, m, free{}) },
				func() error { return w.DeleteBlob(t.Context(), w.here, layer, free{}) },
			)
			if put, deleted := errs[0] == nil, errs[1] == nil; put == deleted ||
				!put && !errors.Is(errs[0], content.ErrBlobsMissing) || !deleted && !errors.Is(errs[1], content.ErrInUse) {
				t.Errorf("round %d: put %v, delete %v", i, errs[0], errs[1])
			}
			w.consistent(i)
		}
	})
}

// TestManifestPutAgainstItsDelete: a tag and its manifest are both there or both gone.
func TestManifestPutAgainstItsDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := w.replica()
		m := manifest("manifest", nil, "v1", "v2")
		w.must(w.PutManifest(t.Context(), w.here, m, free{}))
		for i := range rounds {
			errs := together(
				func() error { return w.PutManifest(t.Context(), w.here, m, free{}) },
				func() error { return other.DeleteManifest(t.Context(), w.here, m.Digest, "test", free{}) },
				func() error { return other.DeleteTag(t.Context(), w.here, "v1", "test", free{}) },
			)
			for j, err := range errs {
				if err != nil && (j == 0 || !errors.Is(err, content.ErrNotFound)) {
					t.Errorf("round %d, %d: %v", i, j, err)
				}
			}
			w.consistent(i)
			_, byTag := w.ManifestByTag(t.Context(), w.here, "v2", false)
			_, byDigest := w.ManifestByDigest(t.Context(), w.here, m.Digest, false)
			if (byTag == nil) != (byDigest == nil) {
				t.Errorf("round %d: by tag %v, by digest %v", i, byTag, byDigest)
			}
		}
	})
}

// TestManifestPutTwice: equal pushes at once all succeed, and leave one manifest.
func TestManifestPutTwice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		layers := []digest.Digest{w.blob(w.here, "b"), w.blob(w.here, "a")}
		for i := range rounds {
			m := manifest(name("manifest", i), layers, "latest", name("tag", i))
			m.Children = []digest.Digest{digest.FromString("child")}
			put := func() error { return w.PutManifest(t.Context(), w.here, m, free{}) }
			for _, err := range together(put, put, put, put) {
				if err != nil {
					t.Errorf("round %d: %v", i, err)
				}
			}
			w.consistent(i)
		}
		if n := w.count(`SELECT count(*) FROM manifests`); n != rounds {
			t.Errorf("%d manifests", n)
		}
	})
}

// TestTagMoves: tags end up at one of the manifests that were pushed last, whose name the history has last, in whatever
// order the pushes name their tags.
func TestTagMoves(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		tags := []string{"a", "b", "c", "d"}
		for i := range rounds {
			var moves []func() error
			for j := range 4 {
				order := slices.Clone(tags)
				if j%2 == 1 {
					slices.Reverse(order)
				}
				m := manifest(name(fmt.Sprintf("manifest %d of round", j), i), nil, append(order, name("new", i))...)
				moves = append(moves, func() error { return w.PutManifest(t.Context(), w.here, m, free{}) })
				if j == 3 {
					moves = append(moves, func() error { return notFound(w.DeleteManifest(t.Context(), w.here, m.Digest, "test", free{})) })
				}
			}
			moves = append(moves, func() error { return notFound(w.DeleteTag(t.Context(), w.here, "a", "test", free{})) })
			for j, err := range together(moves...) {
				if err != nil {
					t.Errorf("round %d, move %d: %v", i, j, err)
				}
			}
			w.consistent(i)
		}
	})
}

// notFound is err, unless it says that there was nothing to do.
func notFound(err error) error {
	if errors.Is(err, content.ErrNotFound) {
		return nil
	}
	return err
}

// TestMountAgainstDelete: a mount succeeds or finds nothing; the deletion of the source takes nothing from it.
func TestMountAgainstDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range rounds {
			d := w.blob(w.there, name("layer", i))
			from := w.source()
			if i%2 == 1 {
				from = nil // from anywhere in the project
			}
			errs := together(
				func() error { return w.Mount(t.Context(), w.here, d, from, free{}) },
				func() error { return w.DeleteBlob(t.Context(), w.there, d, free{}) },
			)
			_, err := w.BlobStat(t.Context(), w.here, d)
			if errs[1] != nil || notFound(errs[0]) != nil || (errs[0] == nil) != (err == nil) {
				t.Errorf("round %d: mount %v, delete %v, look-up %v", i, errs[0], errs[1], err)
			}
		}
	})
}

// TestMountFromAProjectThatHasChanged: a decision about the source from before a claim or a suspension mounts nothing.
func TestMountFromAProjectThatHasChanged(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.blob(w.here, "makes the repository")
		d := w.blob(w.there, "layer")
		for _, change := range []string{`UPDATE projects SET epoch = 2`, `UPDATE projects SET epoch = 1, state = 'suspended'`} {
			w.exec(change)
			if err := w.Mount(t.Context(), w.here, d, w.source(), free{}); !errors.Is(err, content.ErrNotFound) {
				t.Errorf("after %s: %v", change, err)
			}
		}
		w.exec(`UPDATE projects SET state = 'unclaimed'`)
		w.must(w.Mount(t.Context(), w.here, d, w.source(), free{}))
	})
}

// TestMountAgainstTheCollector: a blob that goes away between the look at its link and the new one is not found.
func TestMountAgainstTheCollector(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.blob(w.here, "makes the repository")
		for _, from := range []*content.Source{w.source(), nil} {
			d := w.blob(w.there, "collected")
			mounted := make(chan error, 1)
			w.must(w.db.Gorm().Transaction(func(tx *gorm.DB) error {
				if err := tx.Exec(`DELETE FROM repository_blobs WHERE digest = ?`, d.String()).Error; err != nil {
					return err
				}
				if err := tx.Exec(`DELETE FROM blobs WHERE digest = ?`, d.String()).Error; err != nil {
					return err
				}
				go func() { mounted <- w.Mount(context.WithoutCancel(t.Context()), w.here, d, from, free{}) }()
				w.blocked()
				return nil
			}))
			if err := <-mounted; !errors.Is(err, content.ErrNotFound) {
				t.Errorf("mount: %v", err)
			}
		}
	})
}

// blocked waits until a transaction waits for the lock of another one. On SQLite, whose writer is one, none begins.
func (w *world) blocked() {
	w.tb.Helper()
	if w.db.Dialect() == database.SQLite {
		return
	}
	deadline, again := time.After(10*time.Second), time.NewTicker(5*time.Millisecond)
	defer again.Stop()
	for w.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 0 {
		select {
		case <-again.C:
		case <-deadline:
			w.tb.Fatal("nothing waits for a lock")
		}
	}
}
