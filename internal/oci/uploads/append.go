package uploads

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// Append adds a body to a session (PATCH, end-5 of the Distribution Specification). On success every byte is durable.
//
// Errors: BLOB_UPLOAD_UNKNOWN for a session that ended or is somebody else's; *Error with status 416 for a body that
// does not begin where the session goes on, which tells where that is; SIZE_INVALID, with nothing of the body kept,
// when it is longer or shorter than announced or too large; *quota.ExceededError, which ends the session; errors that ocierr.From turns into 503 keep the session.
func (s *Service) Append(ctx context.Context, t Target, ref Ref, body Body) (Progress, error) {
	var p Progress
	err := s.write(ctx, t, ref, body, "", func(w *writer, sess *session) error {
		body.Reader = w.watch(body.Reader)
		if err := sess.requireOpen(); err != nil {
			return err
		}
		r, err := s.receiver(ctx, w, t, sess, body)
		if err != nil {
			return err
		}
		last, err := r.run()
		if err != nil {
			return err
		}
		if last != nil {
			err = r.place(last, r.commit, false)
		} else {
			err = r.giveBack()
		}
		if err != nil {
			return r.giveUp(err)
		}
		p, err = s.progress(ctx, sess)
		return err
	})
	return p, s.explain(ctx, err)
}

// write runs f as the only writer of the session on this replica, and with no writer on another one. want is the digest
// of a PUT.
func (s *Service) write(
	ctx context.Context, t Target, ref Ref, body Body, want digest.Digest, f func(*writer, *session) error,
) error {
	sess, err := s.find(ctx, t, ref)
	if err != nil {
		return err
	}
	w, inherited, err := s.writers.begin(ctx, sess.id, body.Interrupt)
	if err != nil {
		return s.outcome(ctx, sess, t, want, err, nil)
	}
	defer s.writers.end(sess.id, w)
	if body.Length == 0 {
		w.finishing()
	}
	stop := context.AfterFunc(ctx, func() { w.abandon(context.Cause(ctx)) })
	err = s.alone(w.ctx, sess, inherited)
	stop()
	if err == nil {
		err = f(w, sess)
	}
	if errors.Is(err, quota.ErrFull) || errors.Is(err, content.ErrBlocked) {
		return s.hopeless(ctx, sess, t, err)
	}
	return s.outcome(ctx, sess, t, want, err, context.Cause(w.ctx))
}

// hopeless answers a body for which the project has no room, or that is blocked. The session ends and gives its bytes back:
// there is nothing that it could go on with, and what it holds would keep others out until it expires.
func (s *Service) hopeless(ctx context.Context, sess *session, t Target, err error) error {
	err = s.Quota.Explain(ctx, t.Project, err)
	if sess.stored && sess.status == statusOpen {
		if eerr := s.end(context.WithoutCancel(ctx), sess, t, nil); eerr != nil {
			s.Logger.WarnContext(ctx, "release chunks", "error", eerr) // they expire
		}
	}
	return err
}

// outcome turns the reasons for which a writer was stopped into answers. stopped is why its context ended, if it did.
func (s *Service) outcome(ctx context.Context, sess *session, t Target, want digest.Digest, err, stopped error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDraining):
		return ocierr.Unavailable.With("the server is restarting: go on with the session in a moment")
	case errors.Is(err, errSuperseded), errors.Is(err, context.Canceled) && errors.Is(stopped, errSuperseded):
		return s.overtaken(ctx, sess, t, want, true)
	case errors.Is(err, errStale):
		return s.overtaken(ctx, sess, t, want, false)
	}
	return err
}

// overtaken answers a request whose session another one has moved on, with where it stands by now: a PUT of what the
// other one finished has come true. One that was stopped before either of them committed a byte is to be sent again: the
// other may be an older attempt, cut off and late. Its interruption has ended ctx.
func (s *Service) overtaken(ctx context.Context, sess *session, t Target, want digest.Digest, stopped bool) error {
	ctx = context.WithoutCancel(ctx)
	if err := sess.load(ctx, s.DB); err != nil {
		return err
	}
	if want != "" && sess.status == statusFinished {
		return s.confirm(ctx, sess, t, want)
	}
	if err := sess.requireOpen(); err != nil {
		return err
	}
	if stopped && !sess.stored {
		return ocierr.Unavailable.With("another request for this upload session took over")
	}
	return sess.overtaken()
}

// receiver prepares to receive a body, after everything that can be checked before its first byte.
func (s *Service) receiver(ctx context.Context, w *writer, t Target, sess *session, body Body) (*receiver, error) {
	begin, err := sess.bodyStart(body.Start)
	if err != nil {
		return nil, err
	}
	if body.RangeLength >= 0 && body.Length >= 0 && body.RangeLength != body.Length {
		return nil, ocierr.SizeInvalid.With("Content-Range covers %d bytes, the body has %d", body.RangeLength, body.Length)
	}
	before, err := s.chunksUpTo(ctx, sess, begin)
	if err != nil {
		return nil, err
	}
	if err := s.checkCaps(begin, before, max(0, body.Length, body.RangeLength)); err != nil {
		return nil, err
	}
	if t.Limited {
		if err := s.Quota.Look(ctx, t.Project, sess.committed.offset-begin.offset, max(body.Length, body.RangeLength)); err != nil {
			return nil, err //nolint:wrapcheck // its own words
		}
	}
	hasher, err := s.hasherAt(ctx, sess, begin)
	if err != nil {
		return nil, err
	}
	return &receiver{
		s: s, sess: sess, target: t, writer: w, body: body, begin: begin, before: before, hasher: hasher,
		renewed: s.Clock(),
	}, nil
}

// checkCaps refuses a body of so many bytes that would make the blob too large, wherever that can be told beforehand.
func (s *Service) checkCaps(begin mark, before, size int64) error {
	if err := s.checkSize(begin.offset, size); err != nil {
		return err
	}
	if chunks := size/s.ChunkSize + min(1, size%s.ChunkSize); chunks > MaxChunks-before {
		return errTooManyChunks
	}
	return nil
}

var countChunks = database.SQL(`SELECT count(*) FROM chunks WHERE owner_id = $1 AND start < $2`)

// chunksUpTo is how many chunks lie before a mark. Only a body that goes back to a base has to count them.
func (s *Service) chunksUpTo(ctx context.Context, sess *session, m mark) (n int64, err error) {
	switch m.offset {
	case 0:
		return 0, nil
	case sess.committed.offset:
		return sess.chunks, nil
	}
	if err := s.DB.QueryRow(ctx, countChunks, sess.id, m.offset).Scan(&n); err != nil {
		return 0, fmt.Errorf("count chunks: %w", err)
	}
	return n, nil
}

// hasherAt goes on hashing at a mark. A hash state that this build cannot read is replaced by reading the content.
func (s *Service) hasherAt(ctx context.Context, sess *session, m mark) (*digests.Hasher, error) {
	h, err := digests.Restore(sess.algorithm, m.state, m.offset)
	if !errors.Is(err, digests.ErrState) {
		return h, err
	}
	h = digests.Start(sess.algorithm)
	if err := s.reread(ctx, sess, m.offset, nil, h); err != nil {
		return nil, err
	}
	return h, nil
}

// giveBack ends the lease of a body whose last chunk is committed already.
func (r *receiver) giveBack() error {
	if !r.placed {
		return nil
	}
	return r.s.setLease(r.writer.ctx, r.sess, r.sess.fence, false)
}

// takeBack removes what a wrong body has committed.
func (r *receiver) takeBack(ctx context.Context) error {
	c := change{rewind: true, kept: r.before, base: r.begin, committed: r.begin, status: statusOpen}
	err := r.s.commitChunk(ctx, r.sess, r.target, c)
	if errors.Is(err, database.ErrUnavailable) { // once more: the client will not do it
		unclear := errors.Is(err, database.ErrUnclear)
		if err = r.s.commitChunk(ctx, r.sess, r.target, c); unclear && errors.Is(err, errStale) {
			return nil // it had taken effect
		}
	}
	if err != nil {
		return fmt.Errorf("take back a wrong body: %w", err)
	}
	return nil
}

// Cancel ends a session and releases its bytes (DELETE, end-14). What is left remembers that the session has ended,
// so that a late request with its Location cannot open it again.
func (s *Service) Cancel(ctx context.Context, t Target, ref Ref) error {
	sess, err := s.find(ctx, t, ref)
	if err != nil {
		return err
	}
	w, _, err := s.writers.begin(ctx, sess.id, func() {})
	if err != nil {
		return s.outcome(ctx, sess, t, "", err, nil)
	}
	defer s.writers.end(sess.id, w)
	for range maxRaces {
		if err := sess.load(ctx, s.DB); err != nil {
			return err
		}
		if err := sess.requireOpen(); err != nil {
			return err
		}
		err = s.end(ctx, sess, t, nil)
		if !errors.Is(err, errStale) {
			return err
		}
	}
	if !sess.stored {
		return ocierr.BlobUploadUnknown.With("the upload session has ended")
	}
	return ocierr.Unavailable.WithCause(err)
}

// newID draws a session ID.
func newID() (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, fmt.Errorf("draw a session ID: %w", err)
	}
	return id, nil
}
