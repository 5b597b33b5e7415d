package front

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	now := &clock{now: time.Unix(1_700_000_000, 0)}
	var broken atomic.Bool
	var asked atomic.Int32
	server, lines := newFront(t, func(c *Config) {
		c.Clock = now.Now
		c.Checks = []Check{
			{Name: "database", Ask: func(context.Context) error { asked.Add(1); return nil }},
			{Name: "storage", Ask: func(ctx context.Context) error {
				if _, bounded := ctx.Deadline(); !bounded {
					return errors.New("no deadline")
				}
				if broken.Load() {
					return errors.New("s3://key:secret@host refused")
				}
				return nil
			}},
		}
	})
	probe := func(method, path string, status int, body string) {
		t.Helper()
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != status || w.Body.String() != body {
			t.Errorf("%s %s: %d %s, want %d %s", method, path, w.Code, w.Body, status, body)
		}
	}
	const ready = `{"status":"ready","checks":{"database":"ok","storage":"ok"}}`
	probe(http.MethodGet, "/healthz", 200, `{"status":"alive"}`)
	probe(http.MethodHead, "/healthz", 200, "")
	probe(http.MethodGet, "/readyz", 200, ready)
	probe(http.MethodHead, "/readyz", 200, "")
	if n := asked.Load(); n != 1 {
		t.Errorf("two probes at once asked %d times", n)
	}
	broken.Store(true)
	probe(http.MethodGet, "/readyz", 200, ready)
	now.advance(checkLife)
	probe(http.MethodGet, "/readyz", 503, `{"status":"not ready","checks":{"database":"ok","storage":"failed"}}`)
	probe(http.MethodGet, "/healthz", 200, `{"status":"alive"}`)
	broken.Store(false)
	now.advance(checkLife)
	probe(http.MethodGet, "/readyz", 200, ready)

	server.health.draining.Store(true)
	probe(http.MethodGet, "/readyz", 503, `{"status":"draining"}`)
	probe(http.MethodGet, "/healthz", 200, `{"status":"alive"}`)

	failures := 0
	for _, line := range lines.with(t, "request") {
		if line["error"] == "s3://key:secret@host refused" && line["level"] == "WARN" {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("the cause is logged %d times:\n%s", failures, lines)
	}
}

func TestAProberThatHangsUpIsNotAFailure(t *testing.T) {
	t.Parallel()
	server, _ := newFront(t, func(c *Config) {
		c.Checks = []Check{{Name: "database", Ask: func(ctx context.Context) error { return ctx.Err() }}}
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil).WithContext(gone))
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestACheckThatIgnoresItsContextIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most, calls atomic.Int32
		release := make(chan struct{})
		server, lines := newFront(t, func(c *Config) {
			c.Checks = []Check{
				{Name: "database", Ask: func(context.Context) error { return nil }},
				{Name: "storage", Ask: func(context.Context) error {
					calls.Add(1)
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					<-release
					return nil
				}},
			}
		})
		probe := func(status int, within time.Duration) {
			t.Helper()
			began := time.Now()
			w := httptest.NewRecorder()
			server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if took := time.Since(began); w.Code != status || took > within {
				t.Errorf("%d %s after %s, want %d", w.Code, w.Body, took, status)
			}
		}
		for range 3 {
			probe(http.StatusServiceUnavailable, checkTimeout)
			probe(http.StatusServiceUnavailable, 0) // as known
			time.Sleep(checkLife)
		}
		if calls.Load() != 1 || most.Load() != 1 {
			t.Errorf("%d calls, %d at once", calls.Load(), most.Load())
		}
		if failed := lines.with(t, "request"); len(failed) != 6 || failed[0]["error"] != errNoAnswer.Error() {
			t.Errorf("log:\n%s", lines)
		}
		close(release)
		synctest.Wait()
		probe(http.StatusOK, 0)
		if calls.Load() != 2 {
			t.Errorf("%d calls, want 2", calls.Load())
		}
	})
}
