package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

const credentialColumns = `
	SELECT t.id, t.kind, t.user_id, t.project_id, t.name, t.grants, t.expires_at, t.revoked_at, t.last_used_at,
	       u.email, u.admin, u.account_id, u.locked_at
	FROM tokens t LEFT JOIN users u ON u.id = t.user_id `

var (
	credentialBySecret = database.SQL(credentialColumns + `WHERE t.secret_hash = $1`)
	credentialByID     = database.SQL(credentialColumns + `WHERE t.id = $1`)
)

// VerifySecret gives the credential that a registry token is. What cannot be a secret is refused without a query. Errors:
// ErrInvalidCredential, the context's and the database's.
func (s *Service) VerifySecret(ctx context.Context, secret string) (Credential, error) {
	if err := checkSecret(secret); err != nil {
		return Credential{}, fmt.Errorf("auth: %w: %w", ErrInvalidCredential, err)
	}
	hash := hashSecret(secret)
	c, err := s.bySecret.Get(ctx, hash, func(ctx context.Context) (Credential, error) {
		return s.scanCredential(s.db.QueryRow(ctx, credentialBySecret, hash.String()))
	})
	return s.unexpired(c, err)
}

// Lookup gives the current state of a credential. Errors: ErrInvalidCredential, the context's and the database's.
func (s *Service) Lookup(ctx context.Context, tokenID uuid.UUID) (Credential, error) {
	c, err := s.byID.Get(ctx, tokenID, func(ctx context.Context) (Credential, error) {
		return s.scanCredential(s.db.QueryRow(ctx, credentialByID, tokenID))
	})
	return s.unexpired(c, err)
}

// unexpired checks the one thing that changes while a credential is cached.
func (s *Service) unexpired(c Credential, err error) (Credential, error) {
	if err != nil {
		return Credential{}, fmt.Errorf("auth: %w", err)
	}
	if c.expired(s.now()) {
		return Credential{}, fmt.Errorf("auth: %w: token or session of %s has expired", ErrInvalidCredential, c.Principal)
	}
	return c, nil
}

// storedCredential is a row of credentialColumns.
type storedCredential struct {
	id                 uuid.UUID
	kind, name, grants string
	userID, projectID  uuid.NullUUID
	expiresAt, revoked sql.Null[int64]
	lastUsed           sql.Null[int64]
	email              sql.Null[string]
	admin              sql.Null[bool]
	accountID          uuid.NullUUID
	lockedAt           sql.Null[int64]
}

func (s *Service) scanCredential(row database.Row) (Credential, error) {
	var r storedCredential
	err := row.Scan(&r.id, &r.kind, &r.userID, &r.projectID, &r.name, &r.grants, &r.expiresAt, &r.revoked, &r.lastUsed,
		&r.email, &r.admin, &r.accountID, &r.lockedAt)
	switch {
	case errors.Is(err, database.ErrNoRows):
		return Credential{}, fmt.Errorf("%w: unknown token", ErrInvalidCredential)
	case err != nil:
		return Credential{}, fmt.Errorf("read token: %w", err)
	}
	c, err := r.credential()
	if err == nil && !c.expired(s.now()) {
		s.used.token(r.id, r.lastUsed)
	}
	return c, err
}

func (r storedCredential) credential() (Credential, error) {
	switch {
	case r.revoked.Valid:
		return Credential{}, fmt.Errorf("%w: token %s is revoked", ErrInvalidCredential, r.id)
	case r.lockedAt.Valid:
		return Credential{}, fmt.Errorf("%w: the owner of token %s is locked", ErrInvalidCredential, r.id)
	}
	c := Credential{TokenID: r.id, ProjectID: r.projectID.UUID}
	if r.expiresAt.Valid {
		c.ExpiresAt = database.FromMicros(r.expiresAt.V)
	}
	var err error
	c.Grants, err = parseGrants(r.kind, r.grants)
	if err != nil {
		return Credential{}, fmt.Errorf("%w: grants of token %s: %w", ErrInvalidCredential, r.id, err)
	}
	switch r.kind {
	case TokenPersonal:
		c.Principal = Principal{
			Kind: rbac.KindUser, ID: r.userID.UUID, Admin: r.admin.V, AccountID: r.accountID.UUID, Name: r.email.V,
		}
	case TokenRobot:
		c.Principal = Principal{Kind: rbac.KindRobot, ID: r.id, Name: r.name}
		c.Role = c.Grants.role()
	case TokenRunner:
		c.Principal = Principal{Kind: rbac.KindRunner, ID: r.id, Name: r.name}
	default:
		return Credential{}, fmt.Errorf("%w: token %s is of unknown kind", ErrInvalidCredential, r.id)
	}
	return c, nil
}
