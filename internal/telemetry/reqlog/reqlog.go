// Package reqlog carries what is known about one request from the handlers that learn it to the one line of the access
// log, and the request's ID to every other line. Handlers of all planes use it; the server writes the line.
package reqlog

import (
	"context"
	"log/slog"
	"sync"
)

// Keys that several packages set. Others may be added freely, in snake case.
const (
	// Principal says who asked, for example "user:<uuid>" or "anonymous".
	Principal = "principal"
	// Route is the kind of the request, such as "blob_get": never a raw path, which would be unbounded in number.
	Route = "route"
	// Denied is why a caller was refused, where the answer tells less: a token that was revoked, a scope that is too
	// narrow, a policy that forbids it.
	Denied = "denied"
	// RemoteIP is the client's address, behind trusted proxies.
	RemoteIP = "remote_ip"
	// OverLimit is the class of requests that the caller makes too many of.
	OverLimit = "over_limit"
)

// maxAttrs bounds a record: a handler that sets keys in a loop must not fill the log.
const maxAttrs = 32

// Record gathers what is said about one request. It is safe for concurrent use.
type Record struct {
	id string

	mu    sync.Mutex
	attrs []slog.Attr
	err   error
}

type contextKey struct{}

// New begins the record of a request and returns a context that carries it.
func New(ctx context.Context, id string) (context.Context, *Record) {
	r := &Record{id: id}
	return context.WithValue(ctx, contextKey{}, r), r
}

func from(ctx context.Context) *Record {
	r, _ := ctx.Value(contextKey{}).(*Record)
	return r
}

// ID returns the ID of the request that ctx belongs to, or "".
func ID(ctx context.Context) string {
	if r := from(ctx); r != nil {
		return r.id
	}
	return ""
}

// Set adds an attribute to the request's line in the access log; the last value of a key counts. value must not be a
// secret. Outside a request Set does nothing.
func Set(ctx context.Context, key string, value any) {
	r := from(ctx)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.attrs {
		if r.attrs[i].Key == key {
			r.attrs[i].Value = slog.AnyValue(value)
			return
		}
	}
	if len(r.attrs) < maxAttrs {
		r.attrs = append(r.attrs, slog.Any(key, value))
	}
}

// Fail notes why the request failed: the cause that the client is not told. The last one counts; nil is ignored.
// Outside a request Fail does nothing.
func Fail(ctx context.Context, err error) {
	r := from(ctx)
	if r == nil || err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// ID returns the request's ID.
func (r *Record) ID() string { return r.id }

// Attrs returns a copy of what was set so far, in the order of the first settings.
func (r *Record) Attrs() []slog.Attr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]slog.Attr(nil), r.attrs...)
}

// Err returns what Fail was told, or nil.
func (r *Record) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
