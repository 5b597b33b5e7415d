package projects

import (
	"context"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// repositoryBytes is what a repository r holds: its manifests, and each blob that it shows once.
const repositoryBytes = `
	(SELECT CAST(coalesce(sum(m.size), 0) AS bigint) FROM manifests m WHERE m.repository_id = r.id AND m.deleted_at IS NULL)
	+ (SELECT CAST(coalesce(sum(b.size), 0) AS bigint) FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id
		WHERE l.repository_id = r.id AND l.deleted_at IS NULL)`

// Usage is what a project holds.
type Usage struct {
	Repositories, Tags, Manifests int64
	Bytes                         int64 // of manifests, and of blobs, each once
}

var usage = database.SQL(`
	SELECT
		(SELECT count(*) FROM repositories r WHERE r.project_id = $1 AND r.deleted_at IS NULL),
		(SELECT count(*) FROM repositories r JOIN tags t ON t.repository_id = r.id AND t.deleted_at IS NULL
			WHERE r.project_id = $1 AND r.deleted_at IS NULL),
		(SELECT count(*) FROM repositories r JOIN manifests m ON m.repository_id = r.id AND m.deleted_at IS NULL
			WHERE r.project_id = $1 AND r.deleted_at IS NULL),
` + quota.Held)

// Usage counts what a project holds now, from scratch. Errors: the context's and the database's.
func (s *Service) Usage(ctx context.Context, projectID uuid.UUID) (Usage, error) {
	var u Usage
	err := s.db.QueryRow(ctx, usage, projectID).Scan(&u.Repositories, &u.Tags, &u.Manifests, &u.Bytes)
	return u, wrapped("usage", err)
}

// Recount makes the total that quotas go by what the project holds, and tells that: a repair, for the ledger is right by
// itself. Errors: the context's and the database's.
func (s *Service) Recount(ctx context.Context, projectID uuid.UUID) (Usage, error) {
	b := begin(nil, projectID)
	quota.Recount(b, projectID, database.ToMicros(s.now()))
	var u Usage
	b.Query(func(r database.Rows) error { return r.Scan(&u.Repositories, &u.Tags, &u.Manifests, &u.Bytes) }, usage, projectID)
	return u, wrapped("recount", s.db.Run(ctx, b))
}
