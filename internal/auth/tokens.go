package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// Kinds of tokens, as the database stores them.
const (
	tokenPersonal = "personal"
	tokenRobot    = "robot"
	tokenRunner   = "runner"
)

// Token describes a registry token. Its secret is not kept.
type Token struct {
	ID        uuid.UUID
	Kind      string    // personal, robot or runner
	UserID    uuid.UUID // of a personal token
	ProjectID uuid.UUID // of a robot, and of a runner that belongs to one project
	Name      string
	Hint      string // the first characters of the secret
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// NewToken is what CreateToken needs.
type NewToken struct {
	Email     string // of the owner
	Name      string
	ExpiresAt time.Time // zero: never
	Secret    string    // "" to generate one
}

// NewRobot is what CreateRobot needs.
type NewRobot struct {
	ProjectID uuid.UUID
	Name      string
	Role      rbac.Role // developer (pull and push) or viewer (pull); instead of Grants
	Grants    *Grants   // what of the project it may do; instead of Role
	ExpiresAt time.Time // zero: never
	CreatedBy string    // the principal
}

// NewRunner is what CreateRunner needs.
type NewRunner struct {
	ProjectID uuid.UUID // Nil: a runner of the server, for any project that grants it
	Name      string
	ExpiresAt time.Time // zero: never
	CreatedBy string    // the principal
}

// CreateToken creates a personal token, which may do all that its owner may. The secret is returned only here. Errors:
// ErrInvalidInput, ErrNotFound for the owner, ErrExists for a given secret, the context's and the database's.
func (s *Service) CreateToken(ctx context.Context, t NewToken) (secret string, token Token, err error) {
	owner, err := s.userByEmail(ctx, t.Email)
	if err != nil {
		return "", Token{}, err
	}
	row := tokenRow{
		Kind: tokenPersonal, UserID: nullUUID(owner.ID), Name: t.Name, ExpiresAt: optionalMicros(t.ExpiresAt),
		CreatedBy: Principal{Kind: rbac.KindUser, ID: owner.ID}.String(),
	}
	return s.insertToken(ctx, row, t.Secret, personalPrefix)
}

// CreateRobot creates the CI token of a project. The secret is returned only here. Errors: ErrInvalidInput, ErrNotFound
// for the project, the context's and the database's.
func (s *Service) CreateRobot(ctx context.Context, r NewRobot) (secret string, token Token, err error) {
	granted, err := r.granted()
	if err != nil {
		return "", Token{}, err
	}
	grants, err := granted.format()
	if err != nil {
		return "", Token{}, err
	}
	row := tokenRow{
		Kind: tokenRobot, ProjectID: uuid.NullUUID{UUID: r.ProjectID, Valid: true}, Name: r.Name, Grants: grants,
		ExpiresAt: optionalMicros(r.ExpiresAt), CreatedBy: r.CreatedBy,
	}
	return s.insertToken(ctx, row, "", robotPrefix)
}

// granted are the robot's grants, however they were given. Errors: ErrInvalidInput.
func (r NewRobot) granted() (*Grants, error) {
	if r.Grants == nil {
		return grantsOfRole(r.Role)
	}
	if r.Role != rbac.RoleNone {
		return nil, invalid("role", "a robot has a role or grants, not both")
	}
	return r.Grants, r.Grants.check(tokenRobot)
}

// CreateRunner creates the key of a machine that only pulls, from where it has a grant. The secret is returned only here.
// Errors: ErrInvalidInput, ErrNotFound for the project, the context's and the database's.
func (s *Service) CreateRunner(ctx context.Context, r NewRunner) (secret string, token Token, err error) {
	row := tokenRow{
		Kind: tokenRunner, ProjectID: nullUUID(r.ProjectID), Name: r.Name, ExpiresAt: optionalMicros(r.ExpiresAt),
		CreatedBy: r.CreatedBy,
	}
	return s.insertToken(ctx, row, "", runnerPrefix)
}

func (s *Service) insertToken(ctx context.Context, row tokenRow, secret, prefix string) (string, Token, error) {
	secret, row, err := s.completed(row, secret, prefix)
	if err != nil {
		return "", Token{}, err
	}
	if err := s.db.Gorm().WithContext(ctx).Create(&row).Error; err != nil {
		return "", Token{}, translated("create token", err)
	}
	return secret, row.token(), nil
}

// completed fills in what every token has. An empty secret is generated.
func (s *Service) completed(row tokenRow, secret, prefix string) (string, tokenRow, error) {
	if row.Name == "" {
		return "", tokenRow{}, fmt.Errorf("%w: a token needs a name", ErrInvalidInput)
	}
	if err := checkName(row.Name); err != nil {
		return "", tokenRow{}, err
	}
	now := database.ToMicros(s.now())
	if row.ExpiresAt != nil && *row.ExpiresAt <= now {
		return "", tokenRow{}, fmt.Errorf("%w: the token would have expired already", ErrInvalidInput)
	}
	if secret == "" {
		secret = newSecret(prefix)
	} else if err := checkSecret(secret); err != nil {
		return "", tokenRow{}, fmt.Errorf("%w: token secret: %w", ErrInvalidInput, err)
	}
	row.ID, row.SecretHash, row.Hint, row.CreatedAt = newID(), hashSecret(secret).String(), hint(secret), now
	return secret, row, nil
}

var revokeToken = database.SQL(`
	UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
	RETURNING secret_hash`)

// RevokeToken ends a token of any kind, at once on this replica and within the cache's life on others. Revoking it again
// is no error. Errors: ErrNotFound, the context's and the database's.
func (s *Service) RevokeToken(ctx context.Context, id uuid.UUID) error {
	var stored string
	var b database.Batch
	b.Query(func(r database.Rows) error { return r.Scan(&stored) }, revokeToken, id, database.ToMicros(s.now()))
	if err := s.db.Run(ctx, &b); err != nil {
		return fmt.Errorf("auth: revoke token: %w", err)
	}
	if stored == "" {
		return fmt.Errorf("auth: revoke token: %w", ErrNotFound)
	}
	s.byID.Forget(id)
	if hash, err := parseSecretHash(stored); err == nil {
		s.bySecret.Forget(hash)
	}
	return nil
}
