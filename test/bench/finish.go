package main

import (
	"context"
	"fmt"
	"time"
)

const (
	finishSmall  = 16 << 20
	finishLarge  = 1 << 30
	finishRounds = 6 // an even number: each of the two is closed first as often as the other
	finishWarm   = 1 << 20
	boundFinish  = 1.5
)

// measureFinish compares the closing PUT of a blob of 1 GiB with that of one of 16 MiB.
func measureFinish(ctx context.Context, l *lab, kind string) ([]row, error) {
	var small, large []time.Duration
	err := l.onStage(func(st *stage) error {
		r, err := st.berthServer(ctx, kind)
		if err != nil {
			return err
		}
		c := r.client(clientBuffer)
		defer c.close()
		for round := range finishRounds {
			took, err := c.finishPair(ctx, round)
			if err != nil {
				return err
			}
			st.detail("finish, %s: %s, %s", kind, took[0], took[1])
			small, large = append(small, took[0]), append(large, took[1])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s, g := median(small), median(large)
	return []row{row{
		Name: "finish, 1 GiB to 16 MiB, " + kind, Measured: float64(g) / float64(s),
		Details: fmt.Sprintf("16 MiB %.1f ms, 1 GiB %.1f ms", milliseconds(s), milliseconds(g)),
		Figures: map[string]float64{"small_ms": milliseconds(s), "large_ms": milliseconds(g)},
	}.bounded(atMost, boundFinish)}, nil
}

// finishPair uploads a small and a large content and then times the requests that close the two. The disk is idle by
// then: what the store has not written yet is none of the closing request's work.
func (c *client) finishPair(ctx context.Context, round int) (took [2]time.Duration, err error) {
	blobs := [2]content{newContent(finishSmall), newContent(finishLarge)}
	var locations, digests [2]string
	for i, blob := range blobs {
		if digests[i], err = blob.digest(); err != nil {
			return took, err
		}
		if locations[i], err = c.begin(ctx); err != nil {
			return took, err
		}
		if locations[i], err = c.patch(ctx, locations[i], blob.reader(), blob.size, -1); err != nil {
			return took, err
		}
	}
	warm := newContent(finishWarm)
	syncDisks()
	if err := c.push(ctx, warm); err != nil { // the first to come after the pause pays for it
		return took, err
	}
	for i := range blobs {
		i = (i + round) % len(blobs)
		began := time.Now()
		if err := c.finish(ctx, locations[i], digests[i]); err != nil {
			return took, err
		}
		took[i] = time.Since(began)
	}
	if round > 0 {
		return took, nil
	}
	for _, blob := range blobs {
		if err := c.verifyBlob(ctx, blob); err != nil {
			return took, err
		}
	}
	return took, nil
}
