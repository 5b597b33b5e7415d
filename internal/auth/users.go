package auth

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/database"
)

const (
	maxEmail = 254
	maxName  = 200
)

// User is a person who can sign in.
type User struct {
	ID        uuid.UUID
	AccountID uuid.UUID // the personal account
	Email     string
	Name      string
	Admin     bool
	Locked    bool
	CreatedAt time.Time
}

// NewUser is what CreateUser needs.
type NewUser struct {
	Email    string // stored in lower case
	Password string // "": the user cannot sign in with a password
	Name     string
	Admin    bool
}

// CreateUser creates a user and the personal account in one transaction. Errors: ErrInvalidInput, ErrExists for the
// e-mail address, the context's and the database's.
func (s *Service) CreateUser(ctx context.Context, u NewUser) (User, error) {
	row, err := s.newUserRow(ctx, u)
	if err != nil {
		return User{}, err
	}
	err = s.db.Gorm().WithContext(ctx).Transaction(func(tx *gorm.DB) error { return insertUser(tx, row) })
	return row.user(), translated("create user", err)
}

// newUserRow validates u and hashes its password, which is slow: no transaction may wait for it.
func (s *Service) newUserRow(ctx context.Context, u NewUser) (userRow, error) {
	email, err := normalEmail(u.Email)
	if err != nil {
		return userRow{}, err
	}
	if err := checkName(u.Name); err != nil {
		return userRow{}, err
	}
	now := database.ToMicros(s.now())
	row := userRow{
		ID: newID(), AccountID: newID(), Email: email, Name: u.Name, Admin: u.Admin, CreatedAt: now, UpdatedAt: now,
	}
	if u.Password == "" {
		return row, nil
	}
	if err := checkPassword(u.Password); err != nil {
		return userRow{}, err
	}
	phc, err := s.passwords.hash(ctx, u.Password)
	if err != nil {
		return userRow{}, err
	}
	row.PasswordHash = &phc
	return row, nil
}

func insertUser(tx *gorm.DB, u userRow) error {
	account := accountRow{ID: u.AccountID, Kind: "personal", Name: u.Email, CreatedAt: u.CreatedAt}
	if err := tx.Create(&account).Error; err != nil {
		return fmt.Errorf("account: %w", err)
	}
	return tx.Create(&u).Error
}

// VerifyPassword gives the user with this e-mail address and password. It takes as long for an unknown address as for a
// wrong password. Errors: ErrInvalidCredential, also for a locked user; the context's and the database's.
func (s *Service) VerifyPassword(ctx context.Context, email, password string) (User, error) {
	if len(password) > maxPassword {
		return User{}, fmt.Errorf("auth: %w: the password is too long", ErrInvalidCredential)
	}
	row, err := s.userByEmail(ctx, email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	phc := ""
	if err == nil && row.PasswordHash != nil {
		phc = *row.PasswordHash
	}
	ok, err := s.passwords.verify(ctx, password, phc)
	switch {
	case err != nil:
		return User{}, err
	case !ok:
		return User{}, fmt.Errorf("auth: %w: wrong e-mail address or password", ErrInvalidCredential)
	case row.LockedAt != nil:
		return User{}, fmt.Errorf("auth: %w: user %s is locked", ErrInvalidCredential, row.ID)
	}
	return row.user(), nil
}

// userByEmail reads a user. Errors: ErrNotFound, the context's and the database's.
func (s *Service) userByEmail(ctx context.Context, email string) (userRow, error) {
	email, err := normalEmail(email)
	if err != nil {
		return userRow{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	var row userRow
	err = s.db.Gorm().WithContext(ctx).Where("email = ?", email).Take(&row).Error
	return row, translated("user by e-mail address", err)
}

// normalEmail is an address as it is stored. It takes only what can be compared byte by byte: no display name, comments
// or quotes, and no letters beyond ASCII.
func normalEmail(email string) (string, error) {
	local, domain, found := strings.Cut(email, "@")
	parsed, err := mail.ParseAddress(email)
	if err != nil || !found || local == "" || domain == "" || parsed.Address != email || parsed.Name != "" ||
		len(email) > maxEmail || strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		return "", fmt.Errorf("%w: not an e-mail address", ErrInvalidInput)
	}
	return strings.ToLower(email), nil
}

func checkName(name string) error {
	if utf8.RuneCountInString(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%w: a name has at most %d characters and no control characters", ErrInvalidInput, maxName)
	}
	return nil
}

// newID is a UUIDv7.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
