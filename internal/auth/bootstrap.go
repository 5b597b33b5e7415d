package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
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
	if err := s.noUser(ctx); err != nil {
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
	var batch database.Batch
	batch.Require(errSomeUser, requireNoUser)
	user.insert(&batch)
	batch.Exec(insertToken, token.values()...)
	audit.Append(ctx, &batch, audit.Entry{
		Action: audit.UserCreate, Object: user.ID.String(), Detail: userDetail{Email: user.Email, Admin: true, Token: &token.ID},
	})
	err = s.db.Run(ctx, &batch)
	if err != nil {
		return false, "", "", unlessAdminExists(err)
	}
	return true, generatedPassword, generatedToken, nil
}

// errSomeUser: there is a user.
var errSomeUser = errors.New("there is a user already")

var requireNoUser = database.SQL(`SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM users)`)

// noUser fails with errSomeUser if there is a user.
func (s *Service) noUser(ctx context.Context) error {
	var one int
	err := s.db.QueryRow(ctx, requireNoUser).Scan(&one)
	if errors.Is(err, database.ErrNoRows) {
		return errSomeUser
	}
	return err //nolint:wrapcheck // unlessAdminExists does
}

// unlessAdminExists is nil for the errors that mean that another one was first.
func unlessAdminExists(err error) error {
	if errors.Is(err, errSomeUser) || errors.Is(err, database.ErrConflict) {
		return nil
	}
	return fmt.Errorf("auth: create the first administrator: %w", err)
}
