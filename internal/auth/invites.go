package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// DefaultInviteTTL is the life of an invite that is given none.
const DefaultInviteTTL = 7 * 24 * time.Hour

// Invite lets one person sign up. Its secret is not kept.
type Invite struct {
	ID        uuid.UUID
	Hint      string // the first characters of the secret
	Email     string // of the only one who may use it; "": anyone
	CreatedBy string // the principal
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time // zero: it is not used
	UsedBy    uuid.UUID
}

// NewInvite is what CreateInvite needs.
type NewInvite struct {
	Email     string    // "": for anyone
	ExpiresAt time.Time // zero: after DefaultInviteTTL
	CreatedBy string    // the principal
}

var insertInvite = database.SQL(`
	INSERT INTO invites (id, secret_hash, hint, email, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`)

// CreateInvite creates an invite. The secret is returned only here. Errors: ErrInvalidInput, the guard's, the context's
// and the database's.
func (s *Service) CreateInvite(ctx context.Context, guard func(*database.Batch), n NewInvite) (secret string, invite Invite, err error) {
	row, err := s.newInviteRow(n)
	if err != nil {
		return "", Invite{}, err
	}
	secret = newSecret(invitePrefix)
	row.Hint = hint(secret)
	var b database.Batch
	guarded(&b, guard)
	b.Exec(insertInvite, row.ID, hashSecret(secret).String(), row.Hint, row.Email, row.CreatedBy, row.CreatedAt, row.ExpiresAt)
	audit.Append(ctx, &b, audit.Entry{
		Action: audit.InviteCreate, Object: row.ID.String(), Detail: inviteDetail{Email: row.Email, ExpiresAt: database.FromMicros(row.ExpiresAt)},
	})
	if err := s.db.Run(ctx, &b); err != nil {
		return "", Invite{}, translated("create invite", err)
	}
	return secret, row.invite(), nil
}

// inviteDetail is what the audit log tells of an invite. Without an address it is for anyone.
type inviteDetail struct {
	Email     string    `json:"email,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (s *Service) newInviteRow(n NewInvite) (inviteRow, error) {
	now := s.now()
	if n.ExpiresAt.IsZero() {
		n.ExpiresAt = now.Add(DefaultInviteTTL)
	}
	if !n.ExpiresAt.After(now) {
		return inviteRow{}, invalid("expires_at", "the invite would have expired already")
	}
	if n.Email != "" {
		var err error
		if n.Email, err = normalEmail(n.Email); err != nil {
			return inviteRow{}, err
		}
	}
	return inviteRow{
		ID: newID(), Email: n.Email, CreatedBy: n.CreatedBy,
		CreatedAt: database.ToMicros(now), ExpiresAt: database.ToMicros(n.ExpiresAt),
	}, nil
}

// Invites lists the invites that are not revoked, used and expired ones included, the newest last. Its key is the id.
// Errors: ErrInvalidInput for the page, the context's and the database's.
func (s *Service) Invites(ctx context.Context, page database.Page) ([]Invite, error) {
	query, err := paged(s.db.Gorm().WithContext(ctx), page)
	if err != nil {
		return nil, err
	}
	var rows []inviteRow
	if err := query.Where("revoked_at IS NULL").Find(&rows).Error; err != nil {
		return nil, translated("list invites", err)
	}
	invites := make([]Invite, len(rows))
	for i, row := range rows {
		invites[i] = row.invite()
	}
	return invites, nil
}

var revokeInvite = database.SQL(`UPDATE invites SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING id`)

// RevokeInvite ends an invite. Revoking it again is no error. Errors: ErrNotFound, the guard's, the context's and the
// database's.
func (s *Service) RevokeInvite(ctx context.Context, guard func(*database.Batch), id uuid.UUID) error {
	var b database.Batch
	guarded(&b, guard)
	b.Require(ErrNotFound, revokeInvite, id, database.ToMicros(s.now()))
	audit.Append(ctx, &b, audit.Entry{Action: audit.InviteRevoke, Object: id.String()})
	if err := s.db.Run(ctx, &b); err != nil {
		return fmt.Errorf("auth: revoke invite: %w", err)
	}
	return nil
}
