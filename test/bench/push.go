package main

import (
	"context"
	"fmt"
	"sync/atomic"
)

// parallel are the numbers of clients of a case that compares servers.
func (l *lab) parallel(several int) []int {
	if l.concurrency > 0 {
		several = l.concurrency
	}
	if several == 1 {
		return []int{1}
	}
	return []int{1, several}
}

const (
	severalPushes = 4
	severalReads  = 8
)

// measurePush compares pushes of fresh content with those to distribution.
func measurePush(ctx context.Context, l *lab, size size) ([]row, error) {
	var rows []row
	for _, clients := range l.parallel(severalPushes) {
		err := l.onStage(func(st *stage) error { // each with empty servers: what was pushed goes
			ours, err := st.berthServer(ctx, onFolder)
			if err != nil {
				return err
			}
			theirs, err := st.peerServer(ctx)
			if err != nil {
				return err
			}
			r, err := comparePushes(ctx, st, size, clients, ours, theirs)
			rows = append(rows, r)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func comparePushes(ctx context.Context, st *stage, size size, clients int, ours, theirs *registry) (row, error) {
	a, b := newPusher(ours, size.bytes), newPusher(theirs, size.bytes)
	defer a.client.close()
	defer b.client.close()
	name := fmt.Sprintf("push %s, %d at once", size.name, clients)
	end := st.profile(ctx, ours, name)
	all, err := race(ctx, st.duration/rounds, clients, contestant{child: ours.child, op: a.push}, contestant{child: theirs.child, op: b.push})
	end()
	if err != nil {
		return row{}, err
	}
	for _, p := range []*pusher{a, b} {
		if err := p.client.verifyBlob(ctx, *p.last.Load()); err != nil {
			return row{}, err
		}
	}
	figures := map[string]float64{}
	details := all[0].throughput("berth", figures) + "; " + all[1].throughput("distribution", figures)
	return row{Name: name, Measured: ratio(all[0], all[1]), Details: details, Figures: figures}.bounded(atLeast, size.bound), nil
}

// pusher pushes contents of one size.
type pusher struct {
	client *client
	size   int64
	last   atomic.Pointer[content] // the latest that is there
}

func newPusher(r *registry, size int64) *pusher {
	return &pusher{client: r.client(clientBuffer), size: size}
}

func (p *pusher) push(ctx context.Context) (int64, error) {
	blob := newContent(p.size)
	if err := p.client.push(ctx, blob); err != nil {
		return 0, err
	}
	p.last.Store(&blob)
	return p.size, nil
}
