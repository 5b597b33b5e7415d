package gc_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/storage"
)

// watched is a store that notes which prefixes are listed, and may fail at it or at removing.
type watched struct {
	storage.Store
	listed           []string
	failing, keeping bool
	interrupt        func()
}

// List implements storage.Store.
func (s *watched) List(ctx context.Context, prefix string, yield func(storage.Object) error) error {
	s.listed = append(s.listed, prefix)
	if s.failing {
		return storage.ErrUnavailable
	}
	if s.interrupt != nil {
		s.interrupt()
	}
	return s.Store.List(ctx, prefix, yield)
}

// Delete implements storage.Store.
func (s *watched) Delete(ctx context.Context, keys ...string) error {
	if s.keeping {
		return storage.ErrUnavailable
	}
	return s.Store.Delete(ctx, keys...)
}

// put stores an object without a row.
func (w *world) put(key string, content []byte) {
	w.t.Helper()
	o, err := w.env.Store.Create(w.t.Context(), key, int64(len(content)))
	w.must(err)
	_, err = o.Write(content)
	w.must(err)
	w.must(o.Commit(w.t.Context()))
}

func (w *world) day(ahead int) string {
	return w.clock.Now().UTC().AddDate(0, 0, ahead).Format(time.DateOnly)
}

// TestOrphansOfADay are found two days later, once, by a list of that day's prefix alone. What has a row stays, in a
// blob or in an upload that is still open.
func TestOrphansOfADay(t *testing.T) {
	each(t, ocitest.Options{Batch: 3}, func(t *testing.T, w *world) {
		blob := noise(5*chunkSize, 1)
		w.Push("demo/app", blob)
		w.Want(http.StatusAccepted, http.MethodPatch, w.Start("demo/app"), noise(3*chunkSize, 2)) // stays open
		today := w.day(0)
		for _, name := range []string{"a", "b", "c", "d"} {
			w.put(today+"/lost/"+name, noise(100, 3))
		}
		store := &watched{Store: w.env.Store}
		c := w.collector(func(cfg *gc.Config) { cfg.Store, cfg.Batch, cfg.SweepDelay = store, 3, time.Hour })
		collect := func() gc.Figures {
			t.Helper()
			w.exec(`UPDATE repository_blobs SET keep_until = ?`, w.clock.Now().Add(24*time.Hour).UnixMicro())
			f, err := c.Collect(t.Context())
			w.must(err)
			return f
		}
		if f := collect(); f.Orphans != 0 {
			t.Errorf("on the same day: %+v", f)
		}
		store.listed = nil
		w.clock.advance(47 * time.Hour) // into the second day after, at most
		w.clock.advance(time.Hour)
		if f := collect(); f.Orphans != 4 || f.OrphanBytes != 400 {
			t.Errorf("two days later: %+v", f)
		}
		w.clock.advance(2 * time.Hour)
		if f := collect(); f.Orphans != 0 || f.RemovedObjects != 4 {
			t.Errorf("after the sweep delay: %+v", f)
		}
		times := 0
		for _, prefix := range store.listed {
			if prefix == today+"/" {
				times++
			}
		}
		if times != 1 {
			t.Errorf("today's prefix was listed %d times: %v", times, store.listed)
		}
		if !w.has("demo/app", blob) {
			t.Error("the blob is gone")
		}
		w.consistent()
		w.bareStore()
	})
}

// TestAClockThatIsAheadClosesNoDay: of replicas whose clock is days ahead, the database's own says which days are over, from
// the first one on. Everybody goes on uploading.
func TestAClockThatIsAheadClosesNoDay(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.Push("demo/app", noise(chunkSize, 1))
		ahead := w.collector(func(cfg *gc.Config) {
			cfg.DatabaseClock = nil // the true one
			cfg.Clock = func() time.Time { return time.Now().Add(5 * 24 * time.Hour) }
		})
		for i := range 3 {
			_, err := ahead.Collect(t.Context())
			w.must(err)
			w.Push("demo/app", noise(chunkSize, byte(2+i)))
		}
		if n := w.count(`SELECT count(*) FROM swept_days WHERE day >= ?`, w.day(-1)); n != 0 {
			t.Errorf("%d days are closed that are not over", n)
		}
		if n := w.count(`SELECT count(*) FROM swept_days`); n == 0 {
			t.Error("no day is closed")
		}
		w.clock.advance(72 * time.Hour) // all clocks do
		if f := w.collect(); f.Days < 1 {
			t.Errorf("%+v", f)
		}
	})
}

// TestADayIsResumed by another replica when one has died while it looked through it, and when the store did not answer.
func TestADayIsResumed(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.Push("demo/app", noise(chunkSize, 1))
		today := w.day(0)
		w.put(today+"/lost/a", noise(100, 3))
		w.clock.advance(72 * time.Hour)

		dying, cancel := context.WithCancel(t.Context())
		died := &watched{Store: w.env.Store, interrupt: cancel}
		_, err := w.collector(func(cfg *gc.Config) { cfg.Store = died }).Collect(dying)
		if !errors.Is(err, context.Canceled) || len(died.listed) == 0 {
			t.Fatalf("not interrupted: %v, %v", err, died.listed)
		}
		if f := w.collect(); f.Days != w.count(`SELECT count(*) FROM swept_days`)-2 {
			t.Errorf("the day of the dead one was taken before its lease ended: %+v", f)
		}
		w.exec(`UPDATE swept_days SET lease_until = 0 WHERE done_at IS NULL`) // it ends
		if f := w.collect(); f.Days != 1 {
			t.Errorf("%+v", f)
		}
		if n := w.count(`SELECT count(*) FROM swept_days WHERE done_at IS NULL`); n != 0 {
			t.Errorf("%d days are not done", n)
		}
		if n := w.count(`SELECT count(*) FROM doomed_objects WHERE object_key = ?`, today+"/lost/a"); n != 1 {
			t.Error("the orphan was not found")
		}
	})
}

// TestASleepingWriterGetsNoRow: a chunk whose day was looked through meanwhile fails with 503, and is sent again.
func TestASleepingWriterGetsNoRow(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(chunkSize, 1)
		location := w.Start("demo/app")
		day := w.clock.Now().Add(time.Hour).UTC().Format(time.DateOnly)
		w.exec(`INSERT INTO swept_days (day) VALUES (?)`, day)
		target := ocitest.Query(location, "digest", digest.FromBytes(blob).String())
		if a := w.Want(http.StatusServiceUnavailable, http.MethodPut, target, blob); a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		w.exec(`DELETE FROM swept_days`)
		w.Want(http.StatusCreated, http.MethodPut, target, blob)
		w.consistent()
	})
}

// TestDoomedObjectsWithARowStay, whatever has doomed them.
func TestDoomedObjectsWithARowStay(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(3*chunkSize, 1)
		w.Push("demo/app", blob)
		w.exec(`INSERT INTO doomed_objects (object_key, size, delete_after) SELECT object_key, size, 0 FROM chunks`)
		w.put(w.day(0)+"/lost/a", noise(100, 3))
		w.exec(`INSERT INTO doomed_objects (object_key, size, delete_after) VALUES (?, 100, 0)`, w.day(0)+"/lost/a")
		if f := w.collect(); f.RemovedObjects != 1 || !w.has("demo/app", blob) {
			t.Errorf("%+v", f)
		}
		w.consistent()
		w.bareStore()
	})
}

// TestObjectsThatStorageKeepsAreTriedAgain, later, and their bytes count only once they are gone.
func TestObjectsThatStorageKeepsAreTriedAgain(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.put(w.day(0)+"/lost/a", noise(100, 3))
		w.exec(`INSERT INTO doomed_objects (object_key, size, delete_after) VALUES (?, 100, 0)`, w.day(0)+"/lost/a")
		store := &watched{Store: w.env.Store, keeping: true}
		c := w.collector(func(cfg *gc.Config) { cfg.Store = store })
		for i, want := range []int64{0, 0, 1} {
			f, err := c.Collect(t.Context())
			w.must(err)
			if f.RemovedObjects != want {
				t.Errorf("round %d: %+v", i, f)
			}
			store.keeping = i == 0
			w.clock.advance(time.Duration(i*16) * time.Minute)
		}
		if s, err := c.Status(t.Context(), 5); err != nil || s.RemovedObjects != 1 || s.RemovedBytes != 100 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// TestDaysUnderWay are looked through each time where no age is set, for tests and repairs.
func TestDaysUnderWay(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(chunkSize, 1)
		w.Push("demo/app", blob)
		c := w.collector(func(cfg *gc.Config) { cfg.OrphanAge = 0 })
		for i := range 2 {
			w.put(w.day(0)+"/lost/"+strings.Repeat("a", i+1), noise(100, 3))
			if f, err := c.Collect(t.Context()); err != nil || f.Orphans != 1 || f.RemovedObjects != 1 {
				t.Errorf("%+v, %v", f, err)
			}
		}
		w.bareStore()
		w.Push("demo/app", noise(chunkSize, 2)) // no day is closed
		if !w.has("demo/app", blob) {
			t.Error("the blob is gone")
		}
	})
}
