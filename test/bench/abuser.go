package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"
)

const (
	// abusePerSecond is 20 times what an address may read by default: half of 12,000 a minute.
	abusePerSecond = 20 * 12_000 / 2 / 60
	// abusedReads is how often the other tenant reads in each phase, and readEvery how long it takes for each: as often
	// as an account may for as long as it likes.
	abusedReads  = 800
	readEvery    = 5 * time.Millisecond
	abusedPhases = 3
	boundAbused  = 1.5

	emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
)

// measureAbuser compares the manifest GETs of one tenant, at the 99th percentile, with and without somebody who asks 20
// times as often as the limits allow.
func measureAbuser(ctx context.Context, l *lab, kind string) ([]row, error) {
	var without, with, elsewhere []time.Duration
	var rate, refused float64
	err := l.onStage(func(st *stage) error {
		r, err := st.berthServer(ctx, kind, "BERTH_RATELIMIT_ENABLED=true")
		if err != nil {
			return err
		}
		// The same requests to somebody else, who does next to nothing for them, tell what the machine makes of them alone.
		_, other, err := st.fileServer(ctx, filepath.Join(st.dir, "none"))
		if err != nil {
			return err
		}
		good := r.client(smallBuffer)
		defer good.close()
		if err := good.putIndex(ctx); err != nil {
			return err
		}
		if _, err := good.reads(ctx, abusedReads); err != nil { // warms up
			return err
		}
		for range abusedPhases {
			took, err := good.reads(ctx, abusedReads)
			if err != nil {
				return err
			}
			without = append(without, took...)
			if took, rate, refused, err = st.amongAbuse(ctx, good, r.base+"/v2/"+repository+"/manifests/abused"); err != nil {
				return err
			}
			with = append(with, took...)
			if took, _, _, err = st.amongAbuse(ctx, good, other); err != nil {
				return err
			}
			elsewhere = append(elsewhere, took...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p99 := func(taken []time.Duration) time.Duration { return percentile(slices.Sorted(slices.Values(taken)), 99) }
	a, b, c := p99(without), p99(with), p99(elsewhere)
	return []row{row{
		Name: fmt.Sprintf("manifest GET p99 beside one at 20 times its limit, %s", kind), Measured: float64(b) / float64(a),
		Details: fmt.Sprintf("alone %.2f ms, beside %.2f ms, beside the same requests to Go's file server %.2f ms (medians %.2f, %.2f, %.2f); %.0f%% of %.0f requests a second refused",
			milliseconds(a), milliseconds(b), milliseconds(c),
			milliseconds(median(without)), milliseconds(median(with)), milliseconds(median(elsewhere)), 100*refused, rate),
		Figures: map[string]float64{
			"alone_ms": milliseconds(a), "beside_ms": milliseconds(b), "elsewhere_ms": milliseconds(c), "refused": refused, "abuse_per_second": rate,
		},
	}.bounded(atMost, boundAbused)}, nil
}

// putIndex pushes the manifest that is read.
func (c *client) putIndex(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, c.url("manifests", "abused"), bytes.NewReader([]byte(emptyIndex)))
	if err != nil {
		return fmt.Errorf("push a manifest: %w", err)
	}
	r.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	_, err = c.send(r, http.StatusCreated)
	return err
}

// reads times n GETs of the manifest, one after the other and one each readEvery at most.
func (c *client) reads(ctx context.Context, n int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	pace := time.NewTicker(readEvery)
	defer pace.Stop()
	for i := range took {
		<-pace.C
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("manifests", "abused"), nil)
		if err != nil {
			return nil, fmt.Errorf("read a manifest: %w", err)
		}
		began := time.Now()
		if _, err := c.send(r, http.StatusOK); err != nil {
			return nil, err
		}
		took[i] = time.Since(began)
	}
	return took, nil
}

// amongAbuse times reads while somebody without an account asks too often for a URL, and tells how often a second, and what
// part of it is refused.
func (st *stage) amongAbuse(ctx context.Context, good *client, url string) (took []time.Duration, rate, refused float64, err error) {
	other, err := st.attack(url)
	if err != nil {
		return nil, 0, 0, err
	}
	defer other.stop()
	var before onslaught
	for before.asked < 3*abusePerSecond { // the burst is used up by then
		select {
		case <-ctx.Done():
			return nil, 0, 0, fmt.Errorf("abuse: %w", ctx.Err())
		case <-other.done:
			return nil, 0, 0, other.failed(errors.New("it ended"))
		case <-time.After(abuseReports):
		}
		if before, err = other.onslaught(); err != nil {
			return nil, 0, 0, err
		}
	}
	began := time.Now()
	if took, err = good.reads(ctx, abusedReads); err != nil {
		return nil, 0, 0, err
	}
	seconds := time.Since(began).Seconds()
	after, err := other.onslaught()
	if err != nil {
		return nil, 0, 0, err
	}
	during := after.minus(before)
	return took, float64(during.asked) / seconds, float64(during.refused) / float64(max(during.asked, 1)), nil
}
