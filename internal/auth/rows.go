package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/database"
)

// The tables as GORM sees them, for the cold paths.

type userRow struct {
	ID           uuid.UUID `gorm:"primaryKey"`
	AccountID    uuid.UUID
	Email        string
	Name         string
	PasswordHash *string
	Admin        bool
	LockedAt     *int64
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
	Version      int64
}

// TableName is the table.
func (userRow) TableName() string { return "users" }

func (u userRow) user() User {
	return User{
		ID: u.ID, AccountID: u.AccountID, Email: u.Email, Name: u.Name, Admin: u.Admin,
		Locked: u.LockedAt != nil, CreatedAt: database.FromMicros(u.CreatedAt), UpdatedAt: database.FromMicros(u.UpdatedAt),
		Version: u.Version,
	}
}

type tokenRow struct {
	ID         uuid.UUID `gorm:"primaryKey"`
	Kind       string
	UserID     uuid.NullUUID
	ProjectID  uuid.NullUUID
	Name       string
	SecretHash string
	Hint       string
	Grants     string
	CreatedBy  string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
	ExpiresAt  *int64
	RevokedAt  *int64
	LastUsedAt *int64
}

// TableName is the table.
func (tokenRow) TableName() string { return "tokens" }

// token fails if the grants are not understood: a list must not show less of a restriction than there is.
func (row tokenRow) token() (Token, error) {
	grants, err := parseGrants(row.Kind, row.Grants)
	if err != nil {
		return Token{}, fmt.Errorf("auth: grants of token %s: %w", row.ID, err)
	}
	return Token{
		ID: row.ID, Kind: row.Kind, UserID: row.UserID.UUID, ProjectID: row.ProjectID.UUID, Name: row.Name, Hint: row.Hint, Grants: grants,
		CreatedBy: row.CreatedBy, CreatedAt: database.FromMicros(row.CreatedAt), ExpiresAt: optionalTime(row.ExpiresAt),
		LastUsedAt: optionalTime(row.LastUsedAt), RevokedAt: optionalTime(row.RevokedAt),
	}, nil
}

type sessionRow struct {
	ID         uuid.UUID `gorm:"primaryKey"`
	UserID     uuid.UUID
	TokenID    uuid.NullUUID
	UserAgent  string
	RemoteIP   string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
	ExpiresAt  int64
	LastUsedAt *int64
}

// TableName is the table.
func (sessionRow) TableName() string { return "sessions" }

func (s sessionRow) session() Session {
	return Session{
		ID: s.ID, UserID: s.UserID, TokenID: s.TokenID.UUID, UserAgent: s.UserAgent, RemoteIP: s.RemoteIP,
		CreatedAt: database.FromMicros(s.CreatedAt), ExpiresAt: database.FromMicros(s.ExpiresAt),
		LastUsedAt: optionalTime(s.LastUsedAt),
	}
}

type inviteRow struct {
	ID        uuid.UUID `gorm:"primaryKey"`
	Hint      string
	Email     string
	CreatedBy string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64
	UsedAt    *int64
	UsedBy    uuid.NullUUID
}

// TableName is the table.
func (inviteRow) TableName() string { return "invites" }

func (i inviteRow) invite() Invite {
	return Invite{
		ID: i.ID, Hint: i.Hint, Email: i.Email, CreatedBy: i.CreatedBy, CreatedAt: database.FromMicros(i.CreatedAt),
		ExpiresAt: database.FromMicros(i.ExpiresAt), UsedAt: optionalTime(i.UsedAt), UsedBy: i.UsedBy.UUID,
	}
}

func nullUUID(id uuid.UUID) uuid.NullUUID { return uuid.NullUUID{UUID: id, Valid: id != uuid.Nil} }

// optionalMicros is t as the schema stores an instant that may be missing.
func optionalMicros(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	micros := database.ToMicros(t)
	return &micros
}

// optionalTime is an instant that may be missing, zero if it is.
func optionalTime(micros *int64) time.Time {
	if micros == nil {
		return time.Time{}
	}
	return database.FromMicros(*micros)
}

// translated gives err the sentinel that callers know, and says what failed.
func translated(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, database.ErrConflict):
		return fmt.Errorf("auth: %s: %w: %w", what, ErrExists, err)
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, database.ErrForeignKey):
		return fmt.Errorf("auth: %s: %w: %w", what, ErrNotFound, err)
	}
	return fmt.Errorf("auth: %s: %w", what, err)
}
