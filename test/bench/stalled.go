package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	stalledClients = 200
	stalledAfter   = 1 << 20
	stalledSize    = 64 << 20
	goodSize       = 32 << 20
	// goodPushes is how often the good client pushes in each phase; all phases with stalled clients end before the server
	// gives up on them.
	goodPushes   = 8
	goodPhases   = 3
	boundStalled = 1.2
	// settleTime lets the server clear up after clients that went away.
	settleTime = time.Second
)

// measureStalled compares the pushes of one client with and without 200 others that sent 1 MiB and then nothing more.
func measureStalled(ctx context.Context, l *lab, kind string) ([]row, error) {
	var without, with []time.Duration
	err := l.onStage(func(st *stage) error {
		r, err := st.berthServer(ctx, kind)
		if err != nil {
			return err
		}
		good := r.client(clientBuffer)
		defer good.close()
		if _, err := good.pushes(ctx, 1); err != nil { // warms up
			return err
		}
		for range goodPhases {
			took, err := good.pushes(ctx, goodPushes)
			if err != nil {
				return err
			}
			without = append(without, took...)
			if took, err = r.amongStalled(ctx, good); err != nil {
				return err
			}
			with = append(with, took...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a, b := median(without), median(with)
	return []row{row{
		Name: fmt.Sprintf("push 32 MiB among %d stalled, %s", stalledClients, kind), Measured: float64(b) / float64(a),
		Details: fmt.Sprintf("alone %.0f ms, among stalled %.0f ms", milliseconds(a), milliseconds(b)),
		Figures: map[string]float64{"alone_ms": milliseconds(a), "among_ms": milliseconds(b)},
	}.bounded(atMost, boundStalled)}, nil
}

// pushes times n pushes, one after the other, and checks the last.
func (c *client) pushes(ctx context.Context, n int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	var blob content
	for i := range took {
		blob = newContent(goodSize)
		if _, err := blob.digest(); err != nil { // hashes what all have in common, the first time
			return nil, err
		}
		began := time.Now()
		if err := c.push(ctx, blob); err != nil {
			return nil, err
		}
		took[i] = time.Since(began)
	}
	return took, c.verifyBlob(ctx, blob)
}

// amongStalled times pushes while the others stall.
func (r *registry) amongStalled(ctx context.Context, good *client) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := r.client(smallBuffer)
	defer c.close()
	var others errgroup.Group
	stalled := make(chan struct{}, stalledClients)
	for range stalledClients {
		others.Go(func() error { return c.stall(ctx, stalled) })
	}
	for range stalledClients {
		select {
		case <-stalled:
		case <-time.After(startTimeout):
			cancel()
			return nil, errors.Join(errors.New("the clients that are to stall do not get that far"), others.Wait())
		}
	}
	took, err := good.pushes(ctx, goodPushes)
	cancel()
	if serr := others.Wait(); err == nil {
		err = serr
	}
	time.Sleep(settleTime)
	return took, err
}

// stall begins to push and then sends nothing more until ctx ends.
func (c *client) stall(ctx context.Context, stalled chan<- struct{}) error {
	location, err := c.begin(ctx)
	if err != nil {
		return err
	}
	body := &stallingBody{Reader: newContent(stalledSize).part(0, stalledAfter), stalled: stalled, until: ctx.Done()}
	if _, err := c.patch(ctx, location, body, stalledSize, -1); err == nil || ctx.Err() == nil {
		return fmt.Errorf("a stalled client was answered: %w", err)
	}
	return nil
}

// stallingBody yields some bytes and then blocks.
type stallingBody struct {
	io.Reader
	stalled chan<- struct{}
	until   <-chan struct{}
}

// Read implements io.Reader.
func (b *stallingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if n > 0 || !errors.Is(err, io.EOF) {
		return n, err
	}
	b.stalled <- struct{}{}
	<-b.until
	return 0, io.ErrUnexpectedEOF
}
