package content_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
)

// hands is a clock that only the test moves.
type hands struct{ now time.Time }

func (h *hands) Now() time.Time { return h.now }

// pulling is a replica with a clock of its own.
func (w *world) pulling(clock *hands) *content.Store {
	return content.New(content.Config{
		DB: w.db, Clock: clock.Now, LinkLife: time.Hour, TrashLife: time.Hour, ManifestCache: 1 << 20,
	})
}

// image makes a manifest without blobs.
func (w *world) image(p content.Place, name string) digest.Digest {
	w.tb.Helper()
	m := manifest(name, nil)
	w.must(w.PutManifest(w.tb.Context(), p, m, free{}))
	return m.Digest
}

// pull reads a manifest as a GET does.
func (w *world) pull(s *content.Store, p content.Place, d digest.Digest) {
	w.tb.Helper()
	m, err := s.ManifestByDigest(w.tb.Context(), p, d, true)
	if err != nil {
		w.tb.Fatal(err)
	}
	s.Pulled(m)
}

func (w *world) flush(s *content.Store) {
	w.tb.Helper()
	if err := s.FlushPulls(w.tb.Context()); err != nil {
		w.tb.Fatal(err)
	}
}

// wantPulled compares the last pulls of a manifest and of its repository, zero for never.
func (w *world) wantPulled(p content.Place, d digest.Digest, manifest, repository time.Time) {
	w.tb.Helper()
	micros := func(at time.Time) int64 {
		if at.IsZero() {
			return 0
		}
		return database.ToMicros(at)
	}
	var gotManifest, gotRepository int64
	err := w.db.Gorm().Raw(`
		SELECT coalesce(m.last_pulled_at, 0), coalesce(r.last_pulled_at, 0)
		FROM repositories r JOIN manifests m ON m.repository_id = r.id
		WHERE r.project_id = ? AND r.path = ? AND m.digest = ?`, p.Project, p.Path, d.String()).Row().Scan(&gotManifest, &gotRepository)
	if err != nil {
		w.tb.Fatal(err)
	}
	if gotManifest != micros(manifest) || gotRepository != micros(repository) {
		w.tb.Errorf("manifest pulled at %d, repository at %d; want %d and %d", gotManifest, gotRepository, micros(manifest), micros(repository))
	}
}

func TestLastPullsAreSampled(t *testing.T) {
	each(t, func(_ *testing.T, w *world) {
		start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		clock := &hands{start}
		s := w.pulling(clock)
		one, two := w.image(w.here, "one"), w.image(w.here, "two")
		never := time.Time{}

		w.pull(s, w.here, one)
		w.wantPulled(w.here, one, never, never) // only noted
		w.flush(s)
		w.wantPulled(w.here, one, start, start)

		clock.now = start.Add(time.Hour - time.Second)
		w.pull(s, w.here, one)
		w.flush(s)
		w.wantPulled(w.here, one, start, start)

		w.pull(s, w.here, two)
		w.flush(s)
		w.wantPulled(w.here, two, clock.now, start)

		clock.now = start.Add(time.Hour + time.Second)
		w.pull(s, w.here, one)
		w.flush(s)
		w.wantPulled(w.here, one, clock.now, clock.now)
	})
}

func TestPullsTakeOneTripForAllOrNone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := w.replica()
		for _, name := range []string{"one", "two", "three"} {
			w.pull(s, w.here, w.image(w.here, name))
			w.pull(s, w.there, w.image(w.there, name))
		}
		for _, want := range []int64{1, 0} {
			before := w.db.Commits()
			w.flush(s)
			if commits := w.db.Commits() - before; commits != want {
				t.Errorf("%d commits, want %d", commits, want)
			}
		}
	})
}

// Two replicas that have noted the same, in whatever order, neither wait for each other for ever nor write twice.
func TestReplicasWriteTheSamePulls(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		clock := &hands{time.Now()}
		stores := []*content.Store{w.pulling(clock), w.pulling(clock), w.pulling(clock)}
		var images []digest.Digest
		for i := range 20 {
			images = append(images, w.image(w.here, string(rune('a'+i))))
			w.image(w.there, string(rune('a'+i)))
		}
		for _, s := range stores {
			for _, d := range images {
				w.pull(s, w.there, d)
				w.pull(s, w.here, d)
			}
		}
		var wg sync.WaitGroup
		for _, s := range stores {
			wg.Go(func() {
				if err := s.FlushPulls(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, d := range images {
			w.wantPulled(w.here, d, clock.now, clock.now)
			w.wantPulled(w.there, d, clock.now, clock.now)
		}
	})
}

func TestPullsThatCouldNotBeWrittenAreWrittenLater(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		clock := &hands{time.Now()}
		s, d := w.pulling(clock), w.image(w.here, "image")
		w.pull(s, w.here, d)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.FlushPulls(ended); !errors.Is(err, context.Canceled) {
			t.Fatalf("a flush without time: %v", err)
		}
		w.wantPulled(w.here, d, time.Time{}, time.Time{})
		w.flush(s)
		w.wantPulled(w.here, d, clock.now, clock.now)
	})
}

func TestAStoppingServerWritesItsPulls(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		clock := &hands{time.Now()}
		s, d := w.pulling(clock), w.image(w.here, "image")
		w.pull(s, w.here, d)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ended); err != nil {
			t.Error(err)
		}
		w.wantPulled(w.here, d, clock.now, clock.now)
	})
}
