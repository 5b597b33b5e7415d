package content

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

// Kinds of what is in the trash, in the order in which it is listed.
const (
	KindManifest   = "manifest"
	KindRepository = "repository"
	KindTag        = "tag"
)

// Trashed is something that was deleted and can be restored by itself. What went with a repository that is deleted comes
// back with that, and a tag that went with a manifest with the manifest.
type Trashed struct {
	// Kind is one of the Kind constants.
	Kind string
	// Path is the path of the repository.
	Path string
	// Tag is the name of a tag.
	Tag string
	// Digest is that of a manifest, or of what a tag named.
	Digest digest.Digest
	// Tags are those that come back with a manifest, the first 100.
	Tags []string
	// DeletedAt and PurgeAfter are when it was deleted, and until when it can be restored.
	DeletedAt, PurgeAfter time.Time
}

// Key is what a page of Trash comes after. Neither paths nor names hold spaces.
func (t Trashed) Key() string {
	name := t.Tag
	if t.Kind == KindManifest {
		name = string(t.Digest)
	}
	return strings.Join([]string{t.Kind, t.Path, name}, " ")
}

// Each part of the list is read by itself, up to the limit, after its part of the key.
var listTrash = database.SQL(`
	SELECT kind, path, name, digest, tags, deleted_at, purge_after FROM (
		SELECT * FROM (
			SELECT 'manifest' AS kind, r.path, m.digest AS name, m.digest,
				coalesce((SELECT string_agg(name, ' ') FROM (SELECT t.name FROM tags t
					WHERE t.repository_id = m.repository_id AND t.digest = m.digest AND t.deleted_at IS NOT NULL
					  AND t.deletion = m.deletion ORDER BY t.name LIMIT 100) AS named), '') AS tags,
				m.deleted_at, m.purge_after
			FROM repositories r JOIN manifests m ON m.repository_id = r.id AND m.deleted_at IS NOT NULL
			WHERE r.project_id = $1 AND m.purge_after > $2 AND $3 <= 'manifest'
			  AND ($3 <> 'manifest' OR r.path > $4 OR (r.path = $4 AND m.digest > $5))
			  AND (r.deleted_at IS NULL OR r.deletion IS NULL OR m.deletion IS NULL OR r.deletion <> m.deletion)
			ORDER BY r.path, m.digest LIMIT {limit:$6}) AS manifests
		UNION ALL
		SELECT * FROM (
			SELECT 'repository' AS kind, r.path, '' AS name, '' AS digest, '' AS tags, r.deleted_at, r.purge_after
			FROM repositories r
			WHERE r.project_id = $1 AND r.deleted_at IS NOT NULL AND r.purge_after > $2 AND $3 <= 'repository'
			  AND ($3 <> 'repository' OR r.path > $4)
			ORDER BY r.path LIMIT {limit:$6}) AS repositories
		UNION ALL
		SELECT * FROM (
			SELECT 'tag' AS kind, r.path, t.name, t.digest, '' AS tags, t.deleted_at, t.purge_after
			FROM repositories r JOIN tags t ON t.repository_id = r.id AND t.deleted_at IS NOT NULL
			JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest
			WHERE r.project_id = $1 AND t.purge_after > $2
			  AND ($3 <> 'tag' OR r.path > $4 OR (r.path = $4 AND t.name > $5))
			  AND (r.deleted_at IS NULL OR r.deletion IS NULL OR t.deletion IS NULL OR r.deletion <> t.deletion)
			  AND (m.deleted_at IS NULL OR m.deletion IS NULL OR t.deletion IS NULL OR m.deletion <> t.deletion)
			ORDER BY r.path, t.name LIMIT {limit:$6}) AS tags) AS trash
	ORDER BY kind, path, name LIMIT {limit:$6}`)

// Trash lists what was deleted in a project and can be restored. It returns *InputError for a key that is none.
func (s *Store) Trash(ctx context.Context, project uuid.UUID, page database.Page) ([]Trashed, error) {
	after := []string{"", "", ""}
	if page.After != "" {
		if after = strings.Split(page.After, " "); len(after) != 3 {
			return nil, &InputError{Field: "after", Reason: "is not of this list"}
		}
	}
	rows, err := s.DB.Query(ctx, listTrash, project, s.now(), after[0], after[1], after[2], int64(page.Limit))
	if err != nil {
		return nil, fmt.Errorf("list the trash: %w", err)
	}
	defer rows.Close()
	trash := []Trashed{}
	for rows.Next() {
		t, err := scanTrashed(rows)
		if err != nil {
			return nil, fmt.Errorf("list the trash: %w", err)
		}
		trash = append(trash, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the trash: %w", err)
	}
	return trash, nil
}

func scanTrashed(rows database.Rows) (Trashed, error) {
	var t Trashed
	var name, tags string
	var deletedAt, purgeAfter int64
	if err := rows.Scan(&t.Kind, &t.Path, &name, scanDigest(&t.Digest), &tags, &deletedAt, &purgeAfter); err != nil {
		return Trashed{}, err
	}
	if t.Kind == KindTag {
		t.Tag = name
	}
	t.Tags = strings.Fields(tags)
	t.DeletedAt, t.PurgeAfter = database.FromMicros(deletedAt), database.FromMicros(purgeAfter)
	return t, nil
}
