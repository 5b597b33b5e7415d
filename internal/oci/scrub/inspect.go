package scrub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/storage"
)

// Kinds of findings.
const (
	KindDamaged  = "damaged"
	KindMissing  = "missing"
	KindManifest = "manifest"
)

const (
	// maxLooks is how often a blob is looked at that has other chunks each time.
	maxLooks = 4
	// firstPause is the pause before an object is opened again; each further one is twice as long.
	firstPause = 250 * time.Millisecond
	// bufferSize is how much is read at once.
	bufferSize = 256 << 10
)

// blobOf reads a blob with its chunks in one statement, so that they belong together.
var blobOf = database.SQL(`
	SELECT b.digest, b.size, b.generation, b.damaged_at, c.object_key, c.start, c.size
	FROM blobs b LEFT JOIN chunks c ON c.owner_id = b.id WHERE b.id = $1 ORDER BY c.start`)

type chunk struct {
	key         string
	start, size int64
}

type blob struct {
	id               uuid.UUID
	digest           digest.Digest
	size, generation int64
	quarantined      bool
	chunks           []chunk
}

// damage is what is wrong with a blob.
type damage struct {
	kind, key, detail string
}

// outcome is what a look at a blob has shown.
type outcome int

const (
	whole outcome = iota
	damaged
	gone    // it has no row any more
	changed // it has had other chunks each time
	unread  // the storage does not answer
)

// reader reads objects for one scrub.
type reader struct {
	*Scrubber
	throttle
	buffer []byte
	read   func(ctx context.Context, n int) error // hears of bytes; its error ends the reading
	probe  bool                                   // only look whether the objects are there, with their lengths
}

func (s *Scrubber) reader(rate int64, read func(ctx context.Context, n int) error) *reader {
	return &reader{
		Scrubber: s, throttle: throttle{rate: rate, clock: s.Clock, sleep: s.Wait}, buffer: make([]byte, bufferSize), read: read,
	}
}

// look finds out how a blob is. What seems damaged is read once more, and counts as damaged only if the blob has the same
// chunks as before: no object of a chunk that has a row is ever removed. Errors: the context's, the database's, and that of
// who hears of bytes.
func (r *reader) look(ctx context.Context, id uuid.UUID) (blob, *damage, outcome, error) {
	seen := int64(-1)
	for range maxLooks {
		b, found, err := r.find(ctx, id)
		if err != nil {
			return b, nil, unread, err
		}
		if !found {
			return b, nil, gone, nil
		}
		d, err := r.inspect(ctx, b)
		var stop *stopError
		switch {
		case ctx.Err() != nil:
			return b, nil, unread, ctx.Err() //nolint:wrapcheck // by the callers
		case errors.As(err, &stop):
			return b, nil, unread, stop.error
		case err != nil:
			r.Logger.WarnContext(ctx, "a blob was not read", slog.String("digest", string(b.digest)), slog.String("error", err.Error()))
			return b, nil, unread, nil
		case d == nil:
			return b, nil, whole, nil
		case seen == b.generation:
			return b, d, damaged, nil
		}
		seen = b.generation
	}
	return blob{}, nil, changed, nil
}

func (r *reader) find(ctx context.Context, id uuid.UUID) (blob, bool, error) {
	b := blob{id: id}
	found := false
	err := r.DB.Each(ctx, func(rows database.Rows) error {
		found = true
		var text string
		var key *string
		var damagedAt, start, size *int64
		if err := rows.Scan(&text, &b.size, &b.generation, &damagedAt, &key, &start, &size); err != nil {
			return err
		}
		b.digest, b.quarantined = digest.Digest(text), damagedAt != nil
		if key != nil && start != nil && size != nil {
			b.chunks = append(b.chunks, chunk{*key, *start, *size})
		}
		return nil
	}, blobOf, id)
	if err != nil {
		return b, false, fmt.Errorf("read a blob's row: %w", err)
	}
	return b, found, nil
}

// inspect reads a blob. It returns nil where it is whole; the error says why it cannot be read.
func (r *reader) inspect(ctx context.Context, b blob) (*damage, error) {
	end := int64(0)
	for _, c := range b.chunks {
		if c.start != end {
			return &damage{kind: KindDamaged, detail: fmt.Sprintf("its rows have no chunk at offset %d", end)}, nil
		}
		end += c.size
	}
	if end != b.size {
		return &damage{kind: KindDamaged, detail: fmt.Sprintf("its chunks are %d bytes long, it is %d", end, b.size)}, nil
	}
	hasher := digests.New(digests.Of(b.digest))
	for _, c := range b.chunks {
		from := int64(0)
		if r.probe {
			from = c.size - 1 // all but the last byte is taken on trust
		}
		length, err := r.object(ctx, c, from, hasher)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return &damage{kind: KindMissing, key: c.key, detail: fmt.Sprintf("the object of its %d bytes from %d on is missing", c.size, c.start)}, nil
		case err != nil:
			return nil, err
		case length > c.size:
			return &damage{kind: KindDamaged, key: c.key, detail: fmt.Sprintf("an object is longer than its %d bytes", c.size)}, nil
		case length < c.size:
			return &damage{kind: KindDamaged, key: c.key, detail: fmt.Sprintf("an object of %d bytes has %d", c.size, length)}, nil
		}
	}
	if got := hasher.Digest(); !r.probe && got != b.digest {
		d := &damage{kind: KindDamaged, detail: fmt.Sprintf("its content has the digest %s", got)}
		if len(b.chunks) == 1 {
			d.key = b.chunks[0].key
		}
		return d, nil
	}
	return nil, nil //nolint:nilnil // nothing is wrong
}

// object reads an object from an offset to its end, or one byte beyond its length, and returns where that was. Where the
// storage breaks off, reading goes on: objects never change.
func (r *reader) object(ctx context.Context, c chunk, from int64, to io.Writer) (int64, error) {
	at := from
	for failures := 0; ; {
		n, err := r.piece(ctx, c, at, to)
		at += n
		if n > 0 {
			failures = 0
		}
		var stop *stopError
		if err == nil || ctx.Err() != nil || errors.Is(err, storage.ErrNotFound) || errors.As(err, &stop) {
			return at, err
		}
		if failures++; failures >= r.Attempts {
			return at, err
		}
		if err := r.Wait(ctx, firstPause<<(failures-1)); err != nil {
			return at, err
		}
	}
}

// piece reads what one transfer yields.
func (r *reader) piece(ctx context.Context, c chunk, at int64, to io.Writer) (int64, error) {
	object, err := r.Store.Open(ctx, c.key, at, -1)
	if err != nil {
		return 0, err //nolint:wrapcheck // names the object
	}
	defer func() { _ = object.Close() }() // only read from
	var total int64
	for most := c.size - at + 1; total < most; { // one more, if it has that
		n, err := object.Read(r.buffer[:min(most-total, bufferSize)])
		total += int64(n)
		_, _ = to.Write(r.buffer[:n]) // a hash never fails
		if stop := r.read(ctx, n); stop != nil {
			return total, &stopError{stop}
		}
		if err := r.pay(ctx, n); err != nil {
			return total, err
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err //nolint:wrapcheck // names the object
		}
	}
	return total, nil
}

// stopError ends a scrub for a reason that is not the storage's.
type stopError struct{ error }

// Unwrap returns the reason.
func (e *stopError) Unwrap() error { return e.error }
