package uploads

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

type status string

const (
	statusOpen      status = "open"
	statusFinished  status = "finished"
	statusCancelled status = "cancelled"
)

// mark is one (offset, hash state) pair: a place in the content where hashing can go on. A nil hash state stands for
// the beginning.
type mark struct {
	offset int64
	state  []byte
}

// session is an upload session as one request sees it: what its Location says, and its row where it has one.
type session struct {
	id        uuid.UUID
	project   uuid.UUID
	path      string // repository path below the project
	principal string
	network   string // of a principal without an account
	epoch     int64
	algorithm digests.Algo

	locationOffset int64 // where a body without Content-Range begins

	stored    bool // it has a row
	status    status
	digest    digest.Digest // once finished
	base      mark          // where the last body began
	committed mark          // the end of the last chunk that has a row
	chunks    int64
	fence     int64 // raised by every commit: a compare-and-set on it orders all writers
	leased    bool  // some writer took a lease and has not given it back
	leaseLeft time.Duration
}

var loadSession = database.SQL(`
	SELECT status, digest, base_offset, base_state, committed_offset, committed_state, chunk_count, fence,
	       lease_until, lease_until - {now}
	FROM upload_sessions WHERE id = $1`)

// load reads the session's row, in one round trip. A session without a row is open and empty.
func (s *session) load(ctx context.Context, db *database.DB) error {
	var leaseUntil, leaseLeft int64
	err := db.QueryRow(ctx, loadSession, s.id).Scan(&s.status, &s.digest, &s.base.offset, &s.base.state,
		&s.committed.offset, &s.committed.state, &s.chunks, &s.fence, &leaseUntil, &leaseLeft)
	if errors.Is(err, database.ErrNoRows) {
		s.stored, s.status = false, statusOpen
		s.base, s.committed, s.chunks, s.fence, s.leased, s.leaseLeft = mark{}, mark{}, 0, 0, false, 0
		return nil
	}
	if err != nil {
		return fmt.Errorf("load upload session: %w", err)
	}
	s.stored = true
	s.leased = leaseUntil != 0
	s.leaseLeft = max(0, time.Duration(leaseLeft)*time.Microsecond)
	return nil
}

// requireOpen refuses sessions that ended, and Locations of sessions whose row has expired since: the Location knows
// of bytes that are gone.
func (s *session) requireOpen() error {
	if s.status != statusOpen {
		return ocierr.BlobUploadUnknown.With("the upload session has ended")
	}
	if !s.stored && s.locationOffset > 0 {
		return ocierr.BlobUploadUnknown.With("the upload session has expired")
	}
	return nil
}

// bodyStart decides where a body begins and which mark hashing goes on from. explicit is the start that a
// Content-Range states, or negative without one: the body then begins where the Location says, which may be an
// earlier mark, so that a client can send a body again (containerd resends everything to the same URL).
func (s *session) bodyStart(explicit int64) (mark, error) {
	if explicit >= 0 {
		if explicit != s.committed.offset {
			return mark{}, s.outOfOrder(explicit)
		}
		return s.committed, nil
	}
	switch s.locationOffset {
	case s.committed.offset:
		return s.committed, nil
	case s.base.offset:
		return s.base, nil
	case 0:
		return mark{}, nil
	}
	return mark{}, s.outOfOrder(s.locationOffset)
}

// overtaken answers a request whose session another one has moved on.
func (s *session) overtaken() error {
	if !s.stored {
		return ocierr.BlobUploadUnknown.With("the upload session has ended")
	}
	return &Error{
		Err:       ocierr.RangeInvalid.With("another request has moved the upload on"),
		committed: s,
	}
}

// outOfOrder answers a body that begins in the wrong place.
func (s *session) outOfOrder(start int64) error {
	return &Error{
		Err:       ocierr.RangeInvalid.With("the chunk starts at %d, the upload goes on at %d", start, s.committed.offset),
		committed: s,
	}
}
