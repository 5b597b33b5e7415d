package front

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berthregistry/berth/internal/telemetry/observe"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// edge is what every request passes on its way in, whatever its plane: request ID, span and metrics, access log, panics,
// idle timeouts and CORS. It works on net/http's own writer, below the router, so that blob handlers keep sendfile.
type edge struct {
	next     http.Handler
	logger   *slog.Logger
	bodyIdle time.Duration
	cors     cors
	copies   copySlots
	requests *observe.Requests
	inFlight sync.WaitGroup // handlers that still run
	cutting  atomic.Bool    // the server closes connections under their handlers
}

// ServeHTTP implements http.Handler.
func (e *edge) ServeHTTP(original http.ResponseWriter, r *http.Request) {
	e.inFlight.Add(1)
	defer e.inFlight.Done()

	began := time.Now()
	id := requestID(r)
	within, exchange := e.requests.Begin(r, isProbe(r.URL.Path))
	ctx, record := reqlog.New(within, id)
	w := newResponse(original, r, e.bodyIdle, e.copies)
	// A copy: net/http must go on seeing its own body in its own request.
	r = r.WithContext(ctx)
	r.Body = w.body
	if w.body.ReadCloser == http.NoBody {
		r.Body = http.NoBody // what net/http's helpers compare with
	}
	w.Header().Set(requestIDHeader, id)

	returned := false
	defer func() {
		e.logRequest(r, w, record, began, returned)
		exchange.End(r, e.result(r, w, record, began, returned))
	}()
	defer w.finish()
	defer e.recoverPanic(w, r)
	if !e.cors.answered(w, r) {
		e.next.ServeHTTP(w, r)
	}
	returned = true
}

// result is what spans and metrics tell about a request.
func (e *edge) result(r *http.Request, w *response, record *reqlog.Record, began time.Time, returned bool) observe.Result {
	if e.requests == nil {
		return observe.Result{}
	}
	return observe.Result{
		Facts: record.Facts(), Status: w.status, In: w.body.read.Load(), Out: w.sent, Took: time.Since(began),
		Aborted: !returned || e.clientGone(r), RemoteIP: record.Text(reqlog.RemoteIP),
	}
}
