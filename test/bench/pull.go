package main

import (
	"context"
	"fmt"
)

// severalPulls is how many clients pull at once.
const severalPulls = 4

// measurePull compares pulls of one blob with those from distribution and, for the very same file, from Go's own file
// server. All of it is in the page cache.
func measurePull(ctx context.Context, l *lab, size size) ([]row, error) {
	var rows []row
	err := l.onStage(func(st *stage) error {
		contestants, ours, err := st.pullers(ctx, size)
		if err != nil {
			return err
		}
		for _, clients := range l.parallel(severalPulls) {
			name := fmt.Sprintf("pull %s, %d at once", size.name, clients)
			end := st.profile(ctx, ours, name)
			all, err := race(ctx, l.duration/rounds, clients, contestants...)
			end()
			if err != nil {
				return err
			}
			rows = append(rows, pullRows(name, size, all)...)
		}
		return nil
	})
	return rows, err
}

func pullRows(name string, size size, all []laps) []row {
	figures := map[string]float64{}
	ours, theirs, files := all[0].throughput("berth", figures), all[1].throughput("distribution", figures), all[2].throughput("files", figures)
	peer := row{Name: name, Measured: ratio(all[0], all[1]), Details: ours + "; " + theirs, Figures: figures}
	plain := row{Name: name + ", to file server", Measured: ratio(all[0], all[2]), Details: ours + "; " + files, Figures: figures}
	if size.bound == boundLarge {
		plain = plain.bounded(atLeast, boundFiles)
	}
	return []row{peer.bounded(atLeast, size.bound), plain}
}

// pullers pushes one blob to both registries, serves Berth's file of it a third time, and checks all three.
func (st *stage) pullers(ctx context.Context, size size) ([]contestant, *registry, error) {
	blob := newContent(size.bytes)
	digest, err := blob.digest()
	if err != nil {
		return nil, nil, err
	}
	ours, err := st.berthServer(ctx, onFolder)
	if err != nil {
		return nil, nil, err
	}
	theirs, err := st.peerServer(ctx)
	if err != nil {
		return nil, nil, err
	}
	var all []contestant
	add := func(c *client, url string) error {
		all = append(all, contestant{child: c.child, op: func(ctx context.Context) (int64, error) { return c.pull(ctx, url) }})
		return c.verify(ctx, url, digest)
	}
	for _, r := range []*registry{ours, theirs} {
		c := r.client(clientBuffer)
		if err := c.push(ctx, blob); err != nil {
			return nil, nil, err
		}
		if err := add(c, c.url("blobs", digest)); err != nil {
			return nil, nil, err
		}
	}
	file, err := ours.fileOf(size.bytes)
	if err != nil {
		return nil, nil, err
	}
	files, url, err := st.fileServer(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	return all, ours, add((&registry{child: files}).client(clientBuffer), url)
}
