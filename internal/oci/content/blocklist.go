package content

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

// ErrBlocked says that an administrator has taken down the content, or content that it needs.
var ErrBlocked = errors.New("the content is blocked")

// Every statement that shows content asks the blocklist in the same breath: it is small, its index is in memory, and so
// what is taken down is hidden on every replica from the commit on. A list kept in memory would be late.
const (
	linkAllowed     = `NOT EXISTS (SELECT 1 FROM digest_blocklist x WHERE x.digest = l.digest)`
	manifestAllowed = `NOT EXISTS (SELECT 1 FROM digest_blocklist x WHERE x.digest = m.digest)`
	// manifestsAllowed is the same for many rows: where nothing is blocked, one look spares one for each row, and with it
	// the row itself where an index has all else.
	manifestsAllowed = `((SELECT min(digest) FROM digest_blocklist) IS NULL OR ` + manifestAllowed + `)`
)

var requireAllowed = database.SQL(`
	SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM digest_blocklist WHERE digest IN (SELECT each.value FROM {each:$1}))`)

// RequireAllowed adds to b that none of the digests is blocked. The batch fails with ErrBlocked.
func RequireAllowed(b *database.Batch, digests ...digest.Digest) {
	b.Require(ErrBlocked, requireAllowed, database.Strings(digestStrings(digests)))
}

// names are the digests by which a manifest may be blocked: its own, and the canonical one of its content.
func (m *NewManifest) names() []digest.Digest {
	if m.Digest.Algorithm() == digest.Canonical {
		return []digest.Digest{m.Digest}
	}
	return []digest.Digest{m.Digest, digest.FromBytes(m.Content)}
}
