package uploads

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

// slowWriter is an object whose Commit takes a while, and then fails if it shall.
type slowWriter struct {
	storage.Writer
	takes   time.Duration
	err     error
	aborted bool
}

func (w *slowWriter) Commit(ctx context.Context) error {
	select {
	case <-time.After(w.takes):
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *slowWriter) Abort() error {
	w.aborted = true
	return nil
}

// recorder notes what a pipeline does.
type recorder struct {
	mu              sync.Mutex
	placed, dropped []int64
	refuse          int64 // the start of the chunk that gets no row, or -1
}

var errRefused = errors.New("refused")

func (r *recorder) place(c *chunk) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.start == r.refuse {
		return errRefused
	}
	r.placed = append(r.placed, c.start)
	return nil
}

func (r *recorder) drop(c *chunk, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = append(r.dropped, c.start)
	return err
}

// TestPipelineOrder gives rows in order, though the objects are stored in another.
func TestPipelineOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{refuse: -1}
		p := newPipeline(t.Context(), 4, r.place, r.drop)
		began := time.Now()
		for i := range 8 {
			if err := p.submit(&chunk{start: int64(i)}, &slowWriter{takes: time.Duration(8-i) * time.Second}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := p.wait(); err != nil {
				t.Fatal(err)
			}
		}
		if want := []int64{0, 1, 2, 3, 4, 5, 6, 7}; !slices.Equal(r.placed, want) {
			t.Errorf("placed %v, want %v", r.placed, want)
		}
		if took := time.Since(began); took >= 8*8*time.Second/2 {
			t.Errorf("took %v: the objects were stored one after the other", took)
		}
	})
}

// TestPipelineFails never blocks the body's goroutine after a failure, places nothing more, and lets go of every object.
func TestPipelineFails(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		stored  error
		refuse  int64
		want    error
		dropped []int64
	}{
		"storing": {broken, -1, broken, []int64{3, 4, 5, 6, 7, 8, 9}},
		"placing": {nil, 2, errRefused, []int64{3, 4, 5, 6, 7, 8, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{refuse: tt.refuse}
				p := newPipeline(t.Context(), 2, r.place, r.drop)
				var failing []*slowWriter
				for i := range 10 {
					w := &slowWriter{takes: time.Second}
					if i == 2 {
						w.err = tt.stored
					}
					if i >= 2 {
						failing = append(failing, w)
					}
					_ = p.submit(&chunk{start: int64(i)}, w) // its error may be that of an earlier chunk
				}
				if err := p.wait(); !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
				if err := p.idle(func() error { return nil }); !errors.Is(err, tt.want) {
					t.Errorf("idle: error %v, want %v", err, tt.want)
				}
				if !slices.Equal(r.placed, []int64{0, 1}) || !slices.Equal(r.dropped, tt.dropped) {
					t.Errorf("placed %v and dropped %v", r.placed, r.dropped)
				}
				for i, w := range failing {
					if !w.aborted {
						t.Errorf("the object of chunk %d was kept", i+2)
					}
				}
			})
		})
	}
}

// TestPipelineStops ends with its context, while objects are being stored.
func TestPipelineStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &recorder{refuse: -1}
		p := newPipeline(ctx, 4, r.place, r.drop)
		for i := range 3 {
			if err := p.submit(&chunk{start: int64(i)}, &slowWriter{takes: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := p.wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if len(r.placed) != 0 {
			t.Errorf("placed %v", r.placed)
		}
	})
}

// TestPipelineUnused ends at once.
func TestPipelineUnused(t *testing.T) {
	r := &recorder{refuse: -1}
	p := newPipeline(t.Context(), 0, r.place, r.drop)
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}
