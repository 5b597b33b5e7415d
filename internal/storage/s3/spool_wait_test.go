package s3

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

// testWriter makes a writer of a store without a server.
func testWriter(ctx context.Context, t *testing.T, owner *spools, name string) storage.Writer {
	t.Helper()
	w, err := (&Store{spools: owner}).Create(ctx, "2026-01-02/wait/"+name, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Abort() })
	return w
}

func mustWrite(t *testing.T, w storage.Writer, n int) {
	t.Helper()
	if k, err := w.Write(make([]byte, n)); k != n || err != nil {
		t.Fatalf("Write = %d, %v", k, err)
	}
}

// TestWritersGoOnWhenDiskComesBack has more writers than the disk budget holds; each is released only when it has
// everything.
func TestWritersGoOnWhenDiskComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		owner := testSpools(t, -1, 1000)
		const writers, size = 20, 300
		began := time.Now()
		ended := make(chan error, writers)
		for i := range writers {
			w := testWriter(t.Context(), t, owner, fmt.Sprint(i))
			go func() {
				n, err := w.Write(make([]byte, size))
				if err == nil && n != size {
					err = fmt.Errorf("wrote %d bytes", n)
				}
				time.Sleep(time.Second) // sends it
				ended <- errors.Join(err, w.Abort())
			}()
		}
		for range writers {
			if err := <-ended; err != nil {
				t.Errorf("Write: %v", err)
			}
		}
		if took := time.Since(began); took != 7*time.Second { // three at once
			t.Errorf("all writers took %s", took)
		}
		if stats := owner.stats(); stats != (SpoolStats{}) {
			t.Errorf("left: %+v", stats)
		}
	})
}

func TestAWriterWaitsForDiskOnlySoLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		owner := testSpools(t, -1, 1000)
		mustWrite(t, testWriter(t.Context(), t, owner, "first"), 900)
		for name, tt := range map[string]struct {
			life time.Duration // of the writer's context
			n    int
			want error
			took time.Duration
		}{
			"patience":       {time.Hour, 101, storage.ErrUnavailable, maxWait},
			"cancelled":      {time.Second, 101, context.DeadlineExceeded, time.Second},
			"never fits":     {time.Hour, 1001, storage.ErrUnavailable, 0},
			"there is space": {time.Hour, 100, nil, 0},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), tt.life)
			began := time.Now()
			w := testWriter(ctx, t, owner, "second")
			n, err := w.Write(make([]byte, tt.n))
			if !errors.Is(err, tt.want) || (err == nil) != (n == tt.n) || time.Since(began) != tt.took {
				t.Errorf("%s: Write = %d, %v after %s; want %v after %s", name, n, err, time.Since(began), tt.want, tt.took)
			}
			if err := w.Abort(); err != nil {
				t.Errorf("%s: Abort: %v", name, err)
			}
			cancel()
		}
	})
}

// TestWritersThatWaitForOneAnother: no one could go on by itself, and yet only one of them fails.
func TestWritersThatWaitForOneAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		owner := testSpools(t, -1, 1000)
		ended := make(chan error, 2)
		var writers []storage.Writer
		for i := range 2 { // both have half of it before either asks for more
			w := testWriter(t.Context(), t, owner, fmt.Sprint(i))
			mustWrite(t, w, 500)
			writers = append(writers, w)
		}
		for i, w := range writers {
			go func() {
				time.Sleep(time.Duration(i) * time.Second)
				_, err := w.Write(make([]byte, 500))
				ended <- errors.Join(err, w.Abort())
			}()
		}
		one, other := <-ended, <-ended // in either order: what the one that fails gives back lets the other go on at once
		if one == nil {
			one, other = other, one
		}
		if !errors.Is(one, storage.ErrUnavailable) || other != nil {
			t.Errorf("the writers: %v, %v", one, other)
		}
	})
}

// TestAbortDoesNotWaitForDisk: whoever gives up needs no space.
func TestAbortDoesNotWaitForDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		owner := testSpools(t, -1, 1000)
		mustWrite(t, testWriter(t.Context(), t, owner, "first"), 900)
		w := testWriter(t.Context(), t, owner, "second")
		mustWrite(t, w, 50)
		ended := make(chan error, 1)
		go func() {
			_, err := w.Write(make([]byte, 100))
			ended <- err
		}()
		synctest.Wait()
		began := time.Now()
		if err := w.Abort(); err != nil || w.Size() != 50 || time.Since(began) != 0 {
			t.Errorf("Abort: %v after %s, size %d", err, time.Since(began), w.Size())
		}
		if err := <-ended; !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("Write: %v", err)
		}
	})
}
