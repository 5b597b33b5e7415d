package uploads

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/storage"
)

// copyBuffer is how much of a body is read before it is hashed and written, in bytes: every request in flight holds
// one, stalled ones too.
const copyBuffer = 64 << 10

// flushInterval bounds how long received bytes wait in the copy buffer of a slow client.
const flushInterval = time.Second

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// chunk is one stored object on its way to a row.
type chunk struct {
	key   string
	start int64
	size  int64
	state []byte // hash state at its end
}

func (c *chunk) end() mark { return mark{offset: c.start + c.size, state: c.state} }

// receiver streams one body into chunks: read, hash, store, commit a row. All but the last chunk of the body get
// their row here, in order; the last is left to the caller, who may have more to commit in the same transaction.
type receiver struct {
	s      *Service
	sess   *session
	target Target
	writer *writer
	body   Body
	begin  mark  // where the body begins
	before int64 // chunks of the session before the body
	hasher *digests.Hasher

	open     storage.Writer // of the chunk being written
	chunk    *chunk
	opened   time.Time
	received int64
	renewed  time.Time
	pipe     *pipeline
	placed   bool // some chunk of this body has its row
}

// run receives the whole body. It returns the last chunk, stored but without a row; nil for an empty body. On an
// error the chunk in flight is discarded and those before it stay, unless the body itself was wrong.
func (r *receiver) run() (last *chunk, err error) {
	place := func(c *chunk) error { return r.place(c, r.commit, true) }
	r.pipe = newPipeline(r.writer.ctx, r.s.Store.Limits().Pipeline, place, r.drop)
	defer func() { err = r.settle(err) }()
	buffer, _ := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buffer)
	for {
		n, readErr := r.fill(buffer[:])
		if err := r.take(buffer[:n]); err != nil {
			return nil, err
		}
		if errors.Is(readErr, io.EOF) {
			return r.finishBody()
		}
		if readErr != nil {
			return nil, r.interrupted(readErr)
		}
		if err := r.tick(); err != nil {
			return nil, err
		}
	}
}

// fill reads until the buffer is full, the body ends, or flushInterval has passed.
func (r *receiver) fill(buffer []byte) (n int, err error) {
	since := time.Now()
	for n < len(buffer) {
		if cause := context.Cause(r.writer.ctx); cause != nil {
			return n, cause
		}
		m, err := r.body.Reader.Read(buffer[n:])
		n += m
		if err != nil {
			return n, err
		}
		if time.Since(since) > flushInterval {
			return n, nil
		}
	}
	return n, nil
}

// take hashes and stores what was read, closing chunks that are full. A full chunk closes only when more follows, so
// that the last one of a body is always left over.
func (r *receiver) take(p []byte) error {
	if err := r.admit(int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		if r.open != nil && r.chunk.size == r.s.ChunkSize {
			if err := r.close(); err != nil {
				return err
			}
		}
		if r.open == nil {
			if err := r.create(); err != nil {
				return err
			}
		}
		part := p[:min(int64(len(p)), r.s.ChunkSize-r.chunk.size)]
		if _, err := r.hasher.Write(part); err != nil {
			return err
		}
		if _, err := r.open.Write(part); err != nil {
			return fmt.Errorf("write chunk: %w", err)
		}
		r.chunk.size += int64(len(part))
		p = p[len(part):]
	}
	return nil
}

// admit counts n more bytes against what the request announced and the largest blob.
func (r *receiver) admit(n int64) error {
	r.received += n
	if r.body.RangeLength >= 0 && r.received > r.body.RangeLength {
		return errBody{ocierr.SizeInvalid.With("the body is longer than its Content-Range")}
	}
	return r.s.checkSize(r.begin.offset, r.received)
}

// checkSize refuses so many bytes at an offset if they exceed the largest blob.
func (s *Service) checkSize(offset, size int64) error {
	if s.MaxBlobSize > 0 && size > s.MaxBlobSize-offset {
		return errBody{ocierr.BlobTooLarge.With("a blob may have at most %d bytes", s.MaxBlobSize)}
	}
	return nil
}

// errBody marks an error that is the body's own fault: nothing of the body is kept.
type errBody struct{ error }

func (e errBody) Unwrap() error { return e.error }

var errTooManyChunks = errBody{ocierr.BlobTooLarge.With("a blob may have at most %d chunks", MaxChunks)}

// create begins a chunk. Its key's day is the latest on which it can close, so that whoever lists the objects of a
// day later on finds all of them.
func (r *receiver) create() error {
	if r.before+int64(r.pipe.submitted) >= MaxChunks {
		return errTooManyChunks
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	start := r.begin.offset
	if r.chunk != nil {
		start = r.chunk.end().offset
	}
	now := r.s.Clock()
	c := &chunk{start: start}
	c.key = fmt.Sprintf("%s/%s/%s", now.Add(maxChunkAge).UTC().Format(time.DateOnly), r.sess.id, hex.EncodeToString(random[:]))
	open, err := r.s.Store.Create(r.writer.ctx, c.key, -1)
	if err != nil {
		return fmt.Errorf("create chunk: %w", err)
	}
	r.open, r.chunk, r.opened = open, c, now
	return nil
}

// close ends the open chunk and hands it to the pipeline, which stores it while the body goes on.
func (r *receiver) close() error {
	if err := r.seal(); err != nil {
		return err
	}
	open := r.open
	r.open = nil
	return r.pipe.submit(r.chunk, open)
}

// seal notes the hash state at the end of the open chunk.
func (r *receiver) seal() (err error) {
	r.chunk.state, err = r.hasher.State()
	return err
}

// tick does what is due while bytes arrive: the lease of a body of several chunks, the age of the open chunk.
func (r *receiver) tick() error {
	now := r.s.Clock()
	if r.open != nil && now.Sub(r.opened) >= maxChunkAge {
		if err := r.close(); err != nil {
			return err
		}
	}
	if now.Sub(r.renewed) < leaseRenewal {
		return nil
	}
	r.renewed = now
	return r.pipe.idle(func() error {
		if !r.placed {
			return nil
		}
		err := r.s.setLease(r.writer.ctx, r.sess, r.sess.fence, true)
		if errors.Is(err, database.ErrUnavailable) {
			r.s.Logger.WarnContext(r.writer.ctx, "renew upload lease", "error", err)
			return nil // the fence protects the content; the lease only spares work
		}
		return err
	})
}

// finishBody checks the length and stores the last chunk.
func (r *receiver) finishBody() (*chunk, error) {
	if r.body.RangeLength >= 0 && r.received != r.body.RangeLength {
		return nil, errBody{ocierr.SizeInvalid.With("the body is shorter than its Content-Range")}
	}
	return r.storeLast()
}

// storeLast waits for the chunks before and stores the open one.
func (r *receiver) storeLast() (*chunk, error) {
	if r.open == nil {
		return nil, r.pipe.wait()
	}
	if err := r.seal(); err != nil {
		return nil, err
	}
	if err := r.open.Commit(r.writer.ctx); err != nil {
		if earlier := r.pipe.wait(); earlier != nil {
			return nil, earlier
		}
		return nil, fmt.Errorf("store chunk: %w", err)
	}
	r.open = nil
	if err := r.pipe.wait(); err != nil {
		return nil, r.drop(r.chunk, err)
	}
	return r.chunk, nil
}

// interrupted names why a body ended early. A process that goes down keeps what it has received.
func (r *receiver) interrupted(readErr error) error {
	err := r.s.interrupted(r.writer, readErr)
	if errors.Is(err, errDraining) {
		return r.keep()
	}
	return err
}

// interrupted names why reading a body failed.
func (s *Service) interrupted(w *writer, readErr error) error {
	cause := context.Cause(w.ctx)
	switch {
	case errors.Is(cause, errSuperseded):
		return errSuperseded
	case s.writers.isDraining():
		return errDraining
	case cause != nil:
		return cause
	}
	return errBodyCut{readErr}
}

// errBodyCut says that the client went away in the middle of a body.
type errBodyCut struct{ error }

func (e errBodyCut) Unwrap() error { return e.error }

// IsBodyCut tells whether a request failed because its body ended early or stalled.
func IsBodyCut(err error) bool {
	cut := errBodyCut{}
	return errors.As(err, &cut)
}

// keep commits the chunk in flight as it is.
func (r *receiver) keep() error {
	last, err := r.storeLast()
	if err == nil && last != nil {
		err = r.place(last, r.commit, false)
	}
	if err != nil {
		return err
	}
	return errDraining
}

// settle leaves nothing half done after an error: the open chunk is discarded, the pipeline has ended, a lease is
// given back, and a body that was wrong is taken out again.
func (r *receiver) settle(err error) error {
	if r.open != nil {
		if aerr := r.open.Abort(); aerr != nil {
			r.s.Logger.WarnContext(r.writer.ctx, "discard chunk", "error", aerr)
		}
		r.open = nil
	}
	werr := r.pipe.wait()
	if err == nil {
		return werr
	}
	return r.giveUp(err)
}

// giveUp ends a body that failed once its pipeline has ended: a lease is given back, unless another writer of this
// replica waits for it, and a body that was wrong is taken out again.
func (r *receiver) giveUp(err error) error {
	if errors.Is(context.Cause(r.writer.ctx), errSuperseded) {
		return errSuperseded
	}
	if !r.placed || r.sess.status != statusOpen {
		return err
	}
	ctx := context.WithoutCancel(r.writer.ctx)
	if body := (errBody{}); errors.As(err, &body) {
		return errors.Join(err, r.takeBack(ctx))
	}
	if lerr := r.s.setLease(ctx, r.sess, r.sess.fence, false); lerr != nil && !errors.Is(lerr, errStale) {
		r.s.Logger.Warn("give back upload lease", "error", lerr)
	}
	return err
}

// drop releases a stored chunk that got no row because of err, which it returns. Where the row may exist all the same,
// or the database does not answer, the object stays: the sweep of its day decides.
func (r *receiver) drop(c *chunk, err error) error {
	if c == nil || errors.Is(err, database.ErrUnavailable) {
		return err
	}
	return r.s.doom(context.WithoutCancel(r.writer.ctx), c, err)
}

// commit gives a chunk its row.
func (r *receiver) commit(c change) error {
	return r.s.commitChunk(r.writer.ctx, r.sess, r.target, c)
}

// maxRaces is how often a commit that lost a race is tried again.
const maxRaces = 5

// place commits a chunk of this body, the first of them going back to where the body begins. When another writer has
// moved the session meanwhile, a body without Content-Range counts as sent after the other one where that is legal.
func (r *receiver) place(c *chunk, commit func(change) error, more bool) error {
	ch := change{chunk: c, kept: r.before, base: r.begin, lease: more, status: statusOpen, committed: r.begin}
	if c != nil {
		ch.committed = c.end()
	}
	for range maxRaces {
		ch.rewind = !r.placed && r.begin.offset < r.sess.committed.offset
		err := commit(ch)
		if err == nil {
			r.placed = true
			r.writer.fence = r.sess.fence
			return nil
		}
		if !errors.Is(err, errStale) || r.placed {
			return r.drop(c, err)
		}
		if err := r.reconsider(); err != nil {
			return r.drop(c, err)
		}
	}
	return r.drop(c, errStale)
}

// reconsider reads the session again after a lost race and checks that this body may still begin where it began, on
// the same content.
func (r *receiver) reconsider() error {
	if err := r.s.awaitLease(r.writer.ctx, r.sess, 0); err != nil {
		return err
	}
	if err := r.sess.requireOpen(); err != nil {
		return err
	}
	begin, err := r.sess.bodyStart(r.body.Start)
	if err != nil {
		return err
	}
	if begin.offset != r.begin.offset || !bytes.Equal(begin.state, r.begin.state) {
		return r.sess.outOfOrder(r.begin.offset)
	}
	return nil
}
