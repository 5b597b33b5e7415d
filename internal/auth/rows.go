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

type accountRow struct {
	ID        uuid.UUID `gorm:"primaryKey"`
	Kind      string
	Name      string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

// TableName is the table.
func (accountRow) TableName() string { return "accounts" }

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
}

// TableName is the table.
func (userRow) TableName() string { return "users" }

func (u userRow) user() User {
	return User{
		ID: u.ID, AccountID: u.AccountID, Email: u.Email, Name: u.Name, Admin: u.Admin,
		Locked: u.LockedAt != nil, CreatedAt: database.FromMicros(u.CreatedAt),
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
}

// TableName is the table.
func (tokenRow) TableName() string { return "tokens" }

func (t tokenRow) token() Token {
	token := Token{
		ID: t.ID, Kind: t.Kind, UserID: t.UserID.UUID, ProjectID: t.ProjectID.UUID, Name: t.Name, Hint: t.Hint,
		CreatedAt: database.FromMicros(t.CreatedAt),
	}
	if t.ExpiresAt != nil {
		token.ExpiresAt = database.FromMicros(*t.ExpiresAt)
	}
	return token
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
