// Package uploads turns request bodies into blobs.
//
// A blob is an ordered list of chunks, and an upload session is a blob that has no name yet. A chunk is one immutable
// object in storage and one row; appending never reads or rewrites what came before. Finishing a session names the
// list in one transaction and moves no byte.
//
// Nothing here holds a transaction, a connection or a lock while bytes stream. Two writers are told apart by the
// session's fence, a number that every commit raises and checks; see docs/architecture.md for the races.
package uploads

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/storage"
)

// Limits of a blob that no setting changes.
const (
	// MaxChunks is the largest number of chunks of one blob.
	MaxChunks = 10_000
	// maxChunkAge closes a chunk that trickles in, so that an object is never older than its key's day tells.
	maxChunkAge = time.Hour
	// leaseTime is how long a session belongs to a writer of several chunks after its last sign of life, by the
	// database's clock.
	leaseTime = 15 * time.Second
	// leaseRenewal is how often a writer that receives bytes says so.
	leaseRenewal = 5 * time.Second
	// leasePoll is how often a request that waits for a lease looks whether it is still held.
	leasePoll = time.Second
)

// LinkLife is how long a blob usually stays linked to a repository after an upload, a mount or a HEAD by a pusher, unless
// a manifest holds it for longer. What a pusher was told is there stays for half of it at least.
const LinkLife = 24 * time.Hour

// Config holds what a Service needs. All fields but MaxBlobSize, Quota, LinkLife, ExpiryInterval and Logger are required.
type Config struct {
	DB    *database.DB
	Store storage.Store
	Keys  KeySource
	Clock func() time.Time
	// ChunkSize is the largest size of a chunk, in bytes.
	ChunkSize int64
	// MaxBlobSize is the largest size of a blob, in bytes; 0 means no limit but MaxChunks times ChunkSize.
	MaxBlobSize int64
	// Limits say how many sessions may be open.
	Limits limits.Server
	// Quota says how much projects may hold. Nil: any amount.
	Quota *quota.Quota
	// TTL is how long a session lives after its last activity.
	TTL time.Duration
	// SweepDelay is how long a released object stays in storage: longer than any read lasts. What an upload has given up goes
	// after an hour at the latest.
	SweepDelay time.Duration
	// KeepDamaged is how long the objects of a damaged blob stay after it was healed, where that is longer.
	KeepDamaged time.Duration
	// LinkLife is how long a blob stays after its upload without a manifest; 0 means the constant of that name.
	LinkLife time.Duration
	// ExpiryInterval is about how often a replica looks for sessions whose time has come; 0 means a minute.
	ExpiryInterval time.Duration
	Logger         *slog.Logger
}

// Service takes uploads. It is safe for concurrent use; replicas on the same database and storage share all sessions.
type Service struct {
	Config
	writers writers
}

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.LinkLife == 0 {
		cfg.LinkLife = LinkLife
	}
	if cfg.ExpiryInterval == 0 {
		cfg.ExpiryInterval = expiryInterval
	}
	return &Service{Config: cfg, writers: newWriters()}
}

// Guard adds to a batch what must still hold when it commits: the project's epoch, the credential and its role.
type Guard interface {
	Require(b *database.Batch)
}

// Target is where an upload goes and who sends it.
type Target struct {
	// Project is the project's ID.
	Project uuid.UUID
	// Path is the repository's path below the project, possibly empty.
	Path string
	// Principal is who uploads, as auth.Principal.String gives it.
	Principal string
	// Subject is whose limits hold: the user, or the project of a robot; uuid.Nil for a caller without an account.
	Subject uuid.UUID
	// Network is where a caller without an account comes from; empty for others.
	Network string
	// Epoch is the project's epoch at the time of the decision.
	Epoch int64
	// Limited says that the project may be full before its uploads begin: worth a look before bytes are taken.
	Limited bool
	// Guard is checked by every commit.
	Guard Guard
}

// Ref names the session that a request is about.
type Ref struct {
	// ID is the session in the URL's path.
	ID uuid.UUID
	// State is the raw _state parameter.
	State string
}

// Body is what a request carries.
type Body struct {
	// Reader yields the bytes. Its errors mean that the client is gone.
	Reader io.Reader
	// Length is the number of bytes, or -1 where the client did not say.
	Length int64
	// Start is the start of a Content-Range, or -1 without one.
	Start int64
	// RangeLength is the length that a Content-Range states, or -1 without one.
	RangeLength int64
	// Interrupt makes a blocked Read return an error. It may be called from any goroutine and repeatedly.
	Interrupt func()
}

// Progress is what a client needs to go on with a session.
type Progress struct {
	// ID is the session's.
	ID uuid.UUID
	// State is the value of the _state parameter of the next Location.
	State string
	// Committed is how many bytes the session holds for good.
	Committed int64
}

// ErrOldDecision says that the session was begun after the project changed, and that the decision about this request
// has not seen the change: decide again.
var ErrOldDecision = errors.New("the project has changed since the decision")

// Error is a failed upload request whose answer must tell the client where the session stands: a 416.
type Error struct {
	// Err is the answer's *ocierr.Error.
	Err error
	// Progress is where the session stands.
	Progress  Progress
	committed *session
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the *ocierr.Error.
func (e *Error) Unwrap() error { return e.Err }

// Start begins a session and writes nothing: the session exists by its signed state alone until its first byte.
func (s *Service) Start(ctx context.Context, t Target, algorithm digests.Algo) (Progress, error) {
	id, err := newID()
	if err != nil {
		return Progress{}, err
	}
	return s.progress(ctx, newSession(t, id, algorithm))
}

func newSession(t Target, id uuid.UUID, algorithm digests.Algo) *session {
	return &session{
		id: id, project: t.Project, path: t.Path, principal: t.Principal, network: t.Network, epoch: t.Epoch,
		algorithm: algorithm, status: statusOpen,
	}
}

// Status tells how far a session has come. It writes nothing.
func (s *Service) Status(ctx context.Context, t Target, ref Ref) (Progress, error) {
	sess, err := s.find(ctx, t, ref)
	if err != nil {
		return Progress{}, err
	}
	if err := sess.load(ctx, s.DB); err != nil {
		return Progress{}, err
	}
	if err := sess.requireOpen(); err != nil {
		return Progress{}, err
	}
	return s.progress(ctx, sess)
}

// Begun tells whether a request names a session that was begun, here or on another replica: its state is genuine and was
// signed for it. Whose session it is, and whether it is open, is for the request itself to find out; and while the keys
// cannot be read, that request fails by itself.
func (s *Service) Begun(ctx context.Context, ref Ref) bool {
	st, err := decodeState(ctx, s.Keys, ref.State, s.Clock())
	return err == nil && st.Session == ref.ID || err != nil && !errors.Is(err, errState)
}

// find gives the session that a request names, without its row. A session of another repository, principal or epoch
// is unknown, in the same words as one that never was.
func (s *Service) find(ctx context.Context, t Target, ref Ref) (*session, error) {
	st, err := decodeState(ctx, s.Keys, ref.State, s.Clock())
	if errors.Is(err, errState) {
		return nil, ocierr.BlobUploadUnknown
	}
	if err != nil {
		return nil, err
	}
	if st.Session != ref.ID || st.Project != t.Project || st.Path != t.Path ||
		st.Principal != t.Principal || st.Epoch < t.Epoch {
		return nil, ocierr.BlobUploadUnknown
	}
	if st.Epoch > t.Epoch {
		return nil, ErrOldDecision
	}
	sess := newSession(t, st.Session, st.Algorithm)
	sess.locationOffset = st.Offset
	return sess, nil
}

// progress signs a fresh Location state at the committed offset.
func (s *Service) progress(ctx context.Context, sess *session) (Progress, error) {
	raw, err := encodeState(ctx, s.Keys, state{
		Session: sess.id, Project: sess.project, Path: sess.path, Principal: sess.principal, Epoch: sess.epoch,
		Algorithm: sess.algorithm, Offset: sess.committed.offset, ValidUntil: s.Clock().Add(s.TTL).Unix(),
	})
	if err != nil {
		return Progress{}, err
	}
	return Progress{ID: sess.id, State: raw, Committed: sess.committed.offset}, nil
}

// explain completes an Error with a fresh Location, and passes other errors through.
func (s *Service) explain(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.committed == nil {
		return err
	}
	p, perr := s.progress(context.WithoutCancel(ctx), e.committed) // an interrupted request gets its answer, too
	if perr != nil {
		return perr
	}
	return &Error{Err: e.Err, Progress: p}
}

func (s *Service) now() int64 { return database.ToMicros(s.Clock()) }
