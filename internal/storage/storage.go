// Package storage is the port to the object stores that hold Berth's bytes.
//
// A store is deliberately dumb: it keeps immutable objects under opaque keys and knows nothing of blobs, digests or
// tenants. The database decides what exists; an object without a row is garbage and never a wrong answer. That is why
// a store need not be transactional, only durable: when Commit or Compose returned nil, the bytes survive a crash.
//
// # Key layout
//
// Callers name objects "<YYYY-MM-DD>/<session>/<random>": the day they were written (UTC), the upload session and a
// random name. Keys are never reused. The day lets a sweeper look for orphans one day at a time instead of listing
// a whole store. Stores treat keys as opaque, see [ValidateKey] for their form.
//
// The package storagetest holds the suite that every implementation passes.
package storage

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that stores return, always wrapped with what was attempted: compare with errors.Is. A failure that none of
// them describes is the context's own error or io.ErrUnexpectedEOF from a reader.
var (
	// ErrNotFound says that no object has the key.
	ErrNotFound = errors.New("object not found")
	// ErrUnavailable says that the backend failed in a way that may pass by itself: throttled, timed out, refused,
	// answered 5xx, full or broken disk, credentials that expired. Callers answer 503 and keep the session.
	ErrUnavailable = errors.New("storage unavailable")
	// ErrExists says that the key is already taken; what is stored there is untouched.
	ErrExists = errors.New("object exists")
	// ErrUnsupported says that this kind of store cannot do what was asked, ever.
	ErrUnsupported = errors.New("not supported by this store")
	// ErrInvalid says that the arguments are wrong (key, range, part list, size): a defect of the caller. Nothing was
	// sent to the backend.
	ErrInvalid = errors.New("invalid storage request")
)

// Store keeps immutable objects. Its methods are safe for concurrent use. Each returns ErrInvalid for malformed
// arguments, ErrUnavailable when the backend fails, and the context's error once that is done; what else they return
// is said below.
type Store interface {
	// Create starts a new object. The key must pass ValidateKey. size is the exact length in bytes where it is known,
	// else -1; Commit of another length than the declared one fails. Nothing is visible to Open, List or Compose
	// before Commit returned nil. The context covers the writing, not only the call.
	//
	// A taken key yields ErrExists, from Create or only from Commit, where the backend can tell cheaply; callers
	// must not rely on it, they draw keys at random.
	Create(ctx context.Context, key string, size int64) (Writer, error)

	// Open reads the bytes [offset, offset+length) of an object, or [offset, end) when length is negative. It returns
	// ErrNotFound for an absent key. A reader never ends early in silence: when the object or its transfer is shorter
	// than asked, the last Read fails with io.ErrUnexpectedEOF. So asking for a length beyond the end is an error once
	// the existing bytes were read, while a negative length at or beyond the end reads nothing.
	//
	// The context covers the reading, not only the call. The reader implements io.WriterTo, which moves bytes more
	// cheaply than Read where the destination allows. It is for one goroutine and must be closed.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Delete removes objects for good. Absent keys are no error, and the removal of the other keys is tried when that
	// of one fails.
	Delete(ctx context.Context, keys ...string) error

	// List yields every object below a folder, a whole day ("2026-01-02/") or one session of it
	// ("2026-01-02/session"), in no particular order; see ValidatePrefix. Objects written or deleted meanwhile may or
	// may not appear, all others appear once. An error of yield ends the listing and is returned as it is. yield may
	// call the store.
	List(ctx context.Context, prefix string, yield func(Object) error) error

	// Compose builds the object dst from ranges of existing objects, in order, moving the bytes inside the store
	// where it can. It is durable when nil is returned; on failure nothing becomes visible. A missing source yields
	// ErrNotFound, a range beyond the end of its source io.ErrUnexpectedEOF.
	Compose(ctx context.Context, dst string, parts []Part) error

	// Presign returns a URL from which anybody can GET the object until it expires, or temporary credentials do. One of 15
	// minutes or more may be that of others who asked the same, and works for two thirds of the time at least. It does not
	// check that the object exists. Stores without URLs return ErrUnsupported.
	Presign(ctx context.Context, key string, p Presign) (string, error)

	// Check tells whether the backend answers, cheaply and without retries, for readiness probes.
	Check(ctx context.Context) error

	// Limits tells what suits this kind of store. The answer never changes.
	Limits() Limits

	// Close releases connections and file handles. No other method may be called afterwards.
	Close() error
}

// Writer takes the bytes of one new object. Exactly one of Commit and Abort settles it; calling Abort in a defer is
// right in all cases. Write is for one goroutine at a time; Commit may be called by another one after the last Write.
type Writer interface {
	// Write appends p and never retains it. After an error only Abort is useful.
	io.Writer
	// Size is the number of bytes written so far.
	Size() int64
	// Commit makes the object durable and visible: the file and its folders are synced, or the remote store has
	// acknowledged. It may be called once. It returns ErrExists for a taken key where the backend can tell. After any
	// error the object counts as absent; Abort then removes what the backend may have taken all the same.
	Commit(ctx context.Context) error
	// Abort discards the object and leaves nothing behind. It may be called repeatedly and does nothing after a
	// successful Commit. It waits for a Commit that is under way.
	Abort() error
}

// Object is one entry of a listing.
type Object struct {
	// Key is the object's whole key.
	Key string
	// Size is its length in bytes.
	Size int64
	// Modified is when the backend stored it, by the backend's clock.
	Modified time.Time
}

// Part is a range of an existing object.
type Part struct {
	// Key names the source.
	Key string
	// Offset is where the range begins, in bytes from the source's start.
	Offset int64
	// Length is the number of bytes; 0 is legal and contributes nothing.
	Length int64
}

// Presign says what a presigned URL shall allow.
type Presign struct {
	// Expires is how long the URL works: at least one second, at most seven days.
	Expires time.Duration
	// ContentType, unless empty, is the Content-Type of the answer.
	ContentType string
	// CacheControl, unless empty, is the Cache-Control of the answer.
	CacheControl string
}

// Limits describes what suits a kind of store.
type Limits struct {
	// ChunkSize is the number of bytes after which an upload best begins a new object.
	ChunkSize int64
	// MinChunk is the smallest chunk, in bytes, that clients should send; 0 means any.
	MinChunk int64
	// Pipeline is how many Commits of one upload may usefully be under way at once.
	Pipeline int
}
