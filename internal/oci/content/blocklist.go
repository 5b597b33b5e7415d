package content

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// ErrBlocked says that an administrator has taken down the content, or content that it needs.
var ErrBlocked = errors.New("the content is blocked")

// Every statement that shows content asks the blocklist in the same breath: it is small, its index is in memory, and so
// what is taken down is hidden on every replica from the commit on. A list kept in memory would be late.
const (
	linkAllowed     = `NOT EXISTS (SELECT 1 FROM digest_blocklist x WHERE x.digest = l.digest)`
	manifestAllowed = `NOT EXISTS (SELECT 1 FROM digest_blocklist x WHERE x.digest = m.digest)`
)

var (
	requireAllowed = database.SQL(`
		SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM digest_blocklist WHERE digest IN (SELECT each.value FROM {each:$1}))`)
	blockDigest = database.SQL(`
		INSERT INTO digest_blocklist (digest, reason, created_by, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (digest) DO UPDATE SET reason = excluded.reason, created_by = excluded.created_by`)
	unblockDigest = database.SQL(`DELETE FROM digest_blocklist WHERE digest = $1 RETURNING 1`)
	listBlocked   = database.SQL(`
		SELECT digest, reason, created_by, created_at FROM digest_blocklist
		WHERE digest > $1 ORDER BY digest LIMIT {bigint:$2}`)
)

// RequireAllowed adds to b that none of the digests is blocked. The batch fails with ErrBlocked.
func RequireAllowed(b *database.Batch, digests ...digest.Digest) {
	b.Require(ErrBlocked, requireAllowed, database.Strings(digestStrings(digests)))
}

// Blocked is an entry of the blocklist.
type Blocked struct {
	Digest    digest.Digest
	Reason    string
	CreatedBy string // the principal
	CreatedAt time.Time
}

// Block takes a digest down, as that of a blob and of a manifest, everywhere and at once: nobody can read, mount or push
// it, or push a manifest that needs it. Blocking it again replaces the reason. Deleting it stays possible, and what it
// takes counts until then. Errors: those of the guard, the context's and the database's.
func (s *Store) Block(ctx context.Context, guard Guard, d digest.Digest, reason, by string) error {
	b := &database.Batch{}
	guard.Require(b)
	b.Exec(blockDigest, string(d), reason, by, s.now())
	audit.Append(ctx, b, audit.Entry{Action: audit.DigestBlock, Object: string(d), Detail: blockDetail{Reason: reason}})
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("block digest: %w", err)
	}
	return nil
}

// blockDetail is what the audit log tells of a blocked digest.
type blockDetail struct {
	Reason string `json:"reason"`
}

// Unblock shows again what is there of a digest. Errors: ErrNotFound, those of the guard, the context's and the
// database's.
func (s *Store) Unblock(ctx context.Context, guard Guard, d digest.Digest) error {
	b := &database.Batch{}
	guard.Require(b)
	b.Require(ErrNotFound, unblockDigest, string(d))
	audit.Append(ctx, b, audit.Entry{Action: audit.DigestUnblock, Object: string(d)})
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("unblock digest: %w", err)
	}
	return nil
}

// Blocklist lists what is blocked. The key is the digest. Errors: the context's and the database's.
func (s *Store) Blocklist(ctx context.Context, page database.Page) ([]Blocked, error) {
	rows, err := s.DB.Query(ctx, listBlocked, page.After, int64(page.Limit))
	if err != nil {
		return nil, fmt.Errorf("list blocked digests: %w", err)
	}
	defer rows.Close()
	list := []Blocked{}
	for rows.Next() {
		var e Blocked
		var at int64
		if err := rows.Scan(scanDigest(&e.Digest), &e.Reason, &e.CreatedBy, &at); err != nil {
			return nil, fmt.Errorf("list blocked digests: %w", err)
		}
		e.CreatedAt = database.FromMicros(at)
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list blocked digests: %w", err)
	}
	return list, nil
}
