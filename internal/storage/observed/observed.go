// Package observed watches over a store: a span and a duration for each operation, and the bytes that move. It changes
// nothing of what the store does; in particular readers keep the cheap way on which a file reaches a socket.
package observed

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// bounds are the buckets of berth.storage.operation.duration, from a file in the page cache to a chunk over a slow line.
var bounds = []float64{0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30}

// Store is a storage.Store that is watched.
type Store struct {
	storage.Store
	calls         *observe.Operations
	read, written atomic.Int64
}

var _ storage.Store = (*Store)(nil)

// Wrap watches a store, whose kind is "fs" or "s3". Without an observer it returns the store as it is.
func Wrap(store storage.Store, kind string, observer *observe.Observer) storage.Store {
	if observer == nil {
		return store
	}
	s := &Store{Store: store, calls: observer.Operations(observe.Component{
		Metric: "berth.storage.operation.duration", Bounds: bounds,
		Help:      "Duration of operations on the object store; a read lasts until its reader is closed, so as long as its client takes, or the fetch of a copy.",
		Attrs:     []observe.Attr{observe.Text("berth.storage.kind", kind)},
		Operation: "berth.storage.operation", SpanKind: trace.SpanKindInternal, Classify: failureWord,
	})}
	observer.Publish(observe.Figure{
		Name: "berth.storage.io", Unit: "By", Kind: observe.Counter, Help: "Bytes of objects that were read and written.",
		Read: func(say observe.Say) {
			say(s.read.Load(), observe.Text("berth.storage.kind", kind), observe.Text("disk.io.direction", "read"))
			say(s.written.Load(), observe.Text("berth.storage.kind", kind), observe.Text("disk.io.direction", "write"))
		},
	})
	return s
}

func failureWord(err error) (word string, failed bool) {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled", false
	case errors.Is(err, storage.ErrNotFound):
		return "not_found", true
	case errors.Is(err, storage.ErrUnavailable):
		return "unavailable", true
	case errors.Is(err, storage.ErrExists):
		return "exists", false
	case errors.Is(err, storage.ErrUnsupported):
		return "unsupported", false
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "short", true
	}
	return "_OTHER", true
}

func (s *Store) start(ctx context.Context, operation string, attrs func() []observe.Attr) (context.Context, observe.Call) {
	return s.calls.Start(ctx, operation, "storage."+operation, attrs)
}

// Create implements storage.Store. What takes time is the Commit, and that is what is watched.
func (s *Store) Create(ctx context.Context, key string, size int64) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, size)
	if err != nil {
		_, call := s.start(ctx, "write", nil)
		call.End(err)
		return nil, err
	}
	return &writer{Writer: w, store: s, within: trace.SpanContextFromContext(ctx)}, nil
}

type writer struct {
	storage.Writer
	store  *Store
	within trace.SpanContext // of Create
}

// Commit implements storage.Writer. Its span is a child of the request's even when the request goes on receiving
// meanwhile; one that another request brought to its end is linked to the one that began it.
func (w *writer) Commit(ctx context.Context) error {
	size := w.Size()
	ctx, call := w.store.start(ctx, "write", func() []observe.Attr { return []observe.Attr{attribute.Int64("berth.storage.size", size)} })
	if w.within.TraceID() != trace.SpanContextFromContext(ctx).TraceID() {
		call.Link(w.within)
	}
	err := w.Writer.Commit(ctx)
	call.End(err)
	if err == nil {
		w.store.written.Add(size)
	}
	return err
}

// Open implements storage.Store. The operation ends when its reader is closed.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	ctx, call := s.start(ctx, "read", nil)
	r, err := s.Store.Open(ctx, key, offset, length)
	if err != nil {
		call.End(err)
		return nil, err
	}
	return &reader{ReadCloser: r, store: s, call: call}, nil
}

// reader counts. It is an io.WriterTo, as the readers of all stores are.
type reader struct {
	io.ReadCloser
	store *Store
	call  observe.Call
	bytes int64
	err   error
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.note(int64(n), err)
	return n, err
}

// WriteTo implements io.WriterTo. The writer reaches the store as it is: a file finds the socket behind it.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	to, ok := r.ReadCloser.(io.WriterTo)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{r})
	}
	n, err := to.WriteTo(w)
	r.note(n, err)
	return n, err
}

func (r *reader) note(n int64, err error) {
	r.bytes += n
	r.store.read.Add(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
}

// Close implements io.Closer. That a client went away while it was being written to is no failure of the store.
func (r *reader) Close() error {
	err := r.ReadCloser.Close()
	r.call.Note(attribute.Int64("berth.storage.size", r.bytes))
	failure := r.err
	if failure == nil {
		failure = err
	}
	if failure != nil && !errors.Is(failure, storage.ErrUnavailable) && !errors.Is(failure, io.ErrUnexpectedEOF) {
		failure = context.Canceled
	}
	r.call.End(failure)
	return err
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	ctx, call := s.start(ctx, "delete", func() []observe.Attr {
		return []observe.Attr{attribute.Int("berth.storage.objects", len(keys))}
	})
	err := s.Store.Delete(ctx, keys...)
	call.End(err)
	return err
}

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix string, yield func(storage.Object) error) error {
	ctx, call := s.start(ctx, "list", nil)
	var refused error
	err := s.Store.List(ctx, prefix, func(o storage.Object) error {
		refused = yield(o)
		return refused
	})
	if err != nil && errors.Is(err, refused) { // the caller's own
		call.End(nil)
		return err
	}
	call.End(err)
	return err
}

// Compose implements storage.Store.
func (s *Store) Compose(ctx context.Context, dst string, parts []storage.Part) error {
	ctx, call := s.start(ctx, "compose", func() []observe.Attr {
		return []observe.Attr{attribute.Int("berth.storage.objects", len(parts))}
	})
	err := s.Store.Compose(ctx, dst, parts)
	call.End(err)
	return err
}

// Presign implements storage.Store.
func (s *Store) Presign(ctx context.Context, key string, p storage.Presign) (string, error) {
	ctx, call := s.start(ctx, "presign", nil)
	url, err := s.Store.Presign(ctx, key, p)
	call.End(err)
	return url, err
}

// Check implements storage.Store.
func (s *Store) Check(ctx context.Context) error {
	ctx, call := s.start(ctx, "check", nil)
	err := s.Store.Check(ctx)
	call.End(err)
	return err
}
