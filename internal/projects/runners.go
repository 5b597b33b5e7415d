package projects

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Bounds of a grant.
const (
	maxGrantPaths = 100
	maxPath       = 255
)

// repositoryPath is a repository's path below its project: components as the Distribution Specification defines them. The
// empty path is the repository that has the project's own name.
var repositoryPath = regexp.MustCompile(`^([a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)?$`)

// RunnerGrant is what a runner may pull from a project.
type RunnerGrant struct {
	TokenID      uuid.UUID
	Name         string   // the runner's
	Hint         string   // the first characters of its key
	Own          bool     // it belongs to the project, not to the server
	Repositories []string // paths below the project; nil: all
	CreatedBy    string
	CreatedAt    time.Time
	ExpiresAt    time.Time // of the runner; zero: never
	LastUsedAt   time.Time // of the runner, sampled; zero: not yet
}

var (
	// runnerExists finds a runner of the project or of the server. {now} is the time by which tokens expire.
	runnerExists = database.SQL(`
		SELECT 1 FROM tokens
		WHERE id = $1 AND kind = 'runner' AND (project_id IS NULL OR project_id = $2)
		  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now})
		{share}`)
	clearGrantsOf = database.SQL(`DELETE FROM runner_grants WHERE project_id = $1 AND token_id = $2`)
	grantExists   = database.SQL(`SELECT 1 FROM runner_grants WHERE project_id = $1 AND token_id = $2`)
	grantAll      = database.SQL(`
		INSERT INTO runner_grants (project_id, token_id, repository, all_repositories, created_by, created_at)
		VALUES ($1, $2, '', TRUE, $3, $4)`)
	grantSome = database.SQL(`
		INSERT INTO runner_grants (project_id, token_id, repository, all_repositories, created_by, created_at)
		SELECT {uuid:$1}, {uuid:$2}, each.value, FALSE, {text:$3}, {bigint:$4} FROM {each:$5} WHERE true
		ON CONFLICT DO NOTHING`)
	listGrants = database.SQL(grantColumns + `
		FROM (SELECT DISTINCT a.token_id FROM runner_grants a JOIN tokens v ON v.id = a.token_id AND v.revoked_at IS NULL
			WHERE a.project_id = $1 AND a.token_id > $2 ORDER BY a.token_id LIMIT {limit:$3}) AS page
		JOIN runner_grants g ON g.project_id = $1 AND g.token_id = page.token_id
		JOIN tokens t ON t.id = g.token_id
		ORDER BY g.token_id, g.repository`)
	grantOf = database.SQL(grantColumns + `
		FROM runner_grants g JOIN tokens t ON t.id = g.token_id
		WHERE g.project_id = $1 AND g.token_id = $2 ORDER BY g.repository`)
)

const grantColumns = `
	SELECT g.token_id, t.name, t.hint, t.project_id, g.repository, g.all_repositories, g.created_by, g.created_at,
		t.expires_at, t.last_used_at`

// GrantRunner lets a runner of the project or of the server pull from repositories of the project (nil: all), and from no
// others. by is the principal who does it. Errors: ErrNotFound, ErrNoSuchRunner, limits.ErrExceeded, an *InputError, those of the guard, the
// context's and the database's.
func (s *Service) GrantRunner(
	ctx context.Context, guard Guard, id, tokenID uuid.UUID, repositories []string, by string,
) (RunnerGrant, error) {
	if err := validPaths(repositories); err != nil {
		return RunnerGrant{}, wrapped("grant runner", err)
	}
	b := s.beginLive(guard, id)
	b.Require(ErrNoSuchRunner, runnerExists, tokenID, id)
	b.Exec(clearGrantsOf, id, tokenID)
	s.AddGrant(b, id, tokenID, repositories, by)
	audit.Append(ctx, b, audit.Entry{
		Action: audit.RunnerGrant, Project: id, Object: tokenID.String(), Detail: grantDetail{Repositories: repositories},
	})
	var granted grouping
	b.Query(granted.add, grantOf, id, tokenID)
	if err := s.commit(ctx, b, id); err != nil {
		return RunnerGrant{}, wrapped("grant runner", err)
	}
	if len(granted.grants) != 1 {
		return RunnerGrant{}, wrapped("grant runner", ErrNoGrant)
	}
	return granted.grants[0], nil
}

// grantDetail is what the audit log tells of a grant. Without repositories it is for all.
type grantDetail struct {
	Repositories []string `json:"repositories,omitempty"`
}

// ClearGrants adds to b what takes back all that a runner may pull from a project.
func ClearGrants(b *database.Batch, id, tokenID uuid.UUID) { b.Exec(clearGrantsOf, id, tokenID) }

// AddGrant adds to b what a runner that b creates may pull from a project (nil: all). by is the principal who does it.
// Check the repositories first, by ValidGrant.
func (s *Service) AddGrant(b *database.Batch, id, tokenID uuid.UUID, repositories []string, by string) {
	now := database.ToMicros(s.now())
	if repositories == nil {
		b.Exec(grantAll, id, tokenID, by, now)
	} else {
		b.Exec(grantSome, id, tokenID, by, now, database.Strings(repositories))
	}
	s.opts.Limits.RequireRunnerGrants(b, id)
}

// UngrantRunner takes back all that a runner may pull from the project. Errors: ErrNotFound, ErrNoGrant, those of the
// guard, the context's and the database's.
func (s *Service) UngrantRunner(ctx context.Context, guard Guard, id, tokenID uuid.UUID) error {
	b := s.beginLive(guard, id)
	b.Require(ErrNoGrant, grantExists, id, tokenID)
	ClearGrants(b, id, tokenID)
	audit.Append(ctx, b, audit.Entry{Action: audit.RunnerRemove, Project: id, Object: tokenID.String()})
	return wrapped("take back a grant", s.commit(ctx, b, id))
}

// RunnerGrants lists what runners may pull from a project; revoked runners are left out. The key is the identifier of the
// runner's token, in canonical form. Errors: an *InputError of the key, the context's and the database's.
func (s *Service) RunnerGrants(ctx context.Context, id uuid.UUID, page database.Page) ([]RunnerGrant, error) {
	after, err := keyID(page)
	if err != nil {
		return nil, wrapped("list grants", err)
	}
	granted := grouping{grants: []RunnerGrant{}}
	_, err = collect(ctx, s.db, func(r database.Rows) (struct{}, error) { return struct{}{}, granted.add(r) },
		listGrants, id, after, int64(page.Limit))
	return granted.grants, wrapped("list grants", err)
}

// grouping makes one grant of the rows of a runner, which follow each other.
type grouping struct{ grants []RunnerGrant }

func (g *grouping) add(row database.Rows) error {
	var grant RunnerGrant
	var path string
	var all bool
	var owner uuid.NullUUID
	err := row.Scan(&grant.TokenID, &grant.Name, &grant.Hint, &owner, &path, &all, &grant.CreatedBy, (*instant)(&grant.CreatedAt),
		(*instant)(&grant.ExpiresAt), (*instant)(&grant.LastUsedAt))
	grant.Own = owner.Valid
	if err != nil {
		return err
	}
	if n := len(g.grants); n == 0 || g.grants[n-1].TokenID != grant.TokenID {
		g.grants = append(g.grants, grant)
	}
	if last := &g.grants[len(g.grants)-1]; !all {
		last.Repositories = append(last.Repositories, path)
	}
	return nil
}

// ValidGrant checks the repositories of a grant (nil: all), as GrantRunner does. Errors: an *InputError.
func ValidGrant(repositories []string) error { return validPaths(repositories) }

// validPaths checks the repositories of a grant. Errors: *InputError.
func validPaths(paths []string) error {
	switch {
	case paths == nil:
		return nil
	case len(paths) == 0:
		return &InputError{Field: "repositories", Reason: "a grant names one repository or more, or all"}
	case len(paths) > maxGrantPaths:
		return &InputError{Field: "repositories", Reason: fmt.Sprintf("more than %d", maxGrantPaths)}
	}
	i := slices.IndexFunc(paths, func(path string) bool { return len(path) > maxPath || !repositoryPath.MatchString(path) })
	if i >= 0 {
		return &InputError{Field: fmt.Sprintf("repositories/%d", i), Reason: "it is no path of a repository"}
	}
	return nil
}
