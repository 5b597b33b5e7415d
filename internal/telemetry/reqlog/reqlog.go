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
	// Route is the kind of the request, such as "oci.blob.get": never a raw path, which would be unbounded in number.
	// The log, the span and the metrics of the request are named by it. It is set to a string.
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
	facts Facts
	err   error
}

// Facts are what metrics tell requests apart by: few values each, and never the name of a tenant.
type Facts struct {
	// Route is what was set as [Route], or "".
	Route string
	// Principal is the kind of whoever asked (rbac.PrincipalKind), "" where nobody got as far as to look.
	Principal string
	// Project is the kind of the project that was asked about (rbac.ProjectKind), "" where there is none in the request.
	Project string
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
	if text, ok := value.(string); ok && key == Route {
		r.facts.Route = text
	}
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

// SetPrincipalKind notes the kind of whoever asks, for metrics. Outside a request it does nothing.
func SetPrincipalKind(ctx context.Context, kind string) {
	if r := from(ctx); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.facts.Principal = kind
	}
}

// SetProjectKind notes the kind of the project that is asked about, for metrics. Outside a request it does nothing.
func SetProjectKind(ctx context.Context, kind string) {
	if r := from(ctx); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.facts.Project = kind
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

// Text returns the value of a key that was set to a string, or "".
func (r *Record) Text(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.attrs {
		if r.attrs[i].Key == key && r.attrs[i].Value.Kind() == slog.KindString {
			return r.attrs[i].Value.String()
		}
	}
	return ""
}

// Facts returns what is known so far.
func (r *Record) Facts() Facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts
}

// Err returns what Fail was told, or nil.
func (r *Record) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
