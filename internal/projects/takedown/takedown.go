// Package takedown is the list of digests that an administrator has taken down. What is on it is hidden everywhere by the
// statements that show content; see internal/oci/content.
package takedown

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Errors of the list.
var (
	// ErrDigest: it is no digest of content that there can be.
	ErrDigest = errors.New("not a digest")
	// ErrNotFound: the digest is not on the list.
	ErrNotFound = errors.New("not blocked")
)

// form is that of the digests that the registry knows.
var form = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)

// Blocked is an entry of the list.
type Blocked struct {
	Digest    string
	Reason    string
	CreatedBy string // the principal
	CreatedAt time.Time
	// Projects and Repositories are how many show the content, or would if it were not blocked.
	Projects, Repositories int64
}

// List is the list. It is safe for concurrent use.
type List struct {
	// DB is where it is.
	DB *database.DB
	// Clock tells the time.
	Clock func() time.Time
}

// where finds the repositories that have a digest as a blob or a manifest. Links and manifests have it as the second part
// of their key, so it is the blob's row that leads to the links; manifests go by an index of their own.
const where = `SELECT l.repository_id FROM blobs b JOIN repository_blobs l ON l.blob_id = b.id
	WHERE b.digest = x.digest AND l.deleted_at IS NULL
	UNION SELECT m.repository_id FROM manifests m WHERE m.digest = x.digest AND m.deleted_at IS NULL`

const columns = `SELECT x.digest, x.reason, x.created_by, x.created_at,
	(SELECT count(DISTINCT r.project_id) FROM repositories r WHERE r.deleted_at IS NULL AND r.id IN (` + where + `)),
	(SELECT count(*) FROM repositories r WHERE r.deleted_at IS NULL AND r.id IN (` + where + `))
	FROM digest_blocklist x `

var (
	block = database.SQL(`
		INSERT INTO digest_blocklist (digest, reason, created_by, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (digest) DO UPDATE SET reason = excluded.reason, created_by = excluded.created_by`)
	unblock = database.SQL(`DELETE FROM digest_blocklist WHERE digest = $1 RETURNING 1`)
	one     = database.SQL(columns + `WHERE x.digest = $1`)
	list    = database.SQL(columns + `WHERE x.digest > $1 ORDER BY x.digest LIMIT {limit:$2}`)
)

// Block takes a digest down, as that of a blob and of a manifest, everywhere and at once: nobody can read, mount or push
// it, or push a manifest that needs it. Blocking it again replaces the reason. Deleting it stays possible, and what it
// takes counts until then. require adds what must still hold; by is the principal who does it. Errors: ErrDigest, those of
// require, the context's and the database's.
func (l *List) Block(ctx context.Context, require func(*database.Batch), digest, reason, by string) (Blocked, error) {
	if !form.MatchString(digest) {
		return Blocked{}, ErrDigest
	}
	b := &database.Batch{}
	require(b)
	b.Exec(block, digest, reason, by, database.ToMicros(l.Clock()))
	audit.Append(ctx, b, audit.Entry{Action: audit.DigestBlock, Object: digest, Detail: map[string]string{"reason": reason}})
	var e Blocked
	b.Query(func(r database.Rows) (err error) {
		e, err = scan(r)
		return err
	}, one, digest)
	if err := l.DB.Run(ctx, b); err != nil {
		return Blocked{}, fmt.Errorf("block digest: %w", err)
	}
	return e, nil
}

// Unblock shows again what is there of a digest. Errors: ErrNotFound, those of require, the context's and the database's.
func (l *List) Unblock(ctx context.Context, require func(*database.Batch), digest string) error {
	if !form.MatchString(digest) {
		return ErrNotFound
	}
	b := &database.Batch{}
	require(b)
	b.Require(ErrNotFound, unblock, digest)
	audit.Append(ctx, b, audit.Entry{Action: audit.DigestUnblock, Object: digest})
	if err := l.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("unblock digest: %w", err)
	}
	return nil
}

// Page lists what is blocked. The key is the digest. Errors: ErrDigest of the key, the context's and the database's.
func (l *List) Page(ctx context.Context, page database.Page) ([]Blocked, error) {
	if page.After != "" && !form.MatchString(page.After) {
		return nil, ErrDigest
	}
	rows, err := l.DB.Query(ctx, list, page.After, int64(page.Limit))
	if err != nil {
		return nil, fmt.Errorf("list blocked digests: %w", err)
	}
	defer rows.Close()
	found := []Blocked{}
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list blocked digests: %w", err)
		}
		found = append(found, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list blocked digests: %w", err)
	}
	return found, nil
}

func scan(row database.Rows) (Blocked, error) {
	var e Blocked
	var at int64
	err := row.Scan(&e.Digest, &e.Reason, &e.CreatedBy, &at, &e.Projects, &e.Repositories)
	e.CreatedAt = database.FromMicros(at)
	return e, err //nolint:wrapcheck // by the callers
}
