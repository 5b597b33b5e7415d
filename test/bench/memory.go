package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"
)

const (
	memoryFew    = 10
	memoryMany   = 200
	memoryUpload = 64 << 20
	// memoryStep is how far uploads may run ahead of one another.
	memoryStep   = 1 << 20
	boundMemory  = 1.5
	memoryMebis  = 300
	bytesPerMebi = 1 << 20
)

// measureMemory compares the peak memory of a server that takes 200 uploads at once with that of one that takes 10.
func measureMemory(ctx context.Context, l *lab, kind string) ([]row, error) {
	few, err := l.peak(ctx, kind, memoryFew)
	if err != nil {
		return nil, err
	}
	many, err := l.peak(ctx, kind, memoryMany)
	if err != nil {
		return nil, err
	}
	details := fmt.Sprintf("10 uploads of 64 MiB %.0f MiB, 200 uploads %.0f MiB", few, many)
	figures := map[string]float64{"few_mib": few, "many_mib": many}
	return []row{
		row{Name: "memory, 200 uploads to 10, " + kind, Measured: many / few, Details: details, Figures: figures}.bounded(atMost, boundMemory),
		row{Name: "memory, 200 uploads, " + kind, Measured: many, Unit: "MiB", Details: details, Figures: figures}.bounded(atMost, memoryMebis),
	}, nil
}

// peak is the peak memory, in MiB, of a fresh server that takes so many uploads at once.
func (l *lab) peak(ctx context.Context, kind string, uploads int) (mebis float64, err error) {
	err = l.onStage(func(st *stage) error {
		r, err := st.berthServer(ctx, kind)
		if err != nil {
			return err
		}
		idle, err := peakMemory(r.pid())
		if err != nil {
			return err
		}
		c := r.client(smallBuffer)
		defer c.close()
		blob, err := c.pushTogether(ctx, uploads)
		if err != nil {
			return err
		}
		peak, err := peakMemory(r.pid())
		if err != nil {
			return err
		}
		mebis = float64(peak) / bytesPerMebi
		st.detail("memory, %s: %d uploads: %d MiB before, %.0f MiB at the peak", kind, uploads, idle/bytesPerMebi, mebis)
		return c.verifyBlob(ctx, blob)
	})
	return mebis, err
}

// pushTogether pushes contents the way Docker does, in step: no upload is further than memoryStep ahead of another, so
// that all of them are in flight from the first to the last byte. It returns one of the contents.
func (c *client) pushTogether(ctx context.Context, uploads int) (content, error) {
	group, ctx := errgroup.WithContext(ctx)
	step := newBarrier(uploads)
	defer context.AfterFunc(ctx, step.breakUp)()
	blobs := make([]content, uploads)
	for i := range blobs {
		blobs[i] = newContent(memoryUpload)
	}
	if _, err := blobs[0].digest(); err != nil { // hashes what all have in common
		return blobs[0], err
	}
	for _, blob := range blobs {
		group.Go(func() error { return c.pushInStep(ctx, blob, step) })
	}
	return blobs[0], group.Wait()
}

func (c *client) pushInStep(ctx context.Context, blob content, step *barrier) error {
	digest, err := blob.digest()
	if err != nil {
		return err
	}
	location, err := c.begin(ctx)
	if err != nil {
		return err
	}
	if location, err = c.patch(ctx, location, &steppedBody{blob: blob, step: step}, -1, -1); err != nil {
		return err
	}
	return c.finish(ctx, location, digest)
}

// steppedBody yields a content and waits for all others at the end of each step.
type steppedBody struct {
	blob   content
	offset int64
	step   *barrier
}

// Read implements io.Reader.
func (b *steppedBody) Read(p []byte) (int, error) {
	if b.offset%memoryStep == 0 && b.offset < b.blob.size {
		if err := b.step.wait(); err != nil {
			return 0, err
		}
	}
	n, err := b.blob.part(b.offset, memoryStep-b.offset%memoryStep).Read(p)
	b.offset += int64(n)
	if b.offset < b.blob.size && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// barrier lets goroutines go on when all of them are there, again and again.
type barrier struct {
	mu     sync.Mutex
	all    *sync.Cond
	size   int
	here   int
	round  int
	broken bool
}

func newBarrier(size int) *barrier {
	b := &barrier{size: size}
	b.all = sync.NewCond(&b.mu)
	return b
}

var errBroken = errors.New("another upload failed")

func (b *barrier) wait() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	round := b.round
	if b.here++; b.here == b.size {
		b.here = 0
		b.round++
		b.all.Broadcast()
	}
	for round == b.round && !b.broken {
		b.all.Wait()
	}
	if b.broken {
		return errBroken
	}
	return nil
}

// breakUp makes everybody who waits, or will, give up.
func (b *barrier) breakUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = true
	b.all.Broadcast()
}
