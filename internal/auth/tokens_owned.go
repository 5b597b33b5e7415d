package auth

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Owner is whom a token belongs to. For every other owner it is as if there were no such token.
type Owner struct {
	kind          string
	user, project uuid.NullUUID
}

// ByUser owns the personal tokens of a user.
func ByUser(id uuid.UUID) Owner {
	return Owner{kind: TokenPersonal, user: uuid.NullUUID{UUID: id, Valid: true}}
}

// ByProject owns the tokens of a kind, TokenRobot or TokenRunner, of a project.
func ByProject(kind string, id uuid.UUID) Owner {
	return Owner{kind: kind, project: uuid.NullUUID{UUID: id, Valid: true}}
}

// ByServer owns the runners that belong to no project.
func ByServer() Owner { return Owner{kind: TokenRunner} }

// Tokens lists the personal tokens of a user that are not revoked, the newest last. Its key is the id. Errors:
// ErrInvalidInput for the page, the context's and the database's.
func (s *Service) Tokens(ctx context.Context, userID uuid.UUID, page database.Page) ([]Token, error) {
	return s.owned(ctx, ByUser(userID), page)
}

// Robots lists the CI tokens of a project as Tokens does.
func (s *Service) Robots(ctx context.Context, projectID uuid.UUID, page database.Page) ([]Token, error) {
	return s.owned(ctx, ByProject(TokenRobot, projectID), page)
}

// Runners lists the runners of a project, or with Nil those of the server, as Tokens does.
func (s *Service) Runners(ctx context.Context, projectID uuid.UUID, page database.Page) ([]Token, error) {
	if projectID == uuid.Nil {
		return s.owned(ctx, ByServer(), page)
	}
	return s.owned(ctx, ByProject(TokenRunner, projectID), page)
}

func (s *Service) owned(ctx context.Context, owner Owner, page database.Page) ([]Token, error) {
	query, err := paged(s.db.Gorm().WithContext(ctx), page)
	if err != nil {
		return nil, err
	}
	var rows []tokenRow
	if err := owner.scope(query).Where("revoked_at IS NULL").Find(&rows).Error; err != nil {
		return nil, translated("list tokens", err)
	}
	tokens := make([]Token, len(rows))
	for i, row := range rows {
		if tokens[i], err = row.token(); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

// Token gives one token of an owner, also a revoked one. Errors: ErrNotFound, the context's and the database's.
func (s *Service) Token(ctx context.Context, owner Owner, id uuid.UUID) (Token, error) {
	var row tokenRow
	err := owner.scope(s.db.Gorm().WithContext(ctx)).Where("id = ?", id).Take(&row).Error
	if err != nil {
		return Token{}, translated("token", err)
	}
	return row.token()
}

// scope limits a query to what the owner has. The zero owner has nothing.
func (o Owner) scope(query *gorm.DB) *gorm.DB {
	query = query.Where("kind = ?", o.kind)
	if o.user.Valid {
		query = query.Where("user_id = ?", o.user.UUID)
	}
	if o.project.Valid {
		return query.Where("project_id = ?", o.project.UUID)
	}
	return query.Where("project_id IS NULL")
}

// paged orders a query by id and cuts it to a page. Errors: ErrInvalidInput.
func paged(query *gorm.DB, page database.Page) (*gorm.DB, error) {
	if page.After != "" {
		after, err := uuid.Parse(page.After)
		if err != nil {
			return nil, invalid("after", "not the key of an item")
		}
		query = query.Where("id > ?", after)
	}
	return query.Order("id").Limit(max(page.Limit, 0)), nil
}

var (
	lockToken      = database.SQL(`SELECT 1 FROM tokens WHERE id = $1 {update}`)
	lockOwnedToken = database.SQL(`
		SELECT 1 FROM tokens
		WHERE id = $1 AND kind = $2 AND user_id IS NOT DISTINCT FROM $3 AND project_id IS NOT DISTINCT FROM $4
		{update}`)
	revokeToken = database.SQL(`
		UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
		RETURNING secret_hash`)
	endSessionsOfToken = database.SQL(`
		UPDATE sessions SET revoked_at = $2 WHERE token_id = $1 AND revoked_at IS NULL
		RETURNING secret_hash`)
)

// Revoke ends a token of an owner and the sessions that were opened with it, at once on this replica and within the
// cache's life on others. Revoking it again is no error. Errors: ErrNotFound, also for another owner's; the guard's, the
// context's and the database's.
func (s *Service) Revoke(ctx context.Context, guard func(*database.Batch), owner Owner, id uuid.UUID) error {
	return s.RevokeAnd(ctx, guard, owner, id, nil)
}

// RevokeAnd is Revoke, and does in the same transaction what also adds; nil: nothing.
func (s *Service) RevokeAnd(
	ctx context.Context, guard func(*database.Batch), owner Owner, id uuid.UUID, also func(*database.Batch),
) error {
	var b database.Batch
	if owner.user.Valid {
		b.Exec(lockToken, id) // before the guard, which may share it: a token can end itself
	}
	guarded(&b, guard)
	b.Require(ErrNotFound, lockOwnedToken, id, owner.kind, owner.user, owner.project)
	guarded(&b, also)
	audit.Append(ctx, &b, owner.revoked(id))
	return s.revoke(ctx, &b, id)
}

// revoked is the entry of a revocation in the audit log.
func (o Owner) revoked(id uuid.UUID) audit.Entry {
	action := map[string]string{
		TokenPersonal: audit.TokenRevoke, TokenRobot: audit.RobotRevoke, TokenRunner: audit.RunnerRemove,
	}[o.kind]
	return audit.Entry{Action: action, Project: o.project.UUID, Object: id.String()}
}

// RevokeToken is Revoke for the operator, whoever owns the token.
func (s *Service) RevokeToken(ctx context.Context, id uuid.UUID) error {
	var b database.Batch
	b.Require(ErrNotFound, lockToken, id)
	audit.Append(ctx, &b, audit.Entry{Action: audit.TokenRevoke, Object: id.String()})
	return s.revoke(ctx, &b, id)
}

func (s *Service) revoke(ctx context.Context, b *database.Batch, id uuid.UUID) error {
	now := database.ToMicros(s.now())
	var ended ended
	b.Query(ended.token(id), revokeToken, id, now)
	b.Query(ended.session, endSessionsOfToken, id, now)
	if err := s.db.Run(ctx, b); err != nil {
		return fmt.Errorf("auth: revoke token: %w", err)
	}
	s.forget(ended)
	return nil
}
