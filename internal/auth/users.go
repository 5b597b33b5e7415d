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

	"github.com/berthregistry/berth/internal/audit"
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
	UpdatedAt time.Time
	Version   int64 // raised by every change
}

// NewUser is what CreateUser needs.
type NewUser struct {
	Email    string // stored in lower case
	Password string // "": the user cannot sign in with a password
	Name     string
	Admin    bool
	Guard    func(*database.Batch) // what must hold in the same transaction; nil: nothing
}

// CreateUser creates a user and the personal account in one transaction. Errors: ErrInvalidInput, ErrExists for the
// e-mail address, the guard's, the context's and the database's.
func (s *Service) CreateUser(ctx context.Context, u NewUser) (User, error) {
	row, err := s.newUserRow(ctx, u)
	if err != nil {
		return User{}, err
	}
	var b database.Batch
	guarded(&b, u.Guard)
	row.insert(&b)
	audit.Append(ctx, &b, audit.Entry{
		Action: audit.UserCreate, Object: row.ID.String(), Detail: userDetail{Email: row.Email, Admin: row.Admin},
	})
	if err := s.db.Run(ctx, &b); err != nil {
		return User{}, translated("create user", err)
	}
	return row.user(), nil
}

var (
	insertAccount = database.SQL(`INSERT INTO accounts (id, kind, name, created_at) VALUES ($1, 'personal', $2, $3)`)
	insertUserRow = database.SQL(`
		INSERT INTO users (id, account_id, email, name, password_hash, admin, created_at, updated_at, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)`)
)

// userDetail is what the audit log tells of a new user.
type userDetail struct {
	Email string     `json:"email"`
	Admin bool       `json:"admin,omitempty"`
	Token *uuid.UUID `json:"token,omitempty"` // of the first administrator
}

// insert adds the user and the personal account.
func (u userRow) insert(b *database.Batch) {
	b.Exec(insertAccount, u.AccountID, u.Email, u.CreatedAt)
	b.Exec(insertUserRow, u.ID, u.AccountID, u.Email, u.Name, u.PasswordHash, u.Admin, u.CreatedAt, u.Version)
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
		Version: 1,
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
	case !ok && row.ID != uuid.Nil:
		return User{}, fmt.Errorf("auth: %w: wrong password of user %s", ErrInvalidCredential, row.ID)
	case !ok:
		return User{}, fmt.Errorf("auth: %w: wrong e-mail address", ErrInvalidCredential)
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
		return "", invalid("email", "not an e-mail address")
	}
	return strings.ToLower(email), nil
}

func checkName(name string) error {
	if utf8.RuneCountInString(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return invalid("name", fmt.Sprintf("a name has at most %d characters and no control characters", maxName))
	}
	return nil
}

// newID is a UUIDv7.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
