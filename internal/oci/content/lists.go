package content

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

var (
	// One row has them all, with spaces between, as no tag has one: each row more costs more than a tag does. Nobody promises
	// that an aggregate keeps the order of what it is given.
	listTags = database.SQL(`
		SELECT coalesce(string_agg(name, ' '), '') FROM (
			SELECT name FROM tags m WHERE deleted_at IS NULL AND name > $3 AND ` + manifestsAllowed + `
			  AND repository_id = ` + shownRepository + `
			ORDER BY name LIMIT {limit:$4}) AS page`)
	// The sum of the annotations before a row bounds what is read: each may be as long as a manifest.
	listReferrers = database.SQL(`
		SELECT digest, media_type, size, artifact_type, annotations FROM (
			SELECT digest, media_type, size, artifact_type, annotations,
				row_number() OVER list AS place, sum(octet_length(annotations)) OVER list - octet_length(annotations) AS before
			FROM manifests m
			WHERE ` + manifestsAllowed + ` AND subject_digest = $3 AND digest > $4 AND deleted_at IS NULL
			  AND ({text:$5} = '' OR artifact_type = $5)
			  AND repository_id = ` + shownRepository + `
			WINDOW list AS (ORDER BY digest ROWS UNBOUNDED PRECEDING)
			ORDER BY digest LIMIT {limit:$6}) AS page
		WHERE place <= 2 OR before <= {bigint:$7} ORDER BY digest`)
	listRepositories = database.SQL(`
		SELECT p.slug, r.path FROM projects p JOIN repositories r ON r.project_id = p.id
		WHERE p.slug IS NOT NULL AND p.state <> 'deleted' AND r.deleted_at IS NULL
		  AND (p.slug > $1 OR (p.slug = $1 AND r.path > $2))
		ORDER BY p.slug, r.path LIMIT {limit:$3}`)
	listRepositoriesOf = database.SQL(`
		SELECT p.slug, r.path FROM members m JOIN projects p ON p.id = m.project_id
		JOIN repositories r ON r.project_id = p.id
		WHERE m.user_id = $4 AND p.slug IS NOT NULL AND p.state NOT IN ('deleted', 'suspended') AND r.deleted_at IS NULL
		  AND (p.slug > $1 OR (p.slug = $1 AND r.path > $2))
		ORDER BY p.slug, r.path LIMIT {limit:$3}`)
	listRepositoriesIn = database.SQL(`
		SELECT p.slug, r.path FROM projects p JOIN repositories r ON r.project_id = p.id
		WHERE p.id = $4 AND p.slug IS NOT NULL AND p.state NOT IN ('deleted', 'suspended') AND r.deleted_at IS NULL
		  AND (p.slug > $1 OR (p.slug = $1 AND r.path > $2))
		ORDER BY p.slug, r.path LIMIT {limit:$3}`)
)

// Tags lists up to limit tags after last, in bytewise order (end-8). It returns ErrNotFound for a repository that
// does not exist.
func (s *Store) Tags(ctx context.Context, p Place, last string, limit int) ([]string, error) {
	var names string
	if err := s.DB.QueryRow(ctx, listTags, p.Project, p.Path, last, int64(limit)).Scan(&names); err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	if tags := strings.Fields(names); len(tags) > 0 {
		slices.Sort(tags)
		return tags, nil
	}
	exists, err := s.Exists(ctx, p)
	if err == nil && !exists {
		err = ErrNotFound
	}
	return []string{}, err
}

// Referrer is a manifest that refers to a subject, as the referrers API describes it.
type Referrer struct {
	MediaType    string        `json:"mediaType"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	ArtifactType string        `json:"artifactType,omitempty"`
	// Annotations is a JSON object as the manifest has it, or empty. It may be as long as a manifest, and is not
	// encoded again.
	Annotations string `json:"-"`
}

// length is at least what the referrer takes in an answer, in bytes.
func (r *Referrer) length() int {
	const rest = 256 // digest, size and the names of the fields
	return len(r.Annotations) + 2*(len(r.ArtifactType)+len(r.MediaType)) + rest
}

// Referrers gives a page of the manifests that refer to a subject to each, one after the other and none of them kept,
// in the order of their digests after last, of one artifact type unless that is empty (end-12). A page has up to limit
// entries, and as JSON up to maxBytes bytes, but one entry always fits. An unknown subject or repository has none.
//
// more is the digest after which the next page begins, or empty where there is none. An error of each is returned as it
// is. It must not wait: a connection is held meanwhile.
func (s *Store) Referrers(
	ctx context.Context, p Place, subject digest.Digest, artifactType, last string, limit, maxBytes int,
	each func(Referrer) error,
) (more digest.Digest, err error) {
	rows, err := s.DB.Query(ctx, listReferrers, p.Project, p.Path, string(subject), last, artifactType,
		int64(limit)+1, int64(maxBytes))
	if err != nil {
		return "", fmt.Errorf("list referrers: %w", err)
	}
	defer rows.Close()
	var previous digest.Digest
	for n, size := 0, 256; rows.Next(); n++ {
		r, err := scanReferrer(rows)
		if err != nil {
			return "", fmt.Errorf("list referrers: %w", err)
		}
		size += r.length()
		if n == limit || n > 0 && size > maxBytes {
			return previous, nil
		}
		if err := each(r); err != nil {
			return "", err
		}
		previous = r.Digest
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("list referrers: %w", err)
	}
	return "", nil
}

// scanReferrer reads a row. A descriptor's media type has no parameters, though the Content-Type may have had some.
func scanReferrer(rows database.Rows) (Referrer, error) {
	var r Referrer
	var contentType string
	if err := rows.Scan(scanDigest(&r.Digest), &contentType, &r.Size, &r.ArtifactType, &r.Annotations); err != nil {
		return Referrer{}, err
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	r.MediaType = strings.ToLower(strings.TrimSpace(mediaType))
	return r, nil
}

// Viewer says whose repositories a catalog lists: everything, a user's, or one project's.
type Viewer struct {
	// All lists every repository.
	All bool
	// User lists those of the projects in which the user has a role.
	User uuid.UUID
	// Project lists those of one project; for robots.
	Project uuid.UUID
}

// Name is a repository's name in two parts.
type Name struct {
	// Slug is the project's.
	Slug string
	// Path is the repository's path below the project, possibly empty.
	Path string
}

// String is the name as a client writes it.
func (n Name) String() string {
	if n.Path == "" {
		return n.Slug
	}
	return n.Slug + "/" + n.Path
}

// Catalog lists up to limit repositories after last that the viewer may see, project by project.
func (s *Store) Catalog(ctx context.Context, v Viewer, last Name, limit int) ([]Name, error) {
	rows, err := s.catalogRows(ctx, v, last, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	defer rows.Close()
	names := []Name{}
	for rows.Next() {
		var n Name
		if err := rows.Scan(&n.Slug, &n.Path); err != nil {
			return nil, fmt.Errorf("list repositories: %w", err)
		}
		names = append(names, n)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	return names, nil
}

func (s *Store) catalogRows(ctx context.Context, v Viewer, last Name, limit int64) (database.Rows, error) {
	switch {
	case v.All:
		return s.DB.Query(ctx, listRepositories, last.Slug, last.Path, limit)
	case v.Project != uuid.Nil:
		return s.DB.Query(ctx, listRepositoriesIn, last.Slug, last.Path, limit, v.Project)
	}
	return s.DB.Query(ctx, listRepositoriesOf, last.Slug, last.Path, limit, v.User)
}
