package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/rbac"
)

// Kinds of tokens, as the database stores them.
const (
	TokenPersonal = "personal"
	TokenRobot    = "robot"
	TokenRunner   = "runner"
)

// Token describes a registry token. Its secret is not kept.
type Token struct {
	ID         uuid.UUID
	Kind       string    // TokenPersonal, TokenRobot or TokenRunner
	UserID     uuid.UUID // of a personal token
	ProjectID  uuid.UUID // of a robot, and of a runner that belongs to one project
	Name       string
	Hint       string  // the first characters of the secret
	Grants     *Grants // nil: all that its owner may do
	CreatedBy  string  // the principal
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // sampled; zero: not yet
	RevokedAt  time.Time // zero: it is not revoked
}

// NewToken is what CreateToken needs.
type NewToken struct {
	UserID    uuid.UUID // the owner; Nil: the one with Email
	Email     string    // of the owner
	Name      string
	Grants    *Grants               // nil: all that the owner may do
	ExpiresAt time.Time             // zero: never
	Secret    string                // "" to generate one
	Guard     func(*database.Batch) // what must hold in the same transaction; nil: nothing
}

// NewRobot is what CreateRobot needs.
type NewRobot struct {
	ProjectID uuid.UUID
	Name      string
	Role      rbac.Role             // developer (pull and push) or viewer (pull); instead of Grants
	Grants    *Grants               // what of the project it may do; instead of Role
	ExpiresAt time.Time             // zero: never
	CreatedBy string                // the principal
	Guard     func(*database.Batch) // what must hold in the same transaction; nil: nothing
}

// NewRunner is what CreateRunner needs.
type NewRunner struct {
	ProjectID uuid.UUID // Nil: a runner of the server, for any project that grants it
	Name      string
	ExpiresAt time.Time             // zero: never
	CreatedBy string                // the principal
	Guard     func(*database.Batch) // what must hold in the same transaction; nil: nothing
	// Also adds what else is to be done about the new runner in the same transaction; nil: nothing.
	Also func(b *database.Batch, id uuid.UUID)
}

// CreateToken creates a personal token. The secret is returned only here. Errors: ErrInvalidInput, ErrNotFound for the
// owner, ErrExists for a given secret, limits.ErrExceeded, the guard's, the context's and the database's.
func (s *Service) CreateToken(ctx context.Context, t NewToken) (secret string, token Token, err error) {
	if t.UserID == uuid.Nil {
		owner, err := s.userByEmail(ctx, t.Email)
		if err != nil {
			return "", Token{}, err
		}
		t.UserID = owner.ID
	}
	return s.insertToken(ctx, t.Guard, nil, t.Grants, tokenRow{
		Kind: TokenPersonal, UserID: nullUUID(t.UserID), Name: t.Name, ExpiresAt: optionalMicros(t.ExpiresAt),
		CreatedBy: Principal{Kind: rbac.KindUser, ID: t.UserID}.String(),
	}, t.Secret, personalPrefix)
}

// CreateRobot creates the CI token of a project. The secret is returned only here. Errors: ErrInvalidInput, ErrNotFound
// for the project, the guard's, the context's and the database's.
func (s *Service) CreateRobot(ctx context.Context, r NewRobot) (secret string, token Token, err error) {
	grants, err := r.granted()
	if err != nil {
		return "", Token{}, err
	}
	return s.insertToken(ctx, r.Guard, nil, grants, tokenRow{
		Kind: TokenRobot, ProjectID: uuid.NullUUID{UUID: r.ProjectID, Valid: true}, Name: r.Name,
		ExpiresAt: optionalMicros(r.ExpiresAt), CreatedBy: r.CreatedBy,
	}, "", robotPrefix)
}

// granted are the robot's grants, however they were given. Errors: ErrInvalidInput.
func (r NewRobot) granted() (*Grants, error) {
	if r.Grants == nil {
		return grantsOfRole(r.Role)
	}
	if r.Role != rbac.RoleNone {
		return nil, invalid("role", "a robot has a role or grants, not both")
	}
	return r.Grants, nil
}

// CreateRunner creates the key of a machine that only pulls, from where it has a grant. The secret is returned only here.
// Errors: ErrInvalidInput, ErrNotFound for the project, the guard's, the context's and the database's.
func (s *Service) CreateRunner(ctx context.Context, r NewRunner) (secret string, token Token, err error) {
	return s.insertToken(ctx, r.Guard, r.Also, nil, tokenRow{
		Kind: TokenRunner, ProjectID: nullUUID(r.ProjectID), Name: r.Name, ExpiresAt: optionalMicros(r.ExpiresAt),
		CreatedBy: r.CreatedBy,
	}, "", runnerPrefix)
}

var insertToken = database.SQL(`
	INSERT INTO tokens (id, kind, user_id, project_id, name, secret_hash, hint, grants, created_by, created_at, expires_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`)

// values are the parameters of insertToken.
func (row tokenRow) values() []any {
	return []any{
		row.ID, row.Kind, row.UserID, row.ProjectID, row.Name, row.SecretHash, row.Hint, row.Grants,
		row.CreatedBy, row.CreatedAt, row.ExpiresAt,
	}
}

func (s *Service) insertToken(
	ctx context.Context, guard func(*database.Batch), also func(*database.Batch, uuid.UUID), grants *Grants, row tokenRow,
	secret, prefix string,
) (string, Token, error) {
	if err := grants.check(row.Kind); err != nil {
		return "", Token{}, err
	}
	var err error
	if row.Grants, err = grants.format(); err != nil {
		return "", Token{}, err
	}
	secret, row, err = s.completed(row, secret, prefix)
	if err != nil {
		return "", Token{}, err
	}
	var b database.Batch
	guarded(&b, guard)
	b.Exec(insertToken, row.values()...)
	audit.Append(ctx, &b, row.created(grants))
	switch row.Kind {
	case TokenPersonal:
		s.opts.Limits.RequireTokens(&b, row.UserID.UUID, s.now())
	case TokenRobot:
		s.opts.Limits.RequireRobots(&b, row.ProjectID.UUID, s.now())
	}
	if also != nil {
		also(&b, row.ID)
	}
	if err := s.db.Run(ctx, &b); err != nil {
		return "", Token{}, translated("create token", limits.Explain(ctx, s.db, err))
	}
	token, err := row.token()
	return secret, token, err
}

// tokenDetail is what the audit log tells of a new token.
type tokenDetail struct {
	Name      string     `json:"name"`
	Owner     *uuid.UUID `json:"owner,omitempty"`      // the user
	Grants    *Grants    `json:"grants,omitempty"`     // without them: all that its owner may do
	ExpiresAt *time.Time `json:"expires_at,omitempty"` // without it: never
}

// created is the entry of a new token in the audit log.
func (row tokenRow) created(grants *Grants) audit.Entry {
	detail := tokenDetail{Name: row.Name, Grants: grants}
	if row.UserID.Valid {
		detail.Owner = &row.UserID.UUID
	}
	if row.ExpiresAt != nil {
		at := database.FromMicros(*row.ExpiresAt)
		detail.ExpiresAt = &at
	}
	action := map[string]string{
		TokenPersonal: audit.TokenCreate, TokenRobot: audit.RobotCreate, TokenRunner: audit.RunnerCreate,
	}[row.Kind]
	return audit.Entry{Action: action, Project: row.ProjectID.UUID, Object: row.ID.String(), Detail: detail}
}

// completed fills in what every token has. An empty secret is generated.
func (s *Service) completed(row tokenRow, secret, prefix string) (string, tokenRow, error) {
	if row.Name == "" {
		return "", tokenRow{}, invalid("name", "a token needs a name")
	}
	if err := checkName(row.Name); err != nil {
		return "", tokenRow{}, err
	}
	now := database.ToMicros(s.now())
	if row.ExpiresAt != nil && *row.ExpiresAt <= now {
		return "", tokenRow{}, invalid("expires_at", "the token would have expired already")
	}
	if secret == "" {
		secret = newSecret(prefix)
	} else if err := checkSecret(secret); err != nil {
		return "", tokenRow{}, fmt.Errorf("%w: token secret: %w", ErrInvalidInput, err)
	}
	row.ID, row.SecretHash, row.Hint, row.CreatedAt = newID(), hashSecret(secret).String(), hint(secret), now
	return secret, row, nil
}

// guarded adds what a caller wants to hold, if anything.
func guarded(b *database.Batch, guard func(*database.Batch)) {
	if guard != nil {
		guard(b)
	}
}
