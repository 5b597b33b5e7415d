package uploads

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// Append adds a body to a session (PATCH, end-5 of the Distribution Specification). On success every byte is durable.
//
// Errors: BLOB_UPLOAD_UNKNOWN for a session that ended or is somebody else's; *Error with status 416 for a body that
// does not begin where the session goes on, which tells where that is; SIZE_INVALID, with nothing of the body kept,
// when it is longer or shorter than announced or too large; errors that ocierr.From turns into 503 keep the session.
func (s *Service) Append(ctx context.Context, t Target, ref Ref, body Body) (Progress, error) {
	var p Progress
	err := s.write(ctx, t, ref, body, func(w *writer, sess *session) error {
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
			return err
		}
		p, err = s.progress(ctx, sess)
		return err
	})
	return p, s.explain(ctx, err)
}

// write runs f as the only writer of the session on this replica, and with no writer on another one.
func (s *Service) write(ctx context.Context, t Target, ref Ref, body Body, f func(*writer, *session) error) error {
	sess, err := s.find(ctx, t, ref)
	if err != nil {
		return err
	}
	w, inherited, err := s.writers.begin(ctx, sess.id, body.Interrupt)
	if err != nil {
		return outcome(sess, err)
	}
	defer s.writers.end(sess.id, w)
	stop := context.AfterFunc(ctx, func() { w.abandon(context.Cause(ctx)) })
	err = s.awaitLease(w.ctx, sess, inherited)
	stop()
	if err != nil {
		return outcome(sess, err)
	}
	return outcome(sess, f(w, sess))
}

// outcome turns the reasons for which a writer was stopped into answers.
func outcome(sess *session, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDraining):
		return ocierr.Unavailable.With("the server is restarting: go on with the session in a moment")
	case errors.Is(err, errSuperseded), errors.Is(err, errStale):
		return sess.overtaken()
	}
	return err
}

// receiver prepares to receive a body, after everything that can be checked before its first byte.
func (s *Service) receiver(ctx context.Context, w *writer, t Target, sess *session, body Body) (*receiver, error) {
	if body.RangeLength >= 0 && body.Length >= 0 && body.RangeLength != body.Length {
		return nil, ocierr.SizeInvalid.With("Content-Range covers %d bytes, the body has %d", body.RangeLength, body.Length)
	}
	begin, err := sess.bodyStart(body.Start)
	if err != nil {
		return nil, err
	}
	if err := s.checkSize(begin.offset + max(0, body.Length)); err != nil {
		return nil, err
	}
	hasher, err := s.hasherAt(ctx, sess, begin)
	if err != nil {
		return nil, err
	}
	return &receiver{
		s: s, sess: sess, target: t, writer: w, body: body, begin: begin, before: sess.chunks, hasher: hasher,
		renewed: s.Clock(),
	}, nil
}

// hasherAt goes on hashing at a mark. A hash state that this build cannot read is replaced by reading the content.
func (s *Service) hasherAt(ctx context.Context, sess *session, m mark) (*digests.Hasher, error) {
	h, err := digests.Restore(sess.algorithm, m.state, m.offset)
	if !errors.Is(err, digests.ErrState) {
		return h, err
	}
	h = digests.New(sess.algorithm)
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
func (s *Service) takeBack(ctx context.Context, sess *session, t Target, begin mark) error {
	c := change{rewind: true, base: begin, committed: begin, status: statusOpen}
	if err := s.commitChunk(ctx, sess, t, c); err != nil {
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
		return outcome(sess, err)
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
