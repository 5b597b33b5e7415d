package main

import (
	"context"
	"fmt"
	"sync/atomic"
)

const (
	// boundReplicas is how much more processor time a request may take when two replicas share the work: two then do 1.6 times
	// what one does, where each has processors of its own.
	boundReplicas = 2 / 1.6
	replicaReads  = 8
)

// measureReplicas compares the processor time of a request to one server with that of requests to two replicas in turns, on
// PostgreSQL and S3. Both replicas and those who ask share this machine's processors, so throughput says nothing here.
func measureReplicas(ctx context.Context, l *lab) ([]row, error) {
	var rows []row
	err := l.onStage(func(st *stage) error {
		first, err := st.berthServer(ctx, onReplicas)
		if err != nil {
			return err
		}
		second, err := st.replicaOf(ctx, first)
		if err != nil {
			return err
		}
		i := newImage()
		digest, err := i.pushTo(ctx, first)
		if err != nil {
			return err
		}
		layer, err := i.layers[0].digest()
		if err != nil {
			return err
		}
		for _, work := range []struct {
			name string
			of   func(*client) func(context.Context) (int64, error)
		}{
			{"manifest GET", func(c *client) func(context.Context) (int64, error) { return c.manifestReader("GET", digest).op }},
			{"pull of 4 KiB", func(c *client) func(context.Context) (int64, error) {
				return func(ctx context.Context) (int64, error) { return c.pull(ctx, c.url("blobs", layer)) }
			}},
			{"push of 1MB", func(c *client) func(context.Context) (int64, error) {
				return (&pusher{client: c, size: megabyte}).push
			}},
		} {
			a, b := first.client(clientBuffer), second.client(clientBuffer)
			r, err := compareReplicas(ctx, st, work.name, a, b, work.of)
			a.close()
			b.close()
			if err != nil {
				return err
			}
			rows = append(rows, r)
		}
		return nil
	})
	return rows, err
}

func compareReplicas(
	ctx context.Context, st *stage, name string, a, b *client, work func(*client) func(context.Context) (int64, error),
) (row, error) {
	both := []func(context.Context) (int64, error){work(a), work(b)}
	var turn atomic.Uint64
	all, err := race(ctx, st.duration/rounds, replicaReads,
		contestant{child: a.child, op: both[0]},
		contestant{child: a.child, beside: []*child{b.child}, op: func(ctx context.Context) (int64, error) {
			return both[turn.Add(1)%2](ctx)
		}})
	if err != nil {
		return row{}, err
	}
	figures := map[string]float64{}
	details := all[0].requests("one", figures) + "; " + all[1].requests("two", figures)
	return row{
		Name: fmt.Sprintf("processor time of a %s to two replicas, to that of one", name), Details: details, Figures: figures,
		Measured: float64(all[1].cpuPerOp()) / float64(all[0].cpuPerOp()),
	}.bounded(atMost, boundReplicas), nil
}
