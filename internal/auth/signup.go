package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// SignUpMode says who may sign up.
type SignUpMode string

// The modes of sign-up.
const (
	SignUpClosed SignUpMode = "closed" // nobody: administrators create users
	SignUpInvite SignUpMode = "invite" // who has an invite
	SignUpOpen   SignUpMode = "open"   // anyone
)

func (m SignUpMode) valid() bool { return m == SignUpClosed || m == SignUpInvite || m == SignUpOpen }

var (
	openInvite = database.SQL(`
		SELECT id FROM invites
		WHERE secret_hash = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $2 AND (email = '' OR email = $3)`)
	lockInvite = database.SQL(`
		SELECT id FROM invites
		WHERE secret_hash = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $2 AND (email = '' OR email = $3)
		{update}`)
	useInvite = database.SQL(`UPDATE invites SET used_at = $2, used_by = $3 WHERE secret_hash = $1`)
)

// SignUp creates a user as the server's mode allows. An invite is used up by it, also where none is needed. It never makes
// an administrator, whatever u says. Errors: ErrSignUpClosed; ErrInvite; ErrInvalidInput; ErrExists for the e-mail
// address, and the invite stays; the context's and the database's.
func (s *Service) SignUp(ctx context.Context, u NewUser, invite string) (User, error) {
	if s.opts.SignUp == SignUpClosed {
		return User{}, fmt.Errorf("auth: %w", ErrSignUpClosed)
	}
	invited := s.opts.SignUp == SignUpInvite || invite != ""
	if invited {
		if err := s.checkInvite(ctx, invite, u.Email); err != nil {
			return User{}, err
		}
	}
	if u.Password == "" {
		return User{}, invalid("password", "required")
	}
	u.Admin = false
	row, err := s.newUserRow(ctx, u)
	if err != nil {
		return User{}, err
	}
	var b database.Batch
	hash := hashSecret(invite).String()
	if invited {
		b.Require(ErrInvite, lockInvite, hash, row.CreatedAt, row.Email)
	}
	row.insert(&b)
	audit.Append(by(ctx, row.ID, uuid.Nil), &b, audit.Entry{
		Action: audit.UserSignUp, Object: row.ID.String(), Detail: signUpDetail{Email: row.Email, Invited: invited},
	})
	if invited {
		b.Exec(useInvite, hash, row.CreatedAt, row.ID)
	}
	if err := s.db.Run(ctx, &b); err != nil {
		return User{}, translated("sign up", err)
	}
	return row.user(), nil
}

// signUpDetail is what the audit log tells of a sign-up.
type signUpDetail struct {
	Email   string `json:"email"`
	Invited bool   `json:"invited,omitempty"`
}

// checkInvite refuses a stranger before a password is hashed, which takes memory and time, and before anything is said
// about who has an account. Errors: ErrInvite, the context's and the database's.
func (s *Service) checkInvite(ctx context.Context, secret, email string) error {
	if err := checkSecretOf(invitePrefix, secret); err != nil {
		return fmt.Errorf("auth: %w: %w", ErrInvite, err)
	}
	email, err := normalEmail(email)
	if err != nil {
		email = "" // not that of any invite; if this one is for everyone, the address is judged later
	}
	var id string
	err = s.db.QueryRow(ctx, openInvite, hashSecret(secret).String(), database.ToMicros(s.now()), email).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return fmt.Errorf("auth: %w", ErrInvite)
	}
	if err != nil {
		return fmt.Errorf("auth: read invite: %w", err)
	}
	return nil
}
