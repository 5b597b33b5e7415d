package access

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// Grants says what a runner was granted.
type Grants interface {
	// Granted tells whether a runner may pull from the repository at path below a project. It is asked with the
	// identifier of the runner's token. Errors: those of the database.
	Granted(ctx context.Context, projectID, tokenID uuid.UUID, path string) (bool, error)
}

// runnerGrants asks the table runner_grants each time, so that a grant that is taken back ends at once.
type runnerGrants struct {
	db *database.DB
}

var selectRunnerGrant = database.SQL(`
	SELECT 1 FROM runner_grants
	WHERE project_id = $1 AND token_id = $2 AND (all_repositories OR repository = $3)
	LIMIT 1`)

// Granted looks for a grant of the repository or of the whole project.
func (g runnerGrants) Granted(ctx context.Context, projectID, tokenID uuid.UUID, path string) (bool, error) {
	var one int
	err := g.db.QueryRow(ctx, selectRunnerGrant, projectID, tokenID, path).Scan(&one)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
