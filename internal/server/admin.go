package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
)

// Migrate brings the schema of a database up to date and returns how many migrations it applied. It makes a database of SQLite
// that is not there. Several processes may do so at once.
func Migrate(ctx context.Context, cfg config.Database, opts Options) (applied int, err error) {
	db, err := openDatabase(ctx, cfg, opts.withDefaults(), nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.Migrate(ctx) //nolint:wrapcheck // says what it did
}

// NewUser is a user to create.
type NewUser struct {
	// Email is the address to log in with.
	Email string
	// Password opens the product API; without one, only tokens do anything.
	Password config.Secret
	// Admin may do everything.
	Admin bool
}

// CreateUser creates a user and returns the ID. The schema must be up to date.
func CreateUser(ctx context.Context, cfg config.Database, user NewUser, opts Options) (id string, err error) {
	err = withAuth(ctx, cfg, opts, func(ctx context.Context, service *auth.Service) error {
		created, err := service.CreateUser(ctx, auth.NewUser{
			Email: user.Email, Password: user.Password.Reveal(), Admin: user.Admin,
		})
		id = created.ID.String()
		return err //nolint:wrapcheck // says what it did
	})
	return id, err
}

// NewToken is a personal registry token to create.
type NewToken struct {
	// Email names the owner.
	Email string
	// Name tells the owner's tokens apart.
	Name string
	// Life is how long it is valid. 0: for ever.
	Life time.Duration
}

// CreateToken creates a token and returns its secret, which cannot be had again. The schema must be up to date.
func CreateToken(ctx context.Context, cfg config.Database, token NewToken, opts Options) (secret config.Secret, err error) {
	err = withAuth(ctx, cfg, opts, func(ctx context.Context, service *auth.Service) error {
		request := auth.NewToken{Email: token.Email, Name: token.Name}
		if token.Life > 0 {
			request.ExpiresAt = opts.withDefaults().Clock().Add(token.Life)
		}
		text, _, err := service.CreateToken(ctx, request)
		secret = config.Secret(text)
		return err //nolint:wrapcheck // says what it did
	})
	return secret, err
}

func withAuth(ctx context.Context, cfg config.Database, opts Options, do func(context.Context, *auth.Service) error) error {
	return withDatabase(ctx, cfg, opts, func(db *database.DB) error {
		// No bearer token is issued here, so its issuer and audience do not matter.
		service, err := auth.NewService(db, auth.Options{Clock: opts.withDefaults().Clock, Issuer: "berth", Service: "berth"})
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		return do(audit.With(ctx, audit.Origin{Actor: audit.ActorOperator}), service)
	})
}

// withDatabase works on the database of a server.
func withDatabase(ctx context.Context, cfg config.Database, opts Options, do func(*database.DB) error) (err error) {
	db, err := existingDatabase(ctx, cfg, opts.withDefaults())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}
