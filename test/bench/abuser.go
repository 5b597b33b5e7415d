package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// abusePerSecond is 20 times what an address may read by default: half of 12,000 a minute.
	abusePerSecond = 20 * 12_000 / 2 / 60
	abusers        = 8
	// abusedReads is how often the other tenant reads in each phase; all phases together stay below its burst.
	abusedReads  = 400
	abusedPhases = 3
	boundAbused  = 1.5

	emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
)

// measureAbuser compares the manifest GETs of one tenant, at the 99th percentile, with and without somebody who asks 20
// times as often as the limits allow.
func measureAbuser(ctx context.Context, l *lab, kind string) ([]row, error) {
	var without, with, elsewhere []time.Duration
	var refused float64
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
			took, share, err := amongAbuse(ctx, good, r.base+"/v2/"+repository+"/manifests/abused")
			if err != nil {
				return err
			}
			with, refused = append(with, took...), share
			if took, _, err = amongAbuse(ctx, good, other); err != nil {
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
		Details: fmt.Sprintf("alone %.2f ms, beside %.2f ms, beside the same requests to Go's file server %.2f ms (medians %.2f, %.2f, %.2f); %.0f%% of the other's requests refused",
			milliseconds(a), milliseconds(b), milliseconds(c),
			milliseconds(median(without)), milliseconds(median(with)), milliseconds(median(elsewhere)), 100*refused),
		Figures: map[string]float64{
			"alone_ms": milliseconds(a), "beside_ms": milliseconds(b), "elsewhere_ms": milliseconds(c), "refused": refused,
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

// reads times n GETs of the manifest, one after the other.
func (c *client) reads(ctx context.Context, n int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	for i := range took {
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

// amongAbuse times reads while somebody without an account asks too often for a URL, and tells what part of that is refused.
func amongAbuse(ctx context.Context, good *client, url string) ([]time.Duration, float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := newHTTPClient(smallBuffer)
	defer client.CloseIdleConnections()
	var asked, refused atomic.Int64
	var others errgroup.Group
	for range abusers {
		others.Go(func() error {
			pace := time.NewTicker(time.Second * abusers / abusePerSecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				status, err := abuse(ctx, client, url)
				if err != nil && ctx.Err() == nil {
					return err
				}
				asked.Add(1)
				if status == http.StatusTooManyRequests {
					refused.Add(1)
				}
				<-pace.C
			}
			return nil
		})
	}
	for asked.Load() < 3*abusePerSecond && ctx.Err() == nil { // the burst is used up by then
		time.Sleep(10 * time.Millisecond)
	}
	asked.Store(0)
	refused.Store(0)
	took, err := good.reads(ctx, abusedReads)
	cancel()
	if oerr := others.Wait(); err == nil {
		err = oerr
	}
	return took, float64(refused.Load()) / float64(max(asked.Load(), 1)), err
}

// abuse asks once, with a credential that is no good, which counts for the address.
func abuse(ctx context.Context, client *http.Client, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("abuse: %w", err)
	}
	request.Header.Set("Authorization", "Bearer none")
	answer, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("abuse: %w", err)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}
