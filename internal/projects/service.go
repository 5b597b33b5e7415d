// Package projects is the tenant model: which project a name means, who is what in it, and how a project comes to be by
// the first push to it.
package projects

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
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
)

// Values of Options.UnclaimedSlugs.
const (
	SlugsAny    = "any"
	SlugsRandom = "random"
)

// Defaults of Options.
const (
	DefaultCacheTTL     = 4 * time.Second
	DefaultUnclaimedTTL = 7 * 24 * time.Hour
)

// Options configure a Service.
type Options struct {
	Clock          func() time.Time // default: time.Now
	CacheTTL       time.Duration    // how long an answer of the database holds; default: DefaultCacheTTL
	UnclaimedPush  bool             // let anonymous create projects
	UnclaimedSlugs string           // of what name: SlugsAny (default), or SlugsRandom for those that RandomSlug accepts
	UnclaimedTTL   time.Duration    // idle life of an unclaimed project; default: DefaultUnclaimedTTL
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

// wrapped says what failed, and keeps the cause in the chain.
func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("projects: %s: %w", what, err)
}
