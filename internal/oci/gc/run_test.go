package gc_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// running starts workers, and stops them with the test.
func running(t *testing.T, collectors ...*gc.Collector) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var workers sync.WaitGroup
	for _, c := range collectors {
		workers.Go(func() {
			if err := c.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		workers.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func (w *world) status(c *gc.Collector) gc.Status {
	w.t.Helper()
	s, err := c.Status(w.t.Context(), 100)
	w.must(err)
	return s
}

// TestReplicasTakeTurns: of three that look every few milliseconds, one collects at a time, and together they do what one
// would.
func TestReplicasTakeTurns(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		for i := range 12 {
			w.Push("demo/app", noise(chunkSize, byte(i)))
		}
		w.Push("demo/large", noise(9*chunkSize, 99))
		w.exec(`UPDATE repository_blobs SET keep_until = 0 WHERE digest NOT IN (SELECT digest FROM blobs WHERE size > ?)`, chunkSize)
		collectors := make([]*gc.Collector, 3)
		for i := range collectors {
			collectors[i] = w.collector(func(cfg *gc.Config) { cfg.Interval, cfg.Batch, cfg.Lease = 4*time.Millisecond, 2, time.Second })
		}
		stop := running(t, collectors...)
		sum := func() (f gc.Figures, runs int64) {
			for _, c := range collectors {
				s := c.Stats()
				f.Links += s.Total.Links
				f.Blobs += s.Total.Blobs
				f.RemovedObjects += s.Total.RemovedObjects
				f.CompactedBlobs += s.Total.CompactedBlobs
				runs += s.Runs
			}
			return f, runs
		}
		waitFor(t, func() bool {
			f, runs := sum()
			return f.RemovedObjects == 12+9 && runs > 10
		})
		stop()
		f, runs := sum()
		if want := (gc.Figures{Links: 12, Blobs: 12, RemovedObjects: 21, CompactedBlobs: 1}); f != want {
			t.Errorf("together: %+v", f)
		}
		s := w.status(collectors[0])
		if int64(len(s.Runs)) != min(runs, 100) || s.RemovedObjects != 21 || s.RemovedBytes != 21*chunkSize {
			t.Errorf("%d runs, %d are remembered, %d objects", runs, len(s.Runs), s.RemovedObjects)
		}
		for i := 1; i < len(s.Runs); i++ { // the newest first
			if later, earlier := s.Runs[i-1], s.Runs[i]; later.StartedAt.Before(earlier.FinishedAt) {
				t.Errorf("%+v began before %+v ended", later, earlier)
			}
		}
		w.bareStore()
	})
}

// TestARequestedCollectionBeginsAtOnce, also after one that was cut off.
func TestARequestedCollectionBeginsAtOnce(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		c := w.collector(func(cfg *gc.Config) { cfg.Interval = time.Hour })
		running(t, c)
		waitFor(t, func() bool { return c.Stats().Runs == 1 })
		w.Push("demo/app", noise(chunkSize, 1))
		w.exec(`UPDATE repository_blobs SET keep_until = 0`)
		w.exec(`INSERT INTO collection_runs (id, kind, started_at, updated_at, figures)
			VALUES ('00000000-0000-7000-8000-000000000000', 'scheduled', 0, 0, '{}')`)
		guarded := false
		w.must(c.Request(t.Context(), func(*database.Batch) { guarded = true }))
		waitFor(t, func() bool { return c.Stats().Runs == 2 })
		s := w.status(c)
		if !guarded || s.Requested || s.Runs[0].Kind != gc.KindRequested || s.Runs[0].Figures.Blobs != 1 {
			t.Errorf("%t, %+v", guarded, s)
		}
		if last := s.Runs[len(s.Runs)-1]; last.FinishedAt.IsZero() || last.Error != "cut off" {
			t.Errorf("the one that was cut off: %+v", last)
		}
		if n := w.count(`SELECT count(*) FROM audit_log WHERE action = 'gc.run'`); n != 1 {
			t.Errorf("%d entries in the audit log", n)
		}
	})
}

// TestARequestIsOwedUntilItsEnd: a collection that was requested and is cut off, because its process is stopped or its database
// fails, is begun again by another replica, long before the next one is due.
func TestARequestIsOwedUntilItsEnd(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.Push("demo/app", noise(chunkSize, 1))
		w.exec(`UPDATE collection_schedule SET next_at = ?`, w.clock.Now().Add(1000*time.Hour).UnixMicro())
		for i, cut := range []string{
			`UPDATE collection_schedule SET lease_until = lease_until`, // it is only stopped
			`UPDATE collection_schedule SET lease_until = 0, run_id = NULL`,
		} {
			w.clock.advance(72 * time.Hour) // there are days to look through
			ctx, stop := context.WithCancel(t.Context())
			store := &watched{Store: w.env.Store, interrupt: func() {
				w.exec(cut)
				stop()
			}}
			dying := w.collector(func(cfg *gc.Config) { cfg.Store, cfg.Interval = store, time.Hour })
			w.must(dying.Request(t.Context(), nil))
			w.must(dying.Run(ctx))
			if len(store.listed) == 0 || !w.status(dying).Requested {
				t.Errorf("%d: the request has gone with the collection, which listed %v", i, store.listed)
			}
			heir := w.collector(func(cfg *gc.Config) { cfg.Interval = time.Hour })
			stopHeir := running(t, heir)
			waitFor(t, func() bool { return heir.Stats().Runs == 1 })
			stopHeir()
			if s := w.status(heir); s.Requested || s.Runs[0].Kind != gc.KindRequested || s.Runs[0].Error != "" {
				t.Errorf("%d: afterwards: %+v", i, s)
			}
		}
	})
}

// signal is a log that tells when something is written.
type signal chan struct{}

// Write implements io.Writer.
func (s signal) Write(p []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(p), nil
}

// TestACommandWaitsForItsTurn: beside a replica that is at a collection it begins when that has ended, and then finds what there is.
func TestACommandWaitsForItsTurn(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.Push("demo/app", noise(chunkSize, 1))
		w.exec(`UPDATE repository_blobs SET keep_until = 0`)
		w.exec(`UPDATE collection_schedule SET run_id = ?, lease_until = ?`, "00000000-0000-7000-8000-000000000000",
			time.Now().Add(time.Hour).UnixMicro())
		waits := make(signal, 1)
		c := w.collector(func(cfg *gc.Config) { cfg.Logger = slog.New(slog.NewTextHandler(waits, nil)) })
		var figures gc.Figures
		done := make(chan error, 1)
		go func() {
			var err error
			figures, err = c.CollectInTurn(t.Context())
			done <- err
		}()
		select {
		case <-waits:
		case err := <-done:
			t.Fatalf("it did not wait: %+v, %v", figures, err)
		}
		if s := w.status(c); c.Stats().Running || len(s.Runs) != 0 {
			t.Errorf("it has begun: %+v", s)
		}
		w.exec(`UPDATE collection_schedule SET run_id = NULL, lease_until = 0`)
		w.must(<-done)
		if figures.Links != 1 || figures.Blobs != 1 {
			t.Errorf("%+v", figures)
		}
		if free := w.count(`SELECT count(*) FROM collection_schedule WHERE run_id IS NULL AND lease_until = 0`); free != 1 {
			t.Error("it has kept its turn")
		}
	})
}

// TestADryRunTellsWhatARunDoes, and does nothing.
func TestADryRunTellsWhatARunDoes(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		shared := noise(chunkSize, 1)
		w.Image("gone/app", "v1", shared, noise(chunkSize, 2))
		w.Image("kept/app", "v1", shared)
		_, d := w.Image("kept/app", "v2", shared, noise(2*chunkSize, 3))
		w.Push("kept/app", noise(chunkSize, 4))
		w.Push("kept/app", noise(9*chunkSize, 5))
		w.Want(202, "DELETE", "/v2/kept/app/manifests/"+d.String(), nil)
		w.Want(202, "DELETE", "/v2/kept/app/manifests/v1", nil)
		w.clock.advance(8 * 24 * time.Hour)
		w.deleteProject("gone")
		w.clock.advance(2 * time.Hour)
		c := w.collector(func(cfg *gc.Config) { cfg.SweepDelay = time.Hour })
		before := w.count(`SELECT count(*) FROM repository_blobs`) + w.count(`SELECT count(*) FROM collection_runs`)
		plan, err := c.Plan(t.Context())
		w.must(err)
		if after := w.count(`SELECT count(*) FROM repository_blobs`) + w.count(`SELECT count(*) FROM collection_runs`); after != before {
			t.Error("a dry run changed something")
		}
		if plan.CompactedBlobs != 1 || plan.CompactedBytes != 9*chunkSize {
			t.Errorf("planned: %+v", plan)
		}
		plan.CompactedBlobs, plan.CompactedBytes = 0, 0
		done, err := c.Collect(t.Context())
		w.must(err)
		done.Days, plan.Days = 0, 0 // they are noted when a run begins
		if diff := cmp.Diff(plan, done); diff != "" || done.Projects != 1 || done.Manifests != 2 || done.Blobs < 4 {
			t.Errorf("a run does (-planned +done):\n%s", diff)
		}
		w.consistent()
	})
}

// TestBacklog counts what waits.
func TestBacklog(t *testing.T) {
	each(t, ocitest.Options{}, func(t *testing.T, w *world) {
		w.Push("demo/app", noise(chunkSize, 1))
		w.Push("demo/app", noise(9*chunkSize, 2))
		if b := w.status(w.r.Collector).Backlog; b != (gc.Backlog{Compactions: 1}) {
			t.Errorf("%+v", b)
		}
		w.clock.advance(25 * time.Hour)
		if b := w.status(w.r.Collector).Backlog; b.Links != 2 {
			t.Errorf("%+v", b)
		}
		w.collect()
		if b := w.status(w.r.Collector).Backlog; b.Links != 0 || b.Waiting != 10 || b.Objects != 0 || b.Compactions != 0 {
			t.Errorf("%+v", b)
		}
		w.clock.advance(2 * time.Hour)
		if b := w.status(w.r.Collector).Backlog; b.Objects != 10 || b.ObjectBytes != 10*chunkSize || b.Waiting != 0 {
			t.Errorf("%+v", b)
		}
	})
}
