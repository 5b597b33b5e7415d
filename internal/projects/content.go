package projects

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// Repository is what a project's owner sees of a repository.
type Repository struct {
	ID              uuid.UUID
	Path            string // below the project; may be empty
	Tags, Manifests int64
	Bytes           int64 // of its manifests, and of the blobs that it shows, each once
	CreatedAt       time.Time
	PushedAt        time.Time // when a tag or a manifest was pushed last; zero: never
	PulledAt        time.Time // sampled; zero: never
}

// Manifest is what a project's owner sees of a manifest.
type Manifest struct {
	Digest       string
	MediaType    string
	ArtifactType string
	Subject      string   // the digest of what it refers to; "": nothing
	Tags         []string // that name it, the first 100
	Platforms    []string // os/architecture[/variant]: of an index, or as an index of the repository says
	Size         int64    // of itself, its blobs and, of an index, the manifests that it had when it was pushed, with theirs
	PushedBy     string   // a principal
	PushedAt     time.Time
	PulledAt     time.Time // sampled; zero: never
}

// Tag is what a project's owner sees of a tag and the manifest that it names.
type Tag struct {
	Name      string
	Manifest  Manifest
	PushedBy  string // who has pushed the tag, which may be later than the manifest
	CreatedAt time.Time
	PushedAt  time.Time
}

const repositoryColumns = `
	SELECT r.id, r.path,
		(SELECT count(*) FROM tags t WHERE t.repository_id = r.id AND t.deleted_at IS NULL),
		(SELECT count(*) FROM manifests m WHERE m.repository_id = r.id AND m.deleted_at IS NULL),
		` + repositoryBytes + `,
		r.created_at,
		(SELECT max(moment) FROM (
			SELECT max(m.created_at) AS moment FROM manifests m WHERE m.repository_id = r.id AND m.deleted_at IS NULL
			UNION ALL SELECT max(t.updated_at) FROM tags t WHERE t.repository_id = r.id AND t.deleted_at IS NULL) AS pushes),
		r.last_pulled_at
	FROM repositories r `

// manifestColumns are those of a manifest m: all that is told of it was found out when it was pushed. An image's platform is
// what an index says that has it, the first by digest.
const manifestColumns = `m.digest, m.media_type, m.artifact_type, coalesce(m.subject_digest, ''), coalesce(m.total_size, m.size),
	m.pushed_by, m.created_at, m.last_pulled_at,
	coalesce((SELECT string_agg(name, ' ') FROM (
		SELECT t.name FROM tags t WHERE t.repository_id = m.repository_id AND t.digest = m.digest AND t.deleted_at IS NULL
		ORDER BY t.name LIMIT 100) AS named), ''),
	CASE WHEN m.platforms <> '' THEN m.platforms ELSE coalesce((SELECT c.platform FROM manifest_children c
		JOIN manifests i ON i.repository_id = c.repository_id AND i.digest = c.parent_digest AND i.deleted_at IS NULL
		WHERE c.repository_id = m.repository_id AND c.child_digest = m.digest AND c.platform <> ''
		ORDER BY c.parent_digest LIMIT 1), '') END`

const thisRepository = `
	WITH repository AS (
		SELECT id FROM repositories WHERE project_id = $1 AND path = $2 AND deleted_at IS NULL)`

var (
	firstRepositories = database.SQL(repositoryColumns + `
		WHERE r.project_id = $1 AND r.deleted_at IS NULL
		ORDER BY r.path LIMIT {limit:$2}`)
	nextRepositories = database.SQL(repositoryColumns + `
		WHERE r.project_id = $1 AND r.deleted_at IS NULL AND r.path > $3
		ORDER BY r.path LIMIT {limit:$2}`)
	repositoryByPath = database.SQL(repositoryColumns + `
		WHERE r.project_id = $1 AND r.path = $2 AND r.deleted_at IS NULL`)
	repositoryExists = database.SQL(`SELECT 1 FROM repositories WHERE project_id = $1 AND path = $2 AND deleted_at IS NULL`)

	listTags = database.SQL(thisRepository + `,
		page AS (
			SELECT name, digest, pushed_by, created_at, updated_at FROM tags
			WHERE repository_id = (SELECT id FROM repository) AND deleted_at IS NULL AND name > $3
			  AND NOT EXISTS (SELECT 1 FROM digest_blocklist x WHERE x.digest = tags.digest)
			ORDER BY name LIMIT {limit:$4})
		SELECT t.name, t.pushed_by, t.created_at, t.updated_at, ` + manifestColumns + `
		FROM page t JOIN manifests m ON m.repository_id = (SELECT id FROM repository) AND m.digest = t.digest
		ORDER BY t.name`)
	listManifests = database.SQL(thisRepository + `,
		page AS (
			SELECT digest FROM manifests
			WHERE repository_id = (SELECT id FROM repository) AND deleted_at IS NULL AND digest > $3
			  AND NOT EXISTS (SELECT 1 FROM digest_blocklist x WHERE x.digest = manifests.digest)
			ORDER BY digest LIMIT {limit:$4})
		SELECT ` + manifestColumns + `
		FROM page t JOIN manifests m ON m.repository_id = (SELECT id FROM repository) AND m.digest = t.digest
		ORDER BY t.digest`)
)

// Key is what a page of Repositories comes after: the path with a slash before it, for a path may be empty.
func (r Repository) Key() string { return "/" + r.Path }

// Repositories lists a project's repositories by their paths. The key is that of Repository.Key; a path that is not empty
// will do. Errors: the context's and the database's.
func (s *Service) Repositories(ctx context.Context, projectID uuid.UUID, page database.Page) ([]Repository, error) {
	stmt, args := firstRepositories, []any{projectID, int64(page.Limit)}
	if page.After != "" {
		stmt, args = nextRepositories, append(args, strings.TrimPrefix(page.After, "/"))
	}
	found, err := collect(ctx, s.db, func(r database.Rows) (Repository, error) { return scanRepository(r) }, stmt, args...)
	return found, wrapped("list repositories", err)
}

// Repository gives one repository. Errors: ErrNoRepository, the context's and the database's.
func (s *Service) Repository(ctx context.Context, projectID uuid.UUID, path string) (Repository, error) {
	r, err := scanRepository(s.db.QueryRow(ctx, repositoryByPath, projectID, path))
	if errors.Is(err, database.ErrNoRows) {
		err = ErrNoRepository
	}
	return r, wrapped("repository", err)
}

// Tags lists the tags of a repository. The key is the tag. Errors: ErrNoRepository, the context's and the database's.
func (s *Service) Tags(ctx context.Context, projectID uuid.UUID, path string, page database.Page) ([]Tag, error) {
	found, err := collect(ctx, s.db, func(r database.Rows) (t Tag, err error) {
		t.Manifest, err = scanManifest(r, &t.Name, &t.PushedBy, (*instant)(&t.CreatedAt), (*instant)(&t.PushedAt))
		return t, err
	}, listTags, projectID, path, page.After, int64(page.Limit))
	return orNoRepository(ctx, s, "list tags", projectID, path, found, err)
}

// Manifests lists the manifests of a repository, tagged or not. The key is the digest. Errors: ErrNoRepository, the
// context's and the database's.
func (s *Service) Manifests(ctx context.Context, projectID uuid.UUID, path string, page database.Page) ([]Manifest, error) {
	found, err := collect(ctx, s.db, func(r database.Rows) (Manifest, error) { return scanManifest(r) },
		listManifests, projectID, path, page.After, int64(page.Limit))
	return orNoRepository(ctx, s, "list manifests", projectID, path, found, err)
}

// orNoRepository tells an empty list from a repository that does not exist.
func orNoRepository[T any](
	ctx context.Context, s *Service, what string, projectID uuid.UUID, path string, found []T, err error,
) ([]T, error) {
	if err != nil || len(found) > 0 {
		return found, wrapped(what, err)
	}
	var one int
	err = s.db.QueryRow(ctx, repositoryExists, projectID, path).Scan(&one)
	if errors.Is(err, database.ErrNoRows) {
		err = ErrNoRepository
	}
	return found, wrapped(what, err)
}

func scanRepository(row scanner) (Repository, error) {
	var r Repository
	err := row.Scan(&r.ID, &r.Path, &r.Tags, &r.Manifests, &r.Bytes,
		(*instant)(&r.CreatedAt), (*instant)(&r.PushedAt), (*instant)(&r.PulledAt))
	return r, err
}

// scanManifest reads the columns of a manifest, after those that go to before.
func scanManifest(row scanner, before ...any) (Manifest, error) {
	var m Manifest
	var tags, platforms string
	err := row.Scan(append(before,
		&m.Digest, &m.MediaType, &m.ArtifactType, &m.Subject, &m.Size,
		&m.PushedBy, (*instant)(&m.PushedAt), (*instant)(&m.PulledAt), &tags, &platforms)...)
	m.Tags, m.Platforms = strings.Fields(tags), strings.Fields(platforms)
	return m, err
}
