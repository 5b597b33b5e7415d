package auth

import (
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

var (
	requirePersonal = database.SQL(`
		SELECT 1 FROM tokens t JOIN users u ON u.id = t.user_id
		WHERE t.id = $1 AND t.kind = 'personal' AND u.id = $2
			AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > {now}) AND u.locked_at IS NULL
		{share}`)

	requireMachine = database.SQL(`
		SELECT 1 FROM tokens
		WHERE id = $1 AND kind = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now})
		{share}`)

	// The token that a session was opened with ends it in its own transaction, so it need not be locked here.
	requireSession = database.SQL(`
		SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE s.id = $1 AND u.id = $2 AND s.revoked_at IS NULL AND s.expires_at > {now} AND u.locked_at IS NULL
		{share}`)

	requireAdmin = database.SQL(`SELECT 1 FROM users WHERE id = $1 AND admin AND locked_at IS NULL {share}`)

	requireNothing = database.SQL(`SELECT 1 WHERE 1 = 0`)
)

// Require adds the check that the credential, a token of any kind or a session, is neither revoked nor expired and its
// user not locked, which then stays so until the commit. It fails with ErrRevoked. An anonymous caller has nothing that
// could be revoked; a credential that says nothing of its kind fails.
func (c Credential) Require(b *database.Batch) {
	switch c.Principal.Kind {
	case rbac.KindAnonymous:
	case rbac.KindUser:
		if c.SessionID != uuid.Nil {
			b.Require(ErrRevoked, requireSession, c.SessionID, c.Principal.ID)
			return
		}
		b.Require(ErrRevoked, requirePersonal, c.TokenID, c.Principal.ID)
	case rbac.KindRobot:
		b.Require(ErrRevoked, requireMachine, c.TokenID, TokenRobot)
	case rbac.KindRunner:
		b.Require(ErrRevoked, requireMachine, c.TokenID, TokenRunner)
	default:
		b.Require(ErrRevoked, requireNothing)
	}
}

// RequireAdmin adds the check that a user is an administrator, and stays one until the commit. It fails with ErrNotAdmin.
func RequireAdmin(b *database.Batch, userID uuid.UUID) { b.Require(ErrNotAdmin, requireAdmin, userID) }
