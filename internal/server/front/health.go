package front

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

const (
	livePath  = "/healthz"
	readyPath = "/readyz"
	// checkTimeout bounds one look at the database and the storage.
	checkTimeout = 3 * time.Second
	// checkLife is how long its result serves everybody: anyone may ask, and must not load the backends by that.
	checkLife = time.Second
)

func isProbe(path string) bool { return path == livePath || path == readyPath }

// errNoAnswer is for a check that did not return in time.
var errNoAnswer = fmt.Errorf("no answer within %s", checkTimeout)

// Check asks one thing that the server needs whether it answers. Ask should return soon after its context is done; until
// it has, it is not called again.
type Check struct {
	// Name is what /readyz calls it.
	Name string
	// Ask returns nil where it answers.
	Ask func(context.Context) error
}

// health answers whether the process lives and whether it can serve.
type health struct {
	checks   []Check
	trusted  []string // proxies, as CIDRs or addresses
	clock    func() time.Time
	draining atomic.Bool

	mu    sync.Mutex // held for checkTimeout at most
	known []error    // the last result, parallel to checks
	until time.Time
	runs  []*run // the last one of each check, parallel to checks; nil before the first
}

// run is one call of a check.
type run struct {
	done chan struct{} // closed when it returned
	err  error         // to be read after that
}

func newHealth(checks []Check, trusted []string, clock func() time.Time) *health {
	return &health{checks: checks, trusted: trusted, clock: clock, runs: make([]*run, len(checks))}
}

// Mount adds /healthz and /readyz.
func (h *health) Mount(r gin.IRouter) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r.Handle(method, livePath, func(c *gin.Context) {
			writeReport(c, http.StatusOK, report{Status: "alive", Seen: h.look(c)})
		})
		r.Handle(method, readyPath, h.ready)
	}
}

// report is the body of both answers. It names what fails, never why: the reason is in the log.
type report struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
	Seen   *seen             `json:"seen,omitempty"`
}

func (h *health) ready(c *gin.Context) {
	if h.draining.Load() {
		writeReport(c, http.StatusServiceUnavailable, report{Status: "draining"})
		return
	}
	status, out := http.StatusOK, report{Status: "ready", Checks: map[string]string{}}
	for i, err := range h.results(c.Request.Context()) {
		out.Checks[h.checks[i].Name] = "ok"
		if err != nil {
			reqlog.Fail(c.Request.Context(), err)
			status, out.Status, out.Checks[h.checks[i].Name] = http.StatusServiceUnavailable, "not ready", "failed"
		}
	}
	writeReport(c, status, out)
}

// results asks all checks at once, unless somebody has just done so.
func (h *health) results(ctx context.Context) []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clock().Before(h.until) {
		return h.known
	}
	// A prober that hangs up must not leave its own cancellation behind as everybody's answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	for i, check := range h.checks {
		if last := h.runs[i]; last == nil || last.ended() {
			h.runs[i] = begin(ctx, check)
		}
	}
	results := make([]error, len(h.checks))
	for i, r := range h.runs {
		results[i] = r.await(ctx)
	}
	h.known, h.until = results, h.clock().Add(checkLife)
	return results
}

func begin(ctx context.Context, check Check) *run {
	r := &run{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = check.Ask(ctx)
	}()
	return r
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// await gives what the check returned, also where that came with the end of the time.
func (r *run) await(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if r.ended() {
		return r.err
	}
	return errNoAnswer
}

func writeReport(c *gin.Context, status int, out report) {
	body, _ := json.Marshal(out) // a struct of texts cannot fail
	header := c.Writer.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	c.Writer.WriteHeader(status)
	if c.Request.Method != http.MethodHead {
		_, _ = c.Writer.Write(body) // the prober may be gone
	}
}
