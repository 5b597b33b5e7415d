package projects

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// runnerGrant is what a runner may have been granted.
type runnerGrant struct {
	project, token uuid.UUID
	path           string
}

var selectRunnerGrant = database.SQL(`
	SELECT 1 FROM runner_grants
	WHERE project_id = $1 AND token_id = $2 AND (all_repositories OR repository = $3)
	LIMIT 1`)

// Granted tells whether a runner may pull from the repository at path below a project: by a grant of that repository,
// or of the whole project. It is asked with the identifier of the runner's token. A grant is remembered for some
// seconds or until Forget, its absence never. Errors: the context's and the database's.
func (s *Service) Granted(ctx context.Context, projectID, tokenID uuid.UUID, path string) (bool, error) {
	granted, err := s.grants.get(ctx, runnerGrant{projectID, tokenID, path},
		func(ctx context.Context) (bool, uuid.UUID, error) {
			var one int
			err := s.db.QueryRow(ctx, selectRunnerGrant, projectID, tokenID, path).Scan(&one)
			if errors.Is(err, database.ErrNoRows) {
				err = errNone
			}
			return err == nil, projectID, err
		}, nil)
	if errors.Is(err, errNone) {
		return false, nil
	}
	return granted, wrapped("runner grant", err)
}
