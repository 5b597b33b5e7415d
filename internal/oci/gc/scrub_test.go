package gc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/oci/scrub"
	"github.com/berthregistry/berth/internal/storage"
)

// Scrubs are tested here, in the world of the collection and the compaction that they race with.

// scrub does one scrub of everything.
func (w *world) scrub() scrub.Figures {
	w.t.Helper()
	figures, err := w.r.Scrubber.Scrub(w.t.Context(), scrub.Order{Fraction: 1})
	w.must(err)
	return figures
}

// scrubber is another one on the same backends.
func (w *world) scrubber(change func(*scrub.Config)) *scrub.Scrubber {
	cfg := scrub.Config{DB: w.env.DB, Store: w.env.Store, Clock: w.clock.Now, Wait: func(context.Context, time.Duration) error { return nil }}
	change(&cfg)
	return scrub.New(cfg)
}

// keysOf are the keys of a blob's objects, in order.
func (w *world) keysOf(content []byte) (keys []string) {
	w.t.Helper()
	w.must(w.env.DB.Gorm().Raw(`SELECT c.object_key FROM chunks c JOIN blobs b ON b.id = c.owner_id WHERE b.digest = ?
		ORDER BY c.start`, digest.FromBytes(content).String()).Scan(&keys).Error)
	return keys
}

// overwrite gives an object other bytes, as no store does by itself; nil removes it.
func (w *world) overwrite(key string, content []byte) {
	w.t.Helper()
	w.must(w.env.Store.Delete(w.t.Context(), key))
	if content != nil {
		w.put(key, content)
	}
}

func (w *world) findings(all bool) map[string]scrub.Finding {
	w.t.Helper()
	list, err := w.r.Scrubber.Findings(w.t.Context(), all, database.Page{Limit: 100})
	w.must(err)
	found := map[string]scrub.Finding{}
	for _, f := range list {
		found[string(f.Digest)] = f
	}
	return found
}

// TestScrub damages blobs in every way, and a manifest. What is damaged is not served any more, its bytes stay, and a push
// of the same content into one repository heals it in all of them.
func TestScrub(t *testing.T) {
	each(t, ocitest.Options{Batch: 2}, func(t *testing.T, w *world) {
		blobs := map[string][]byte{}
		for i, name := range []string{"whole", "flipped", "short", "long", "missing", "second chunk"} {
			blobs[name] = noise(5000+i, byte(10+i))
		}
		blobs["second chunk"] = noise(3*chunkSize, 3)
		manifest, manifestDigest := w.Image("demo/app", "v1", blobs["whole"], blobs["flipped"], blobs["short"], blobs["long"], blobs["missing"], blobs["second chunk"])
		other, _ := w.Image("other/app", "v1", blobs["flipped"], blobs["missing"], blobs["second chunk"])
		if f := w.scrub(); f.Blobs != 7 || f.Manifests != 2 || f.Passed != f.TotalBlobs || len(w.findings(true)) != 0 || f.Damaged+f.Missing+f.DamagedManifests != 0 {
			t.Fatalf("before anything is damaged: %+v", f)
		}

		flipped := bytes.Clone(blobs["flipped"])
		flipped[100] ^= 1
		w.overwrite(w.keysOf(blobs["flipped"])[0], flipped)
		w.overwrite(w.keysOf(blobs["short"])[0], blobs["short"][:4000])
		w.overwrite(w.keysOf(blobs["long"])[0], append(bytes.Clone(blobs["long"]), 'x'))
		w.overwrite(w.keysOf(blobs["missing"])[0], nil)
		w.overwrite(w.keysOf(blobs["second chunk"])[1], noise(chunkSize, 99))
		w.exec(`UPDATE manifests SET content = ? WHERE digest = ?`, append(bytes.Clone(manifest), ' '), manifestDigest.String())
		objects := len(w.objects())

		f := w.scrub()
		if f.Damaged != 4 || f.Missing != 1 || f.DamagedManifests != 1 {
			t.Errorf("%+v", f)
		}
		found := w.findings(false)
		for name, content := range blobs {
			d := digest.FromBytes(content).String()
			finding, damaged := found[d]
			if damaged != (name != "whole") || damaged && (finding.Kind == scrub.KindMissing) != (name == "missing") {
				t.Errorf("%s: %t, %+v", name, damaged, finding)
			}
			if damaged && name != "second chunk" && finding.Object != w.keysOf(content)[0] {
				t.Errorf("%s: the object is not named: %+v", name, finding)
			}
			status := http.StatusOK
			if damaged {
				status = http.StatusNotFound
			}
			w.Want(status, http.MethodHead, "/v2/demo/app/blobs/"+d, nil)
			w.Want(status, http.MethodGet, "/v2/demo/app/blobs/"+d, nil)
			mounted := http.StatusCreated
			if damaged {
				mounted = http.StatusAccepted
			}
			for _, from := range []string{"", "&from=demo/app"} {
				w.Want(mounted, http.MethodPost, "/v2/demo/more/blobs/uploads/?mount="+d+from, nil)
			}
		}
		if found[manifestDigest.String()].Kind != scrub.KindManifest {
			t.Errorf("%+v", found)
		}
		w.Want(http.StatusOK, http.MethodGet, "/v2/other/app/manifests/v1", nil)
		a := w.Want(http.StatusBadRequest, http.MethodPut, "/v2/other/app/manifests/v2", other, "Content-Type", manifestType)
		if a.Code() != "MANIFEST_BLOB_UNKNOWN" {
			t.Errorf("a manifest of damaged blobs: %s", a.Body)
		}
		if f := w.scrub(); f.Damaged != 4 || f.Missing != 1 || len(w.findings(true)) != 6 || len(w.objects()) != objects {
			t.Errorf("again: %+v, %d findings", f, len(w.findings(true)))
		}

		for _, content := range blobs {
			w.Push("demo/app", content)
		}
		w.PutManifest("demo/app", "v1", manifestType, manifest)
		for name, content := range blobs {
			if !w.has("demo/app", content) || (name == "flipped" || name == "missing" || name == "second chunk") && !w.has("other/app", content) {
				t.Errorf("%s was not healed", name)
			}
		}
		if f := w.scrub(); f.Damaged+f.Missing+f.DamagedManifests != 0 || f.Recovered != 1 || len(w.findings(false)) != 0 {
			t.Errorf("after healing: %+v, %v", f, w.findings(false))
		}
		if f := w.findings(true)[digest.FromBytes(blobs["long"]).String()]; f.Outcome != scrub.OutcomeHealed || f.EndedAt.IsZero() {
			t.Errorf("%+v", f)
		}
		w.consistent()
		w.clock.advance(6 * 24 * time.Hour)
		w.collect()
		if n := w.count(`SELECT count(*) FROM doomed_objects`); n != 7 {
			t.Errorf("%d objects of what was damaged wait, want 7 of 5 blobs", n)
		}
	})
}

// TestScrubFindsWholeAgain what an operator has put back, and forgets what nobody needs any more.
func TestScrubFindsWholeAgain(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		back, gone := noise(2*chunkSize, 1), noise(chunkSize, 2)
		w.Push("demo/app", back)
		w.Push("demo/app", gone)
		key := w.keysOf(back)[1]
		w.overwrite(key, nil)
		w.overwrite(w.keysOf(gone)[0], nil)
		if f := w.scrub(); f.Missing != 2 || w.has("demo/app", back) {
			t.Errorf("%+v", f)
		}
		// A damaged blob is not made another one of.
		w.exec(`UPDATE blob_compactions SET due_at = 0`)
		compactor := w.collector(func(c *gc.Config) { c.CompactChunks = 1 })
		if f, err := compactor.Compact(t.Context()); err != nil || f.CompactedBlobs != 0 {
			t.Errorf("%+v, %v", f, err)
		}
		w.put(key, back[chunkSize:])
		w.exec(`DELETE FROM repository_blobs WHERE digest = ?`, digest.FromBytes(gone).String())
		w.exec(`INSERT INTO blob_reviews (blob_id, created_at) SELECT id, 0 FROM blobs WHERE digest = ?`, digest.FromBytes(gone).String())
		w.collect()
		w.Push("demo/app", gone) // another blob, which the finding is not about
		if f := w.scrub(); f.Recovered != 1 || len(w.findings(false)) != 0 || f.Missing != 0 || !w.has("demo/app", back) {
			t.Errorf("%+v", f)
		}
		found := w.findings(true)
		if found[digest.FromBytes(back).String()].Outcome != scrub.OutcomeRecovered || found[digest.FromBytes(gone).String()].Outcome != scrub.OutcomeGone {
			t.Errorf("%+v", found)
		}
		if f, err := compactor.Compact(t.Context()); err != nil || f.CompactedBlobs != 1 {
			t.Errorf("%+v, %v", f, err)
		}
		if n := w.count(`SELECT count(*) FROM audit_log WHERE action IN ('blob.quarantine', 'blob.recover')`); n != 3 {
			t.Errorf("%d entries in the audit log", n)
		}
	})
}

// opened is a store that tells of objects that are opened, before they are, and may fail then.
type opened struct {
	storage.Store
	before func(key string) error
}

// Open implements storage.Store.
func (s *opened) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := s.before(key); err != nil {
		return nil, err
	}
	return s.Store.Open(ctx, key, offset, length)
}

// TestScrubIsNotFooled by what is compacted, collected or healed, with its objects removed at once, while it is read.
func TestScrubIsNotFooled(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		compacted, collected, healed := noise(3*chunkSize, 1), noise(2*chunkSize, 2), noise(chunkSize, 3)
		for _, content := range [][]byte{compacted, collected, healed} {
			w.Push("demo/app", content)
		}
		w.exec(`UPDATE repository_blobs SET keep_until = ?`, w.clock.Now().Add(24*time.Hour).UnixMicro())
		acts := map[string]func(){
			w.keysOf(compacted)[1]: func() {
				f, err := w.collector(func(c *gc.Config) { c.CompactChunks = 2 }).Compact(t.Context())
				w.must(err)
				if f.CompactedBlobs == 0 {
					t.Error("nothing was compacted")
				}
				_, err = w.collector(nil).Collect(t.Context())
				w.must(err)
			},
			w.keysOf(collected)[1]: func() {
				w.exec(`UPDATE repository_blobs SET keep_until = 0 WHERE digest = ?`, digest.FromBytes(collected).String())
				_, err := w.collector(nil).Collect(t.Context())
				w.must(err)
			},
			w.keysOf(healed)[0]: func() {
				w.exec(`UPDATE blobs SET damaged_at = 1 WHERE digest = ?`, digest.FromBytes(healed).String())
				w.Push("demo/app", healed)
				w.exec(`UPDATE doomed_objects SET delete_after = 0`)
				_, err := w.collector(nil).Collect(t.Context())
				w.must(err)
			},
		}
		store := &opened{Store: w.env.Store, before: func(key string) error {
			if act := acts[key]; act != nil {
				delete(acts, key)
				act()
			}
			return nil
		}}
		f, err := w.scrubber(func(c *scrub.Config) { c.Store = store }).Scrub(t.Context(), scrub.Order{Fraction: 1})
		if err != nil || f.Damaged+f.Missing+f.Unread+f.Changed != 0 || len(w.findings(true)) != 0 || len(acts) != 0 {
			t.Errorf("%+v, %v, %v, %d acts not done", f, err, w.findings(true), len(acts))
		}
		if !w.has("demo/app", compacted) || w.has("demo/app", collected) || !w.has("demo/app", healed) {
			t.Error("not as it has to be")
		}
		w.consistent()
	})
}

// TestScrubGoesOn where a process stopped: one that was told to end, and one that sleeps and wakes up as a zombie.
func TestScrubGoesOn(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		const blobs = 7
		for i := range blobs {
			w.Push("demo/app", noise(1000+i, byte(i)))
		}
		opens, stopped := 0, errors.New("stopped")
		ctx, cancel := context.WithCancel(t.Context())
		var second func()
		store := &opened{Store: w.env.Store, before: func(string) error {
			opens++
			switch opens {
			case 3:
				cancel()
				return stopped
			case 5:
				second()
			}
			return nil
		}}
		// The lease has always run out, and the database is told of every blob.
		one := w.scrubber(func(c *scrub.Config) { c.Store, c.Lease, c.Batch = store, time.Nanosecond, 2 })
		f, err := one.Scrub(ctx, scrub.Order{Fraction: 1})
		if !errors.Is(err, context.Canceled) || f.Passed != 2 {
			t.Fatalf("%+v, %v", f, err)
		}
		second = func() {
			w.exec(`UPDATE scrub_runs SET lease_until = 0`)
			resumed := false
			f, err := w.r.Scrubber.Scrub(t.Context(), scrub.Order{Fraction: 0.5, Progress: func(p scrub.Progress) { resumed = p.Resumed }})
			if err != nil || f.Passed != blobs || f.Blobs != blobs || !resumed {
				t.Errorf("the one that takes over: %+v, %v", f, err)
			}
		}
		if f, err = one.Scrub(t.Context(), scrub.Order{Fraction: 1}); err == nil || f.Passed != 3 {
			t.Errorf("the zombie: %+v, %v", f, err)
		}
		status, err := w.r.Scrubber.Status(t.Context(), 10)
		if err != nil || len(status.Runs) != 1 || status.Runs[0].FinishedAt.IsZero() || status.Runs[0].Figures.Passed != blobs {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

// TestOneScrubAtATime of those that were begun at a terminal, until its lease ends or it is abandoned.
func TestOneScrubAtATime(t *testing.T) {
	w := newWorld(t, ocitest.Embedded(t), ocitest.Options{})
	w.Push("demo/app", noise(1000, 1))
	store := &opened{Store: w.env.Store, before: func(string) error {
		if _, err := w.r.Scrubber.Scrub(t.Context(), scrub.Order{Fraction: 1, Restart: true}); !errors.Is(err, scrub.ErrUnderWay) {
			t.Errorf("a second one: %v", err)
		}
		return nil
	}}
	if _, err := w.scrubber(func(c *scrub.Config) { c.Store = store }).Scrub(t.Context(), scrub.Order{Fraction: 1}); err != nil {
		t.Error(err)
	}
	if n := w.count(`SELECT count(*) FROM audit_log WHERE action = 'scrub.run'`); n != 1 {
		t.Errorf("%d entries of one scrub and of those that were refused", n)
	}
}

// TestScrubOfTrouble: a storage that does not answer damages nothing.
func TestScrubOfTrouble(t *testing.T) {
	w := newWorld(t, ocitest.Embedded(t), ocitest.Options{})
	for i := range 9 {
		w.Push("demo/app", noise(1000+i, byte(i)))
	}
	failures := map[string]int{}
	limit := 3
	store := &opened{Store: w.env.Store, before: func(key string) error {
		if failures[key]++; failures[key] <= limit {
			return storage.ErrUnavailable
		}
		return nil
	}}
	s := w.scrubber(func(c *scrub.Config) { c.Store = store })
	if f, err := s.Scrub(t.Context(), scrub.Order{Fraction: 1}); err != nil || f.Blobs != 9 || f.Unread != 0 {
		t.Errorf("three failures each: %+v, %v", f, err)
	}
	clear(failures)
	limit = 4
	f, err := s.Scrub(t.Context(), scrub.Order{Fraction: 1})
	if !errors.Is(err, storage.ErrUnavailable) || f.Unread != 5 || f.Passed != 4 {
		t.Errorf("an outage: %+v, %v", f, err)
	}
	if f, err = s.Scrub(t.Context(), scrub.Order{Fraction: 1}); err != nil || f.Passed != 9 || f.Damaged+f.Missing != 0 || f.Unread != 9 {
		t.Errorf("after it: %+v, %v", f, err)
	}
	if n := len(w.findings(true)); n != 0 {
		t.Errorf("%d findings", n)
	}
}

// TestScrubOfTheWrongStorage stops before it has hidden everything, unless it is told to go on.
func TestScrubOfTheWrongStorage(t *testing.T) {
	w := newWorld(t, ocitest.Embedded(t), ocitest.Options{})
	for i := range 25 {
		w.Push("demo/app", noise(1000+i, byte(i)))
	}
	empty := w.scrubber(func(c *scrub.Config) { c.Store = ocitest.Embedded(t).Store })
	if f, err := empty.Scrub(t.Context(), scrub.Order{Fraction: 1}); err == nil || f.Missing != 20 {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := empty.Scrub(t.Context(), scrub.Order{Fraction: 1, ExpectLosses: true}); err != nil || f.Missing != 25 {
		t.Errorf("%+v, %v", f, err)
	}
	if f := w.scrub(); f.Recovered != 25 || len(w.findings(false)) != 0 {
		t.Errorf("on the right one: %+v", f)
	}
}

// TestScrubKeepsItsRate, by a clock that waits nowhere, and reads the part that it is to read.
func TestScrubKeepsItsRate(t *testing.T) {
	w := newWorld(t, ocitest.Embedded(t), ocitest.Options{})
	const blobs = 40
	for i := range blobs {
		w.Push("demo/app", noise(10_000, byte(i)))
	}
	begun := time.Now()
	now := begun
	s := w.scrubber(func(c *scrub.Config) {
		c.Clock = func() time.Time { return now }
		c.Wait = func(_ context.Context, d time.Duration) error {
			now = now.Add(max(d, 0))
			return nil
		}
	})
	f, err := s.Scrub(t.Context(), scrub.Order{Fraction: 1, Rate: 50_000})
	if took := now.Sub(begun); err != nil || f.Bytes != blobs*10_000 || took < 6*time.Second || took > 8*time.Second {
		t.Errorf("400,000 bytes at 50,000 a second took %s: %+v, %v", took, f, err)
	}
	f, err = s.Scrub(t.Context(), scrub.Order{Fraction: 0.5})
	if err != nil || f.Passed != blobs || f.Blobs < 6 || f.Blobs > 34 {
		t.Errorf("half of %d blobs: %+v, %v", blobs, f, err)
	}
}

// TestAPullFindsWhatIsMissing: the second one is told so, and the next push heals it.
func TestAPullFindsWhatIsMissing(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.r.Scrubber.Run(ctx) }()
		defer func() {
			cancel()
			w.must(<-ended)
		}()
		for name, content := range map[string][]byte{"missing": noise(1000, 1), "short": noise(2000, 2)} {
			d := w.Push("demo/app", content)
			path := "/v2/demo/app/blobs/" + d.String()
			w.overwrite(w.keysOf(content)[0], nil)
			if name == "short" {
				w.put(w.keysOf(content)[0], content[:500])
			}
			tick, deadline := time.NewTicker(5*time.Millisecond), time.After(20*time.Second)
			for hidden := false; !hidden; {
				a, err := w.Send(w.Request(t.Context(), http.MethodGet, path, nil)) // one that is cut short is an error
				hidden = err == nil && a.Status == http.StatusNotFound
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatalf("%s: still answered %d, %v", name, a.Status, err)
				}
			}
			tick.Stop()
			if f := w.findings(false)[d.String()]; f.Kind == "" || !strings.Contains(f.Detail, "object") {
				t.Errorf("%s: %+v", name, f)
			}
			w.Push("demo/app", content)
			if !w.has("demo/app", content) {
				t.Errorf("%s: not healed", name)
			}
		}
		w.consistent()
	})
}

// TestHold: nothing is removed while somebody copies the storage, and all of it afterwards.
func TestHold(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.put(w.day(0)+"/lost/a", noise(100, 3))
		w.exec(`INSERT INTO doomed_objects (object_key, size, delete_after) VALUES (?, 100, 0)`, w.day(0)+"/lost/a")
		if _, err := w.r.Collector.Hold(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if f := w.collect(); f.RemovedObjects != 0 {
			t.Errorf("held: %+v", f)
		}
		if _, err := w.r.Collector.Hold(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if f := w.collect(); f.RemovedObjects != 1 {
			t.Errorf("released: %+v", f)
		}
		// Days that were looked through are, once more.
		w.exec(`INSERT INTO swept_days (day, done_at) VALUES ('2001-01-01', 1)`)
		if days, err := w.r.Collector.LookAgain(t.Context()); err != nil || days < 1 {
			t.Errorf("%d, %v", days, err)
		}
		if f := w.collect(); f.Days < 1 {
			t.Errorf("%+v", f)
		}
	})
}
