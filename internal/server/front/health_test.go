package front

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
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
