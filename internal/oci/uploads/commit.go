package uploads

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/storage"
)

// errStale says that the session changed since it was read: another writer committed first.
var errStale = errors.New("the upload session has moved on")

// errSwept says that a chunk comes days after its bytes.
var errSwept = fmt.Errorf("%w: the object of a chunk is days old", storage.ErrUnavailable)

// change is what one commit does to a session. It is a compare-and-set on the fence that was read.
type change struct {
	chunk     *chunk        // appended, or nil
	rewind    bool          // chunks from base.offset on are released first
	kept      int64         // with rewind: how many chunks stay
	base      mark          // new base
	committed mark          // new end
	lease     bool          // the writer goes on: keep others out for leaseTime
	status    status        // new status
	digest    digest.Digest // with statusFinished
	canonical digest.Digest // of the same content, with statusFinished: the blocklist may have either
}

var (
	// insertSession refuses the ID of a blob: the session has finished, its row expired, and its chunks are the blob's.
	insertSession = database.SQL(`
		INSERT INTO upload_sessions (id, project_id, repository_path, principal, epoch, algorithm, status, digest,
			base_offset, base_state, committed_offset, committed_state, chunk_count, fence, lease_until,
			created_at, last_activity_at, network)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1,
			CASE WHEN {bigint:$14} = 0 THEN 0 ELSE {now} + {bigint:$14} END, {bigint:$15}, {bigint:$15}, {text:$16}
		WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE id = $1)
		ON CONFLICT (id) DO NOTHING RETURNING 1`)
	updateSession = database.SQL(`
		UPDATE upload_sessions SET status = $3, digest = $4, base_offset = $5, base_state = $6,
			committed_offset = $7, committed_state = $8, chunk_count = $9, fence = fence + 1,
			lease_until = CASE WHEN {bigint:$10} = 0 THEN 0 ELSE {now} + {bigint:$10} END, last_activity_at = $11
		WHERE id = $1 AND fence = $2 AND status = 'open' RETURNING 1`)
	// insertChunk refuses an object of a day whose objects are being looked through for such as have no row, long after
	// that day: its writer has been stopped for so long.
	insertChunk = database.SQL(`
		INSERT INTO chunks (owner_id, start, size, object_key, created_at)
		SELECT {uuid:$1}, {bigint:$2}, {bigint:$3}, {text:$4}, {bigint:$5}
		WHERE NOT EXISTS (SELECT 1 FROM swept_days WHERE day = {text:$6}) RETURNING 1`)
	queueCompaction = database.SQL(`
		INSERT INTO blob_compactions (blob_id, chunks, due_at)
		SELECT id, {bigint:$2}, 0 FROM blobs WHERE id = $1 ON CONFLICT (blob_id) DO NOTHING`)
	doomChunks = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT object_key, size, {bigint:$3} FROM chunks WHERE owner_id = $1 AND start >= $2
		ON CONFLICT (object_key) DO NOTHING`)
	deleteChunks = database.SQL(`DELETE FROM chunks WHERE owner_id = $1 AND start >= $2`)
	doomObject   = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT {text:$1}, {bigint:$2}, {bigint:$3} WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE object_key = $1)
		ON CONFLICT (object_key) DO NOTHING`)
	chunkExists = database.SQL(`SELECT 1 FROM chunks WHERE object_key = $1`)
	takeLease   = database.SQL(`
		UPDATE upload_sessions SET fence = fence + 1, lease_until = 0
		WHERE id = $1 AND fence = $2 AND status = 'open' RETURNING 1`)
	renewLease = database.SQL(`
		UPDATE upload_sessions SET last_activity_at = $4,
			lease_until = CASE WHEN {bigint:$3} = 0 THEN 0 ELSE {now} + {bigint:$3} END
		WHERE id = $1 AND fence = $2 AND status = 'open' RETURNING 1`)
)

// add puts the change into b, after the guard: session row, released chunks, new chunk.
func (s *Service) add(b *database.Batch, sess *session, t Target, c change) {
	lease := int64(0)
	if c.lease {
		lease = leaseTime.Microseconds()
	}
	chunks := sess.chunksAfter(c)
	if sess.stored {
		b.Require(errStale, updateSession, sess.id, sess.fence, string(c.status), string(c.digest), c.base.offset,
			c.base.state, c.committed.offset, c.committed.state, chunks, lease, s.now())
	} else {
		b.Require(errStale, insertSession, sess.id, sess.project, sess.path, sess.principal, sess.epoch,
			sess.algorithm.String(), string(c.status), string(c.digest), c.base.offset, c.base.state,
			c.committed.offset, c.committed.state, chunks, lease, s.now(), sess.network)
		if c.status == statusOpen {
			s.Limits.RequireUploads(b, t.Subject, sess.principal, sess.network)
		}
	}
	if c.rewind {
		s.release(b, sess, c.base.offset)
	}
	if c.chunk != nil {
		s.addChunk(b, sess, c.chunk)
	}
	if c.chunk != nil && c.status == statusOpen {
		s.Quota.Require(b, sess.project)
	}
}

// release dooms the session's chunks from an offset on: their rows go, their objects follow.
func (s *Service) release(b *database.Batch, sess *session, from int64) {
	b.Exec(doomChunks, sess.id, from, s.discardAt())
	b.Exec(deleteChunks, sess.id, from)
}

func (s *Service) doomAt() int64 { return database.ToMicros(s.Clock().Add(s.SweepDelay)) }

// discardDelay is how long an object stays in storage that its upload has given up, unless SweepDelay is shorter. No
// reader can hold it, and no quota counts it: who uploads and cancels, again and again, must not fill the storage.
const discardDelay = time.Hour

// discardAt is when an object goes that its upload has given up.
func (s *Service) discardAt() int64 {
	return database.ToMicros(s.Clock().Add(min(s.SweepDelay, discardDelay)))
}

// commitChunk makes a stored chunk part of the session: one round trip, one transaction.
func (s *Service) commitChunk(ctx context.Context, sess *session, t Target, c change) error {
	b := &database.Batch{}
	t.Guard.Require(b)
	s.add(b, sess, t, c)
	err := s.DB.Run(ctx, b)
	if errors.Is(err, database.ErrUnclear) && c.chunk != nil {
		err = s.recheckChunk(ctx, c.chunk, err)
	}
	if err != nil {
		return fmt.Errorf("commit chunk: %w", limits.Explain(ctx, s.DB, err))
	}
	sess.apply(c)
	return nil
}

// recheckChunk decides after an unclear commit: the chunk's key is unique, so its row tells whether it took effect.
func (s *Service) recheckChunk(ctx context.Context, c *chunk, unclear error) error {
	var one int
	err := s.DB.QueryRow(ctx, chunkExists, c.key).Scan(&one)
	if err != nil {
		return errors.Join(unclear, err)
	}
	return nil
}

// chunksAfter is how many chunks the session has once a change is committed.
func (s *session) chunksAfter(c change) int64 {
	chunks := s.chunks
	if c.rewind {
		chunks = c.kept
	}
	if c.chunk != nil {
		chunks++
	}
	return chunks
}

// apply brings the session's copy in memory up to what was committed.
func (s *session) apply(c change) {
	s.chunks = s.chunksAfter(c)
	s.stored = true
	s.fence++
	s.status, s.base, s.committed, s.digest = c.status, c.base, c.committed, c.digest
}

// finish names the session's chunks: the blob, its link and the end of the session in one transaction. No byte moves,
// so it costs the same for every size. Equal content that exists already wins, and the session's own chunks are
// released.
func (s *Service) finish(ctx context.Context, sess *session, t Target, c change, ephemeral bool) error {
	err := s.DB.Run(ctx, s.finishing(sess, t, c, ephemeral, false))
	for range maxRaces {
		if !content.IsRace(err) {
			break
		}
		err = s.DB.Run(ctx, s.finishing(sess, t, c, ephemeral, true)) // the blob may be damaged, or have gone
	}
	if content.IsRace(err) {
		return ocierr.Unavailable.WithCause(err)
	}
	if errors.Is(err, database.ErrUnclear) {
		err = s.recheckLink(ctx, t, c.digest, err)
	}
	if err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	sess.apply(c)
	return nil
}

// finishing is the transaction of finish. With heal, a blob of the same digest that is damaged gets this session's chunks.
func (s *Service) finishing(sess *session, t Target, c change, ephemeral, heal bool) *database.Batch {
	b := &database.Batch{}
	t.Guard.Require(b)
	if ephemeral {
		s.addEphemeral(b, sess, c)
	} else {
		s.add(b, sess, t, c)
	}
	s.nameBlob(b, sess, t, c, heal)
	return b
}

// recheckLink decides after an unclear commit: what 201 promises is that the blob is visible.
func (s *Service) recheckLink(ctx context.Context, t Target, d digest.Digest, unclear error) error {
	kept, err := content.Keep(ctx, s.DB, t.Project, t.Path, d, s.keepUntil())
	if err != nil || !kept {
		return errors.Join(unclear, err)
	}
	return nil
}

// addEphemeral puts the chunk of a monolithic POST into b: its session was never told to anybody and needs no row.
func (s *Service) addEphemeral(b *database.Batch, sess *session, c change) {
	if c.chunk != nil {
		s.addChunk(b, sess, c.chunk)
	}
}

func (s *Service) addChunk(b *database.Batch, sess *session, c *chunk) {
	day, _, _ := strings.Cut(c.key, "/")
	b.Require(errSwept, insertChunk, sess.id, c.start, c.size, c.key, s.now(), day)
}

var (
	insertBlob = database.SQL(`
		INSERT INTO blobs (id, digest, size, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING`)
	doomLosers = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT object_key, size, {bigint:$2} FROM chunks
		WHERE owner_id = $1 AND NOT EXISTS (SELECT 1 FROM blobs WHERE id = $1)
		ON CONFLICT (object_key) DO NOTHING`)
	deleteLosers = database.SQL(`
		DELETE FROM chunks WHERE owner_id = $1 AND NOT EXISTS (SELECT 1 FROM blobs WHERE id = $1)`)
)

func (s *Service) nameBlob(b *database.Batch, sess *session, t Target, c change, heal bool) {
	now := s.now()
	content.RequireAllowed(b, c.digest, c.canonical)
	content.EnsureRepository(b, t.Project, t.Path, now)
	quota.Lock(b, t.Project, c.digest)
	b.Exec(insertBlob, sess.id, string(c.digest), c.committed.offset, now)
	if heal {
		s.heal(b, sess, c)
	}
	b.Exec(doomLosers, sess.id, s.doomAt())
	b.Exec(deleteLosers, sess.id)
	if n := sess.chunksAfter(c); n > 1 {
		b.Exec(queueCompaction, sess.id, n)
	}
	delta := content.Link(b, t.Project, t.Path, c.digest, now, s.keepUntil())
	if c.chunk != nil { // else every byte was admitted when its chunk was
		s.Quota.RequireDelta(b, t.Project, delta)
	}
}

func (s *Service) keepUntil() int64 { return database.ToMicros(s.Clock().Add(s.LinkLife)) }

// end closes the session without a blob and releases its bytes, with those of a chunk that was stored but has no row.
func (s *Service) end(ctx context.Context, sess *session, t Target, tail *chunk) error {
	b := &database.Batch{}
	t.Guard.Require(b)
	c := change{status: statusCancelled, base: mark{}, committed: mark{}}
	s.add(b, sess, t, c)
	s.release(b, sess, 0)
	if tail != nil {
		b.Exec(doomObject, tail.key, tail.size, s.discardAt())
	}
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("end upload session: %w", err)
	}
	sess.apply(c)
	return nil
}

// setLease extends the lease of a writer of several chunks, or gives it back. A lease that another writer has taken
// over yields errStale.
func (s *Service) setLease(ctx context.Context, sess *session, fence int64, keep bool) error {
	lease := int64(0)
	if keep {
		lease = leaseTime.Microseconds()
	}
	b := &database.Batch{}
	b.Require(errStale, renewLease, sess.id, fence, lease, s.now())
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("upload lease: %w", err)
	}
	return nil
}
