package front

import (
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// Plane is a part of the server with routes of its own: the registry API, the token endpoint, the product API. A plane
// may also be a [Drainer]. It may take all of a prefix by one catch-all route; paths reach it as they were
// sent, and the escaped path of the request is the one to parse.
type Plane interface {
	// Mount adds the plane's routes.
	Mount(r gin.IRouter)
}

// releaseMode keeps Gin from printing its routes; the mode is global to the process.
var releaseMode = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

// newEngine builds the router with all planes on it.
func newEngine(trustedProxies []string, health *health, planes []Plane) (*gin.Engine, error) {
	releaseMode()
	engine := gin.New()
	// Paths are taken as they were sent: a redirected or cleaned-up path would be another repository's.
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.RemoveExtraSlash = false
	// An escaped slash must not become a separator on the way to the planes, which unescape for themselves.
	engine.UseEscapedPath = true
	engine.UnescapePathValues = false
	engine.HandleMethodNotAllowed = true
	engine.ContextWithFallback = true
	engine.RemoteIPHeaders = []string{forwardedFor}
	if err := engine.SetTrustedProxies(trustedProxies); err != nil {
		return nil, fmt.Errorf("BERTH_TRUSTED_PROXIES: %w", err)
	}
	engine.Use(dropPorts, describe, keepSendfile)
	engine.NoRoute(fallback(answerUnknown))
	engine.NoMethod(fallback(answerMethod))
	health.Mount(engine)
	for _, p := range planes {
		p.Mount(engine)
	}
	return engine, nil
}

// fallback makes a handler for what has no route. The header goes out at once: an answer to HEAD has nothing else, and
// Gin would take it for no answer and add one of its own.
func fallback(answer http.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		answer(c.Writer, c.Request)
		c.Writer.WriteHeaderNow()
	}
}

// describe notes what the router knows about the request. Planes with better words for the route overwrite it.
func describe(c *gin.Context) {
	ctx := c.Request.Context()
	reqlog.Set(ctx, reqlog.RemoteIP, c.ClientIP())
	if route := c.FullPath(); route != "" {
		reqlog.Set(ctx, reqlog.Route, route)
	}
}

// keepSendfile gives handlers a writer that is an io.ReaderFrom, as the one below Gin's is.
func keepSendfile(c *gin.Context) { c.Writer = readerFromWriter{c.Writer} }

type readerFromWriter struct{ gin.ResponseWriter }

// Unwrap returns Gin's writer, for http.ResponseController.
func (w readerFromWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom implements io.ReaderFrom.
func (w readerFromWriter) ReadFrom(src io.Reader) (int64, error) {
	w.WriteHeaderNow() // what Gin holds back goes first
	var below http.ResponseWriter = w.ResponseWriter
	for {
		if rf, ok := below.(io.ReaderFrom); ok {
			return rf.ReadFrom(src) //nolint:wrapcheck // a writer passes on the errors of the writer below
		}
		wrapped, ok := below.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return io.Copy(struct{ io.Writer }{w.ResponseWriter}, src)
		}
		below = wrapped.Unwrap()
	}
}
