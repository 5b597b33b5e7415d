package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// abuseFlag makes this program a child of itself: `bench -abuse URL`.
const abuseFlag = "-abuse"

const (
	abusers      = 8
	abuseReports = 50 * time.Millisecond
)

// onslaught is what an attack has come to since it began.
type onslaught struct{ asked, refused int64 }

func (t onslaught) minus(earlier onslaught) onslaught {
	return onslaught{asked: t.asked - earlier.asked, refused: t.refused - earlier.refused}
}

// attack starts somebody who asks for a URL too often. It is a process of its own, and of the lowest priority: a stranger's
// program runs on a stranger's machine, and what it needs of this one's processors is not what it costs those it attacks.
func (st *stage) attack(url string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return st.start(fmt.Sprintf("abuser-%d", len(st.children)), nil, "nice", "-n", "19", self, abuseFlag, url)
}

// onslaught reads what an attack last reported.
func (c *child) onslaught() (onslaught, error) {
	var t onslaught
	log, err := os.ReadFile(c.log)
	if err != nil {
		return t, fmt.Errorf("read what the attack reports: %w", err)
	}
	lines := bytes.Split(bytes.TrimSuffix(log, []byte("\n")), []byte("\n"))
	if last := lines[len(lines)-1]; len(last) > 0 {
		if _, err := fmt.Sscan(string(last), &t.asked, &t.refused); err != nil {
			return t, fmt.Errorf("the attack says %q", last)
		}
	}
	return t, nil
}

// runAbuse asks abusePerSecond times a second, until its context or the process ends.
func runAbuse(ctx context.Context, url string, out io.Writer) error {
	client := newHTTPClient(smallBuffer)
	defer client.CloseIdleConnections()
	var asked, refused atomic.Int64
	others, ctx := errgroup.WithContext(ctx)
	for range abusers {
		others.Go(func() error {
			began := time.Now()
			for i := range int64(1 << 62) {
				status, err := abuse(ctx, client, url)
				if err != nil {
					return err
				}
				asked.Add(1)
				if status == http.StatusTooManyRequests {
					refused.Add(1)
				}
				due := began.Add(time.Duration(i+1) * time.Second * abusers / abusePerSecond)
				if late := time.Since(due); late > time.Second {
					began = began.Add(late) // what the machine could not do is not made up for
				}
				time.Sleep(time.Until(due))
			}
			return nil
		})
	}
	others.Go(func() error {
		tick := time.NewTicker(abuseReports)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				if _, err := fmt.Fprintln(out, asked.Load(), refused.Load()); err != nil {
					return fmt.Errorf("report: %w", err)
				}
			}
		}
	})
	return others.Wait()
}

// abuse asks once, with a credential that is no good, which counts for the address.
func abuse(ctx context.Context, client *http.Client, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil) //nolint:gosec // the benchmark's own server
	if err != nil {
		return 0, fmt.Errorf("abuse: %w", err)
	}
	request.Header.Set("Authorization", "Bearer none")
	answer, err := client.Do(request) //nolint:gosec // the same
	if err != nil {
		return 0, fmt.Errorf("abuse: %w", err)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}
