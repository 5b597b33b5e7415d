// Package projects is the tenant model: which project a name means, who is what in it, and how a project comes to be by
// the first push to it.
package projects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/rbac"
)

// What can be wrong with a request. Errors of the database pass through in their chain, so a project is never said to be
// missing because the database is down.
var (
	// ErrNotFound: there is no such project.
	ErrNotFound = errors.New("project not found")
	// ErrSlugInvalid: no project can have this name.
	ErrSlugInvalid = errors.New("invalid project name")
	// ErrSlugReserved: the name is kept for the server itself, or for its last owner.
	ErrSlugReserved = errors.New("reserved project name")
	// ErrSlugTaken: another project has the name.
	ErrSlugTaken = errors.New("project name taken")
	// ErrCreateForbidden: this caller may not create a project, or not one of this name.
	ErrCreateForbidden = errors.New("creating this project is not allowed")
	// ErrVersion: the thing has changed since the version that the caller has seen.
	ErrVersion = errors.New("changed in the meantime")
	// ErrClaimed: somebody has claimed the project already.
	ErrClaimed = errors.New("the project is claimed already")
	// ErrState: the project is not in a state in which this can be done to it.
	ErrState = errors.New("the project is not in a state for this")
	// ErrNoSuchUser: there is no user of this e-mail address or identifier.
	ErrNoSuchUser = errors.New("no such user")
	// ErrNoMember: the user is no member of the project.
	ErrNoMember = errors.New("no such member")
	// ErrMemberExists: the user is a member of the project already.
	ErrMemberExists = errors.New("already a member")
	// ErrLastOwner: the project would be left without an owner.
	ErrLastOwner = errors.New("the project needs an owner")
	// ErrNoSuchRunner: there is no valid runner of this identifier that the project could grant anything.
	ErrNoSuchRunner = errors.New("no such runner")
	// ErrNoGrant: the runner was granted nothing in the project.
	ErrNoGrant = errors.New("no such grant")
	// ErrNoRepository: the project has no such repository.
	ErrNoRepository = errors.New("no such repository")
	// ErrInvalidInput: what is given cannot be; the error is an *InputError.
	ErrInvalidInput = errors.New("invalid input")
)

// InputError says what is wrong with a field of the input.
type InputError struct{ Field, Reason string }

// Error implements error.
func (e *InputError) Error() string { return e.Field + ": " + e.Reason }

// Unwrap returns ErrInvalidInput.
func (e *InputError) Unwrap() error { return ErrInvalidInput }

// Values of Options.UnclaimedSlugs.
const (
	SlugsAny    = "any"
	SlugsRandom = "random"
)

// Defaults of Options.
const (
	DefaultCacheTTL     = 4 * time.Second
	DefaultUnclaimedTTL = 7 * 24 * time.Hour
	DefaultTrashTTL     = 7 * 24 * time.Hour
)

// Options configure a Service.
type Options struct {
	Clock          func() time.Time // default: time.Now
	CacheTTL       time.Duration    // how long an answer of the database holds; default: DefaultCacheTTL
	UnclaimedPush  bool             // let anonymous create projects
	UnclaimedSlugs string           // of what name: SlugsAny (default), or SlugsRandom for those that RandomSlug accepts
	UnclaimedTTL   time.Duration    // idle life of an unclaimed project; default: DefaultUnclaimedTTL
	TrashTTL       time.Duration    // how long a deleted project can be restored; default: DefaultTrashTTL
	Limits         limits.Server    // how many things a project or a user may have
}

// Project is a tenant's namespace.
type Project struct {
	ID              uuid.UUID
	Slug            string // "" once deleted
	State           rbac.State
	Visibility      rbac.Visibility
	Epoch           int64     // raised by claim, suspension and deletion
	AccountID       uuid.UUID // Nil while unclaimed
	SuspendedReason string
	ExpiresAt       time.Time // of an unclaimed project; zero: never
	Version         int64     // raised by every change of what a caller sees of it
	Description     string
	CreatedAt       time.Time
	UpdatedAt       time.Time
	ClaimedAt       time.Time // zero: never, or created by its owner
	SuspendedAt     time.Time // zero: it is not suspended
	DeletedAt       time.Time // zero: it is not deleted
	PurgeAfter      time.Time // of a deleted project: until when it can be restored
	QuotaBytes      *int64    // how much it may hold, 0 being any amount; nil: as the server says
	AccountQuota    *int64    // the same of all projects of its account together
}

// Service answers questions about projects. It is safe for concurrent use; any number of replicas share one database.
type Service struct {
	db       *database.DB
	opts     Options
	now      func() time.Time
	projects *memory[string, Project]
	roles    *memory[membership, rbac.Role]
	grants   *memory[runnerGrant, bool]
	forgets  *forgets
	claims   claims
}

// NewService makes a Service. It asks the database nothing. An unknown value of UnclaimedSlugs counts as SlugsRandom.
func NewService(db *database.DB, opts Options) *Service {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.CacheTTL <= 0 {
		opts.CacheTTL = DefaultCacheTTL
	}
	if opts.UnclaimedTTL <= 0 {
		opts.UnclaimedTTL = DefaultUnclaimedTTL
	}
	if opts.TrashTTL <= 0 {
		opts.TrashTTL = DefaultTrashTTL
	}
	if opts.UnclaimedSlugs == "" {
		opts.UnclaimedSlugs = SlugsAny
	}
	s := &Service{db: db, opts: opts, now: opts.Clock, forgets: &forgets{}}
	s.projects = newMemory[string, Project](s.forgets, opts)
	s.roles = newMemory[membership, rbac.Role](s.forgets, opts)
	s.grants = newMemory[runnerGrant, bool](s.forgets, opts)
	return s
}

// Forget drops this replica's answers about a project. Call it after a change is committed: what is asked from then on
// has seen it. Other replicas see it within the cache's life.
func (s *Service) Forget(projectID uuid.UUID) { s.forgets.add(projectID) }

// explained gives an error about a limit its numbers.
func (s *Service) explained(ctx context.Context, err error) error {
	return limits.Explain(ctx, s.db, err) //nolint:wrapcheck // by the callers
}

// wrapped says what failed, and keeps the cause in the chain.
func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("projects: %s: %w", what, err)
}
