package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// firstAdminID is the same on every server: of replicas that create the first administrator at once, with whatever
// settings, the primary key lets one succeed.
var firstAdminID = uuid.MustParse("00000000-0000-7000-8000-000000000001")

// Bootstrap describes the first administrator. An empty password or token is generated.
type Bootstrap struct {
	Email    string
	Password string
	Token    string // a registry token, of 20 characters or more
}

// EnsureAdmin creates the first administrator with a registry token, if there is no user at all. It returns what it
// generated, which nobody can read again; what was given is not returned. Replicas may call it at once: one creates.
// Errors: ErrInvalidInput, the context's and the database's.
func (s *Service) EnsureAdmin(ctx context.Context, b Bootstrap) (created bool, generatedPassword, generatedToken string, err error) {
	db := s.db.Gorm().WithContext(ctx)
	if err := noUser(db); err != nil {
		return false, "", "", unlessAdminExists(err)
	}
	password := b.Password
	if password == "" {
		password = randomText(18)
		generatedPassword = password
	}
	user, err := s.newUserRow(ctx, NewUser{Email: b.Email, Password: password, Admin: true})
	if err != nil {
		return false, "", "", err
	}
	user.ID = firstAdminID
	secret, token, err := s.completed(tokenRow{
		Kind: TokenPersonal, UserID: nullUUID(user.ID), Name: "first administrator",
		CreatedBy: Principal{Kind: rbac.KindUser, ID: user.ID}.String(),
	}, b.Token, personalPrefix)
	if err != nil {
		return false, "", "", err
	}
	if b.Token == "" {
		generatedToken = secret
	}
	err = db.Transaction(func(tx *gorm.DB) error {
		if err := noUser(tx); err != nil {
			return err
		}
		if err := insertUser(tx, user); err != nil {
			return err
		}
		return tx.Create(&token).Error
	})
	if err != nil {
		return false, "", "", unlessAdminExists(err)
	}
	return true, generatedPassword, generatedToken, nil
}

// errSomeUser: there is a user.
var errSomeUser = errors.New("there is a user already")

// noUser fails with errSomeUser if there is a user.
func noUser(db *gorm.DB) error {
	var users []userRow
	if err := db.Select("id").Limit(1).Find(&users).Error; err != nil {
		return err
	}
	if len(users) > 0 {
		return errSomeUser
	}
	return nil
}

// unlessAdminExists is nil for the errors that mean that another one was first.
func unlessAdminExists(err error) error {
	if errors.Is(err, errSomeUser) || errors.Is(err, database.ErrConflict) {
		return nil
	}
	return fmt.Errorf("auth: create the first administrator: %w", err)
}

func insertUser(tx *gorm.DB, u userRow) error {
	account := accountRow{ID: u.AccountID, Kind: "personal", Name: u.Email, CreatedAt: u.CreatedAt}
	if err := tx.Create(&account).Error; err != nil {
		return fmt.Errorf("account: %w", err)
	}
	return tx.Create(&u).Error
}
