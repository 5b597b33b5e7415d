package uploads

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// Finish names a session's content, after adding a last body to it where there is one (PUT, end-6). When it returns
// nil, the blob is durable and visible in the repository. Repeating it after success succeeds while the blob is
// visible.
//
// Errors are those of Append, and DIGEST_INVALID when the content has another digest: the session then ends and its
// bytes are released.
func (s *Service) Finish(ctx context.Context, t Target, ref Ref, body Body, want digest.Digest) error {
	err := s.write(ctx, t, ref, body, want, func(w *writer, sess *session) error {
		body.Reader = w.watch(body.Reader)
		if sess.status == statusFinished {
			return s.finishAgain(ctx, w, sess, t, body, want)
		}
		if err := sess.requireOpen(); err != nil {
			return err
		}
		r, err := s.finisher(ctx, w, t, sess, body)
		if err != nil {
			return err
		}
		err = r.finish(want, false)
		if err != nil && sess.status == statusFinished {
			return s.confirm(ctx, sess, t, want) // the same PUT won on another replica
		}
		return err
	})
	return s.explain(ctx, err)
}

// Monolithic uploads a whole blob in one request (POST with digest, end-4b).
func (s *Service) Monolithic(ctx context.Context, t Target, body Body, want digest.Digest) error {
	id, err := newID()
	if err != nil {
		return err
	}
	sess := newSession(t, id, digests.Of(want))
	w, _, err := s.writers.begin(ctx, id, body.Interrupt)
	if err != nil {
		return s.outcome(ctx, sess, t, want, err, nil)
	}
	defer s.writers.end(id, w)
	body.Reader = w.watch(body.Reader)
	r, err := s.receiver(ctx, w, t, sess, body)
	if err != nil {
		return err
	}
	err = r.finish(want, true)
	if errors.Is(err, quota.ErrFull) {
		return s.hopeless(ctx, sess, t, err)
	}
	if err != nil && sess.stored && sess.status == statusOpen { // nobody knows the session
		if eerr := s.end(context.WithoutCancel(ctx), sess, t, nil); eerr != nil {
			s.Logger.WarnContext(ctx, "release chunks", "error", eerr) // they expire
		}
	}
	if errors.Is(err, errDraining) {
		return s.outcome(ctx, sess, t, want, err, nil)
	}
	return err
}

// finisher is the receiver of a PUT. An empty body never goes back: it names what is committed, wherever its Location
// points to.
func (s *Service) finisher(ctx context.Context, w *writer, t Target, sess *session, body Body) (*receiver, error) {
	empty := body.Length == 0
	if body.Length < 0 {
		if _, err := sess.bodyStart(body.Start); body.Start >= 0 && err != nil {
			return nil, err
		}
		var err error
		if empty, err = peekEmpty(&body); err != nil {
			return nil, s.interrupted(w, err)
		}
	}
	if empty {
		body.Start, body.RangeLength = sess.committed.offset, -1
	}
	return s.receiver(ctx, w, t, sess, body)
}

// peekEmpty tells whether a body of unknown length has no byte, and puts the one that it has read back.
func peekEmpty(body *Body) (bool, error) {
	var first [1]byte
	_, err := io.ReadFull(body.Reader, first[:])
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	body.Reader = io.MultiReader(&oneByte{first[0], false}, body.Reader)
	return false, nil
}

// oneByte is a reader of a single byte.
type oneByte struct {
	b    byte
	done bool
}

func (o *oneByte) Read(p []byte) (int, error) {
	if o.done {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	p[0], o.done = o.b, true
	return 1, nil
}

// finish receives the last body, checks the digest and names the content.
func (r *receiver) finish(want digest.Digest, ephemeral bool) error {
	last, err := r.run()
	if err != nil {
		return err
	}
	ephemeral = ephemeral && !r.placed // a body of several chunks has made a row
	if err := r.name(want, last, ephemeral); err != nil {
		return r.giveUp(err)
	}
	return nil
}

func (r *receiver) name(want digest.Digest, last *chunk, ephemeral bool) error {
	got, err := r.digestAs(digests.Of(want), last)
	if err != nil {
		return r.drop(last, err)
	}
	if got != want {
		return r.refuse(want, last, ephemeral)
	}
	ctx := r.writer.ctx
	return r.place(last, func(c change) error {
		if last == nil {
			c.base, c.committed = r.sess.base, mark{offset: r.hasher.Offset()}
		}
		c.status, c.digest, c.canonical = statusFinished, want, r.hasher.Canonical()
		return r.s.finish(ctx, r.sess, r.target, c, ephemeral)
	}, false)
}

// digestAs is the digest of the session's content and the last chunk. For an algorithm other than the session's the
// content is read again, once.
func (r *receiver) digestAs(algorithm digests.Algo, last *chunk) (digest.Digest, error) {
	switch algorithm {
	case r.sess.algorithm:
		return r.hasher.Digest(), nil
	case digests.SHA256:
		return r.hasher.Canonical(), nil
	}
	h := digests.New(algorithm)
	end := r.hasher.Offset()
	if last != nil {
		end = last.start
	}
	if err := r.s.reread(r.writer.ctx, r.sess, end, last, h); err != nil {
		return "", err
	}
	return h.Digest(), nil
}

// refuse ends the session of content with another digest than the client says. A monolithic POST of one chunk has no
// session.
func (r *receiver) refuse(want digest.Digest, last *chunk, ephemeral bool) error {
	refusal := ocierr.DigestInvalid.With("the content does not have the digest %s", want)
	if ephemeral {
		return r.s.doom(r.writer.ctx, last, refusal)
	}
	err := r.s.end(r.writer.ctx, r.sess, r.target, last)
	switch {
	case errors.Is(err, errStale):
		return r.drop(last, refusal)
	case err != nil:
		return r.drop(last, err)
	}
	return refusal
}

// doom releases a stored chunk that will have no row, and returns then.
func (s *Service) doom(ctx context.Context, last *chunk, then error) error {
	if last == nil {
		return then
	}
	b := &database.Batch{}
	b.Exec(doomObject, last.key, last.size, s.discardAt())
	if err := s.DB.Run(ctx, b); err != nil {
		s.Logger.WarnContext(ctx, "release chunk", "error", err) // the sweep of its day finds it
	}
	return then
}

// finishAgain answers a repeated PUT. The body is read to its end: a client that is still sending would otherwise
// see a broken connection instead of the answer.
func (s *Service) finishAgain(
	ctx context.Context, w *writer, sess *session, t Target, body Body, want digest.Digest,
) error {
	if sess.digest != want {
		return ocierr.BlobUploadUnknown.With("the upload session has ended")
	}
	rest := io.LimitReader(body.Reader, sess.committed.offset+1) // what repeats the content is no longer than it
	if _, err := io.Copy(io.Discard, rest); err != nil {
		return s.interrupted(w, err)
	}
	return s.confirm(ctx, sess, t, want)
}

// confirm answers a PUT whose session is finished: it succeeds if this is the content and the blob is visible, which it
// then stays.
func (s *Service) confirm(ctx context.Context, sess *session, t Target, want digest.Digest) error {
	if sess.digest != want {
		return ocierr.BlobUploadUnknown.With("the upload session has ended")
	}
	kept, err := content.Keep(ctx, s.DB, t.Project, t.Path, want, s.keepUntil())
	if err != nil {
		return err
	}
	if !kept {
		return ocierr.BlobUploadUnknown.With("the upload session has ended")
	}
	return nil
}

var listChunks = database.SQL(`
	SELECT start, size, object_key FROM chunks WHERE owner_id = $1 AND start < $2 ORDER BY start`)

// reread writes the session's committed content up to an offset to w, then that of the last chunk.
func (s *Service) reread(ctx context.Context, sess *session, end int64, last *chunk, w io.Writer) error {
	chunks, err := s.chunksBefore(ctx, sess, end)
	if err != nil {
		return err
	}
	if last != nil {
		chunks = append(chunks, *last)
	}
	for _, c := range chunks {
		if err := s.copyChunk(ctx, c, w); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) chunksBefore(ctx context.Context, sess *session, end int64) ([]chunk, error) {
	rows, err := s.DB.Query(ctx, listChunks, sess.id, end)
	if err != nil {
		return nil, fmt.Errorf("list chunks: %w", err)
	}
	defer rows.Close()
	var chunks []chunk
	for rows.Next() {
		var c chunk
		if err := rows.Scan(&c.start, &c.size, &c.key); err != nil {
			return nil, fmt.Errorf("list chunks: %w", err)
		}
		chunks = append(chunks, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list chunks: %w", err)
	}
	return chunks, nil
}

func (s *Service) copyChunk(ctx context.Context, c chunk, w io.Writer) error {
	r, err := s.Store.Open(ctx, c.key, 0, c.size)
	if err != nil {
		return fmt.Errorf("read chunk: %w", err)
	}
	defer func() { _ = r.Close() }()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("read chunk: %w", err)
	}
	return nil
}
