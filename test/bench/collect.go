package main

import (
	"context"
	"fmt"
)

const (
	// boundCollect is what is left at least of the throughput while a collection goes on all the time.
	boundCollect = 0.85
	// garbageSize is the blob that a pull of the case leaves behind.
	garbageSize = 64 << 10
	// pullsPerPush is how often it pulls meanwhile.
	pullsPerPush = 4
)

// Everything that is pushed is garbage a moment later, and collected and removed from storage while more is pushed.
// How much of its time a collection works is the product's default.
var (
	collecting    = []string{"BERTH_GC_INTERVAL=1ms", "BERTH_GC_LINK_LIFE=20ms", "BERTH_SWEEP_DELAY=1ms"}
	notCollecting = []string{"BERTH_GC_ENABLED=false"}
)

// measureCollection compares pushes and pulls beside a collection that never ends with those of a server that collects
// nothing.
func measureCollection(ctx context.Context, l *lab) ([]row, error) {
	var rows []row
	err := l.onStage(func(st *stage) error {
		ours, err := st.berthServerIn(ctx, "collecting", onFolder, collecting...)
		if err != nil {
			return err
		}
		theirs, err := st.berthServerIn(ctx, "idle", onFolder, notCollecting...)
		if err != nil {
			return err
		}
		for _, clients := range l.parallel(severalPushes) {
			for _, compare := range []func(context.Context, *stage, int, *registry, *registry) (row, error){compareCollectedPushes, compareCollectedPulls} {
				r, err := compare(ctx, st, clients, ours, theirs)
				if err != nil {
					return err
				}
				rows = append(rows, r)
			}
		}
		return nil
	})
	return rows, err
}

func compareCollectedPushes(ctx context.Context, st *stage, clients int, ours, theirs *registry) (row, error) {
	a, b := newPusher(ours, megabyte), newPusher(theirs, megabyte)
	defer a.client.close()
	defer b.client.close()
	all, err := race(ctx, st.duration/rounds, clients, contestant{child: ours.child, op: a.push}, contestant{child: theirs.child, op: b.push})
	if err != nil {
		return row{}, err
	}
	return collectionRow(fmt.Sprintf("push 1MB beside a collection, %d at once", clients), all), nil
}

// compareCollectedPulls pulls a layer that a manifest needs, and now and then pushes what nothing needs.
func compareCollectedPulls(ctx context.Context, st *stage, clients int, ours, theirs *registry) (row, error) {
	layer := newContent(megabyte)
	i := &image{config: newContent(layerSize), layers: []content{layer}}
	if _, err := i.pushTo(ctx, ours, theirs); err != nil {
		return row{}, err
	}
	digest, err := layer.digest()
	if err != nil {
		return row{}, err
	}
	var both []contestant
	var pushers []*pusher
	defer func() {
		for _, p := range pushers {
			p.client.close()
		}
	}()
	for _, r := range []*registry{ours, theirs} {
		garbage := newPusher(r, garbageSize)
		pushers = append(pushers, garbage)
		both = append(both, contestant{child: r.child, op: func(ctx context.Context) (int64, error) {
			moved, err := garbage.push(ctx)
			for range pullsPerPush {
				if err != nil {
					return moved, err
				}
				var n int64
				n, err = garbage.client.pull(ctx, garbage.client.url("blobs", digest))
				moved += n
			}
			return moved, err
		}})
	}
	all, err := race(ctx, st.duration/rounds, clients, both...)
	if err != nil {
		return row{}, err
	}
	return collectionRow(fmt.Sprintf("pull 1MB beside a collection, %d at once", clients), all), nil
}

func collectionRow(name string, all []laps) row {
	figures := map[string]float64{}
	details := all[0].throughput("collecting", figures) + "; " + all[1].throughput("idle", figures)
	return row{Name: name, Measured: ratio(all[0], all[1]), Details: details, Figures: figures}.bounded(atLeast, boundCollect)
}
