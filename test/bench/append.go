package main

import (
	"context"
	"fmt"
	"time"
)

const (
	appendChunk = 64 << 10
	// appendNth is the chunk that is compared with the first one.
	appendNth = 1000
	// appendSamples is how many chunks around it are measured, and as many firsts.
	appendSamples = 50
	boundAppend   = 1.2
)

// appending is an upload session that grows by chunks.
type appending struct {
	*client
	blob     content
	location string
	offset   int64
}

func (c *client) appending(ctx context.Context, chunks int64) (*appending, error) {
	location, err := c.begin(ctx)
	return &appending{client: c, blob: newContent(chunks * appendChunk), location: location}, err
}

// next sends the next chunk and tells how long it took.
func (a *appending) next(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	location, err := a.patch(ctx, a.location, a.blob.part(a.offset, appendChunk), appendChunk, a.offset)
	took := time.Since(began)
	a.location, a.offset = location, a.offset+appendChunk
	return took, err
}

// end finishes the session and checks what came of it.
func (a *appending) end(ctx context.Context) error {
	digest, err := a.blob.digest()
	if err != nil {
		return err
	}
	if err := a.finish(ctx, a.location, digest); err != nil {
		return err
	}
	return a.verifyBlob(ctx, a.blob)
}

// measureAppend compares the 1,000th chunk of an upload with first chunks, which is where an append that reads, lists or
// copies what came before shows. One upload grows to just below 1,000 chunks; then its chunks take turns with the first
// chunks of fresh uploads and with the second to fiftieth of another one.
func measureAppend(ctx context.Context, l *lab, kind string) ([]row, error) {
	var rows []row
	err := l.onStage(func(st *stage) error {
		r, err := st.berthServer(ctx, kind)
		if err != nil {
			return err
		}
		c := r.client(clientBuffer)
		defer c.close()
		long, err := c.appending(ctx, appendNth+appendSamples/2)
		if err != nil {
			return err
		}
		for range appendNth - appendSamples/2 {
			if _, err := long.next(ctx); err != nil {
				return err
			}
		}
		t, err := c.compareAppends(ctx, long)
		if err != nil {
			return err
		}
		rows = t.rows(kind)
		return long.end(ctx)
	})
	return rows, err
}

// appendTimes are the times of chunks by their place in their upload.
type appendTimes struct{ first, early, late []time.Duration }

func (c *client) compareAppends(ctx context.Context, long *appending) (appendTimes, error) {
	var t appendTimes
	short, err := c.appending(ctx, 1+appendSamples)
	if err != nil {
		return t, err
	}
	if _, err := short.next(ctx); err != nil {
		return t, err
	}
	for range appendSamples {
		fresh, err := c.appending(ctx, 1)
		if err != nil {
			return t, err
		}
		for _, turn := range []struct {
			upload *appending
			times  *[]time.Duration
		}{{fresh, &t.first}, {long, &t.late}, {short, &t.early}} {
			took, err := turn.upload.next(ctx)
			if err != nil {
				return t, err
			}
			*turn.times = append(*turn.times, took)
		}
	}
	return t, nil
}

func (t appendTimes) rows(kind string) []row {
	first, early, late := median(t.first), median(t.early), median(t.late)
	compare := func(name, label string, with time.Duration) row {
		return row{
			Name: name + ", " + kind, Measured: float64(late) / float64(with),
			Details: fmt.Sprintf("%s %.1f ms, 976th to 1,025th %.1f ms", label, milliseconds(with), milliseconds(late)),
			Figures: map[string]float64{"early_ms": milliseconds(with), "late_ms": milliseconds(late)},
		}.bounded(atMost, boundAppend)
	}
	return []row{
		compare("append, 1,000th chunk to 1st", "1st", first),
		compare("append, 1,000th chunk to 2nd to 51st", "2nd to 51st", early),
	}
}
