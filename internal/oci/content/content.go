// Package content is what exists: repositories, links to blobs, manifests, tags and referrers, as the database has
// them. Storage only holds bytes; a row makes them visible.
//
// Every read is one statement and one round trip. Changes are statements in a batch that commits as one transaction,
// after the guard of the decision that allowed it. Locks are taken in the order project, manifests, links, blobs, tag.
package content

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// ErrNotFound says that the repository, or what was asked for in it, does not exist or is hidden.
var ErrNotFound = errors.New("not found")

// ErrRaced says that a row which a change relies on went away meanwhile: the same batch may be run again.
var ErrRaced = errors.New("lost a race with the collector")

// IsRace tells whether a batch failed because what it refers to went away meanwhile.
func IsRace(err error) bool {
	return errors.Is(err, ErrRaced) || errors.Is(err, database.ErrForeignKey)
}

// InputError says what is wrong with a field that a caller has set.
type InputError struct {
	// Field is its name, Reason what is wrong with it.
	Field, Reason string
}

// Error implements error.
func (e *InputError) Error() string { return e.Field + " " + e.Reason }

// Guard adds to a batch what must still hold when it commits.
type Guard interface {
	Require(b *database.Batch)
}

// Place is a repository: a path below a project. It need not exist.
type Place struct {
	// Project is the project's ID.
	Project uuid.UUID
	// Path is the repository's path below the project, possibly empty.
	Path string
}

// Config holds what a Store needs. All fields are required unless they say otherwise.
type Config struct {
	DB    *database.DB
	Clock func() time.Time
	// LinkLife is how long a link to a blob lives after it was made or asked for by a pusher, unless a manifest
	// holds it for longer.
	LinkLife time.Duration
	// TrashLife is how long what was deleted can be brought back.
	TrashLife time.Duration
	// ManifestCache is how many bytes of manifests too large to travel with every row are kept in memory.
	ManifestCache int64
	// Limits say how many tags a repository may have.
	Limits limits.Server
	// MaxRules is the most rules of a kind in a project; 0 means DefaultMaxRules.
	MaxRules int
	// Quota says how much projects may hold. Nil: any amount.
	Quota *quota.Quota
	// Logger takes what goes wrong in the background. Nil: nowhere.
	Logger *slog.Logger
}

// DefaultMaxRules is the most rules of a kind that a project has, where nothing else is said.
const DefaultMaxRules = 100

// Store reads and changes content. It is safe for concurrent use.
type Store struct {
	Config
	manifests *manifestCache
	pulls     pulls
}

// New makes a Store.
func New(cfg Config) *Store {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxRules == 0 {
		cfg.MaxRules = DefaultMaxRules
	}
	return &Store{Config: cfg, manifests: newManifestCache(cfg.ManifestCache)}
}

func (s *Store) now() int64 { return database.ToMicros(s.Clock()) }

func (s *Store) keepUntil() int64 { return database.ToMicros(s.Clock().Add(s.LinkLife)) }

func (s *Store) purgeAfter() int64 { return database.ToMicros(s.Clock().Add(s.TrashLife)) }

// lockProject keeps all others away who change something in the project: their guards share its row.
var lockProject = database.SQL(`SELECT 1 FROM projects WHERE id = $1 {update}`)

// BeginAlone is how a change begins that needs the project for itself. The lock comes even before the guard: of two
// transactions that share the row, neither could go on to lock it.
func BeginAlone(guard Guard, project uuid.UUID) *database.Batch {
	b := &database.Batch{}
	b.Exec(lockProject, project)
	guard.Require(b)
	return b
}

var ensureRepository = database.SQL(`
	INSERT INTO repositories (id, project_id, path, created_at) VALUES ($1, $2, $3, $4)
	ON CONFLICT (project_id, path) DO NOTHING`)

// reviveRepository touches no row of a repository that is not deleted, so pushes do not wait for each other.
var reviveRepository = database.SQL(`
	UPDATE repositories SET deleted_at = NULL, purge_after = NULL, deletion = NULL
	WHERE project_id = $1 AND path = $2 AND deleted_at IS NOT NULL`)

// EnsureRepository adds to b what makes a repository exist. One that was deleted comes back; its manifests and links,
// deleted with it, stay hidden until they are pushed again.
func EnsureRepository(b *database.Batch, project uuid.UUID, path string, now int64) {
	b.Exec(reviveRepository, project, path)
	b.Exec(ensureRepository, uuid.Must(uuid.NewV7()), project, path, now)
}

var repositoryExists = database.SQL(`
	SELECT 1 FROM repositories WHERE project_id = $1 AND path = $2 AND deleted_at IS NULL`)

// Exists tells whether a repository exists.
func (s *Store) Exists(ctx context.Context, p Place) (bool, error) {
	var one int
	err := s.DB.QueryRow(ctx, repositoryExists, p.Project, p.Path).Scan(&one)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up repository: %w", err)
	}
	return true, nil
}

// scanDigest lets a digest column be scanned as the string that it is.
func scanDigest(d *digest.Digest) *string { return (*string)(d) }
