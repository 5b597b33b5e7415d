package gc_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/storage"
)

func compact(t *testing.T, c *gc.Collector) gc.Figures {
	t.Helper()
	figures, err := c.Compact(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return figures
}

func (w *world) generations() int64 {
	w.t.Helper()
	return w.count(`SELECT coalesce(sum(generation), 0) FROM blobs`)
}

// TestCompaction makes one object of a blob with too many chunks, and none of one with as many as allowed. The old
// objects go after the sweep delay.
func TestCompaction(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		large, small := noise(9*chunkSize+5, 1), noise(4*chunkSize, 2)
		w.Push("demo/app", large)
		w.Push("demo/app", small)
		if f := compact(t, w.r.Collector); f.CompactedBlobs != 1 || f.CompactedBytes != int64(len(large)) {
			t.Errorf("%+v", f)
		}
		if n := w.count(`SELECT count(*) FROM chunks`); n != 1+4 || w.generations() != 3 {
			t.Errorf("%d chunks, generations %d", n, w.generations())
		}
		if f := compact(t, w.r.Collector); f.CompactedBlobs != 0 {
			t.Errorf("compacted again: %+v", f)
		}
		w.clock.advance(2 * time.Hour)
		if f := w.collect(); f.RemovedObjects != 10 {
			t.Errorf("%+v", f)
		}
		if !w.has("demo/app", large) || !w.has("demo/app", small) {
			t.Error("a blob is gone")
		}
		w.consistent()
		w.bareStore()
	})
}

// TestCompactionLetsPullsBeRedirected, where the store has URLs.
func TestCompactionLetsPullsBeRedirected(t *testing.T) {
	const chunk = 5<<20 + 1 // large enough to be copied within S3
	w := newWorld(t, ocitest.Servers(t), ocitest.Options{ChunkSize: chunk, CompactChunks: 1, Redirect: true})
	blob := noise(2*chunk+9, 1)
	path := "/v2/demo/app/blobs/" + w.Push("demo/app", blob).String()
	w.Want(http.StatusOK, http.MethodGet, path, nil)
	compact(t, w.r.Collector)
	location := w.Want(http.StatusTemporaryRedirect, http.MethodGet, path, nil).Header.Get("Location")
	a, err := w.Send(w.Nobody().Request(t.Context(), http.MethodGet, location, nil))
	w.must(err)
	if a.Status != http.StatusOK || digest.FromBytes(a.Body) != digest.FromBytes(blob) {
		t.Errorf("the store answers %d with %d bytes", a.Status, len(a.Body))
	}
}

// gate is a store that stops before or after it composes, until it is let go on.
type gate struct {
	storage.Store
	stop   func(ctx context.Context) error
	before bool
}

// Compose implements storage.Store.
func (g *gate) Compose(ctx context.Context, dst string, parts []storage.Part) error {
	if g.before {
		if err := g.stop(ctx); err != nil {
			return err
		}
		return g.Store.Compose(ctx, dst, parts)
	}
	if err := g.Store.Compose(ctx, dst, parts); err != nil {
		return err
	}
	return g.stop(ctx)
}

// TestCompactionUnderReaders swaps the chunks while many read, some of whom have the old list in their hands.
func TestCompactionUnderReaders(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(20*chunkSize+1, 1)
		path := "/v2/demo/app/blobs/" + w.Push("demo/app", blob).String()
		var reads atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for ctx.Err() == nil {
					a, err := w.Send(w.Request(context.WithoutCancel(ctx), http.MethodGet, path, nil))
					if err != nil || a.Status != http.StatusOK || digest.FromBytes(a.Body) != digest.FromBytes(blob) {
						t.Errorf("a reader got %d, %d bytes, %v", a.Status, len(a.Body), err)
						return
					}
					reads.Add(1)
				}
			})
		}
		waitFor(t, func() bool { return reads.Load() > 8 })
		compact(t, w.r.Collector)
		after := reads.Load()
		waitFor(t, func() bool { return reads.Load() > after+8 })
		cancel()
		readers.Wait()
		if n := w.count(`SELECT count(*) FROM chunks`); n != 1 {
			t.Errorf("%d chunks", n)
		}
	})
}

// waitFor waits for what other goroutines are about to do.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Error("waited in vain")
			return
		case <-tick.C:
		}
	}
}

// TestTwoCompactors compose the same blob at once, as when one has been taken for dead: one of them wins, and the other
// one's object goes.
func TestTwoCompactors(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(9*chunkSize, 1)
		w.Push("demo/app", blob)
		var meet sync.WaitGroup
		meet.Add(2)
		both := func(context.Context) error {
			meet.Done()
			meet.Wait()
			return nil
		}
		var done sync.WaitGroup
		collectors := make([]*gc.Collector, 2)
		for i := range collectors {
			entered := make(chan struct{})
			collectors[i] = w.collector(func(cfg *gc.Config) {
				cfg.Store = &gate{Store: w.env.Store, stop: func(ctx context.Context) error { close(entered); return both(ctx) }}
				cfg.SweepDelay = time.Hour
			})
			done.Go(func() {
				if _, err := collectors[i].Compact(t.Context()); err != nil {
					t.Error(err)
				}
			})
			<-entered
			w.exec(`UPDATE blob_compactions SET due_at = 0`) // the first one has been silent for too long
		}
		done.Wait()
		var won, lost int64
		for _, c := range collectors {
			won += c.Stats().Total.CompactedBlobs
			lost += c.Stats().CompactionsLost
		}
		if won != 1 || lost != 1 || w.generations() != 2 {
			t.Errorf("%d won, %d lost, generation %d", won, lost, w.generations())
		}
		w.clock.advance(2 * time.Hour)
		w.collect()
		if !w.has("demo/app", blob) {
			t.Error("the blob is gone")
		}
		w.consistent()
		w.bareStore()
	})
}

var errCrash = errors.New("a crash")

// TestCrashBetweenComposeAndSwap leaves an object that the sweep of its day finds, and the blob to the next compactor.
func TestCrashBetweenComposeAndSwap(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		blob := noise(9*chunkSize, 1)
		w.Push("demo/app", blob)
		crashed := func() (crashed bool) {
			defer func() { crashed = recover() == errCrash }() //nolint:errorlint // the very value
			_, _ = w.collector(func(cfg *gc.Config) {
				cfg.Store = &gate{Store: w.env.Store, stop: func(context.Context) error { panic(errCrash) }}
			}).Compact(t.Context())
			return false
		}
		if !crashed() || len(w.objects()) != 10 {
			t.Fatalf("no crash, or %d objects", len(w.objects()))
		}
		if f := compact(t, w.r.Collector); f.CompactedBlobs != 0 {
			t.Errorf("the lease of the dead one did not hold: %+v", f)
		}
		w.exec(`UPDATE blob_compactions SET due_at = 0`) // it runs out
		if f := compact(t, w.r.Collector); f.CompactedBlobs != 1 {
			t.Errorf("%+v", f)
		}
		w.clock.advance(4 * 24 * time.Hour)
		w.exec(`UPDATE repository_blobs SET keep_until = ?`, w.clock.Now().Add(24*time.Hour).UnixMicro())
		if f := w.collect(); f.Orphans != 1 || f.OrphanBytes != int64(len(blob)) || f.RemovedObjects != 9 {
			t.Errorf("%+v", f)
		}
		w.clock.advance(2 * time.Hour)
		w.collect()
		if !w.has("demo/app", blob) {
			t.Error("the blob is gone")
		}
		w.bareStore()
	})
}

// TestCompactionAgainstCollection composes a blob that is collected meanwhile.
func TestCompactionAgainstCollection(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.Push("demo/app", noise(9*chunkSize, 1))
		w.clock.advance(25 * time.Hour)
		c := w.collector(func(cfg *gc.Config) {
			cfg.Store = &gate{Store: w.env.Store, stop: func(context.Context) error { w.collect(); return nil }} //nolint:contextcheck // a collection of its own
		})
		compact(t, c)
		if s := c.Stats(); s.CompactionsLost != 1 {
			t.Errorf("%+v", s)
		}
		w.clock.advance(2 * time.Hour)
		w.collect()
		w.consistent()
		if left := w.objects(); len(left) != 0 {
			t.Errorf("%d objects are left", len(left))
		}
	})
}

// TestCompactionThatFails is tried again later, and leaves others alone.
func TestCompactionThatFails(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		bad, good := noise(9*chunkSize, 1), noise(10*chunkSize, 2)
		d := w.Push("demo/app", bad)
		w.Push("demo/app", good)
		w.exec(`UPDATE chunks SET start = start + 1 WHERE start > 0 AND owner_id = (SELECT id FROM blobs WHERE digest = ?)`, d.String())
		c := w.collector(nil)
		if f := compact(t, c); f.CompactedBlobs != 1 || c.Stats().CompactionsFailed != 1 {
			t.Errorf("%+v, %+v", f, c.Stats())
		}
		unavailable := w.collector(func(cfg *gc.Config) {
			cfg.Store = &gate{Store: w.env.Store, before: true, stop: func(context.Context) error { return storage.ErrUnavailable }}
		})
		third := noise(11*chunkSize, 3)
		w.Push("demo/app", third)
		if f := compact(t, unavailable); f.CompactedBlobs != 0 || unavailable.Stats().CompactionsFailed != 1 {
			t.Errorf("%+v, %+v", f, unavailable.Stats())
		}
		w.exec(`UPDATE blob_compactions SET due_at = 0 WHERE chunks = 11`)
		if f := compact(t, c); f.CompactedBlobs != 1 || !w.has("demo/app", third) {
			t.Errorf("%+v", f)
		}
	})
}
