package content

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content/pattern"
)

// Why rules are refused.
var (
	// ErrTooManyRules says that the project has as many rules of the kind as it may.
	ErrTooManyRules = errors.New("the project has too many rules")
	// ErrRuleExists says that the project has the same rule already.
	ErrRuleExists = errors.New("there is such a rule already")
)

// TagRule makes tags immutable: one that names something neither moves nor goes.
type TagRule struct {
	// ID is a UUIDv7.
	ID uuid.UUID
	// Repositories is a pattern of paths below the project, Tags one of tags; see the package pattern.
	Repositories, Tags string
	// CreatedBy is the principal.
	CreatedBy string
	// CreatedAt is when.
	CreatedAt time.Time
}

const tagRuleColumns = `SELECT id, repository_pattern, tag_pattern, created_by, created_at FROM tag_rules `

var (
	roomForTagRule = database.SQL(`
		SELECT 1 WHERE (SELECT count(*) FROM tag_rules WHERE project_id = $1 AND kind = 'immutable') < {bigint:$2}`)
	insertTagRule = database.SQL(`
		INSERT INTO tag_rules (id, project_id, kind, repository_pattern, repository_expression, tag_pattern, tag_expression,
			created_by, created_at)
		VALUES ($1, $2, 'immutable', $3, $4, $5, $6, $7, $8)`)
	deleteTagRule = database.SQL(`DELETE FROM tag_rules WHERE project_id = $1 AND id = $2 AND kind = 'immutable' RETURNING 1`)
	getTagRule    = database.SQL(tagRuleColumns + `WHERE project_id = $1 AND id = $2 AND kind = 'immutable'`)
	firstTagRules = database.SQL(tagRuleColumns + `WHERE project_id = $1 AND kind = 'immutable' ORDER BY id LIMIT {limit:$2}`)
	nextTagRules  = database.SQL(tagRuleColumns + `WHERE project_id = $1 AND kind = 'immutable' AND id > {uuid:$3} ORDER BY id LIMIT {limit:$2}`)
)

// parsePattern checks a field that is a pattern.
func parsePattern(field, text string, parse func(string) (pattern.Pattern, error)) (pattern.Pattern, error) {
	p, err := parse(text)
	if err != nil {
		return pattern.Pattern{}, &InputError{Field: field, Reason: err.Error()}
	}
	return p, nil
}

// CreateTagRule makes tags immutable, from its answer on. It returns *InputError for what is no pattern, ErrRuleExists and
// ErrTooManyRules.
func (s *Store) CreateTagRule(ctx context.Context, project uuid.UUID, r TagRule, guard Guard) (TagRule, error) {
	repositories, err := parsePattern("repositories", r.Repositories, pattern.Parse)
	if err != nil {
		return TagRule{}, err
	}
	tags, err := parsePattern("tags", r.Tags, pattern.ParseTags)
	if err != nil {
		return TagRule{}, err
	}
	r.ID, r.CreatedAt = uuid.Must(uuid.NewV7()), database.FromMicros(s.now())
	b := BeginAlone(guard, project)
	b.Require(ErrTooManyRules, roomForTagRule, project, int64(s.MaxRules))
	b.Exec(insertTagRule, r.ID, project, r.Repositories, repositories.Expression(), r.Tags, tags.Expression(), r.CreatedBy, s.now())
	audit.Append(ctx, b, audit.Entry{
		Action: audit.TagRuleCreate, Project: project, Object: r.ID.String(),
		Detail: map[string]string{"repositories": r.Repositories, "tags": r.Tags},
	})
	err = s.DB.Run(ctx, b)
	if errors.Is(err, database.ErrConflict) {
		err = ErrRuleExists
	}
	if err != nil {
		return TagRule{}, fmt.Errorf("create tag rule: %w", err)
	}
	return r, nil
}

// DeleteTagRule ends a rule. It returns ErrNotFound where the project has none of the ID.
func (s *Store) DeleteTagRule(ctx context.Context, project, id uuid.UUID, guard Guard) error {
	b := BeginAlone(guard, project)
	b.Require(ErrNotFound, deleteTagRule, project, id)
	audit.Append(ctx, b, audit.Entry{Action: audit.TagRuleDelete, Project: project, Object: id.String()})
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("delete tag rule: %w", err)
	}
	return nil
}

// TagRule gives one rule, or ErrNotFound.
func (s *Store) TagRule(ctx context.Context, project, id uuid.UUID) (TagRule, error) {
	r, err := scanTagRule(s.DB.QueryRow(ctx, getTagRule, project, id))
	if errors.Is(err, database.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return TagRule{}, fmt.Errorf("get tag rule: %w", err)
	}
	return r, nil
}

// TagRules lists the rules of a project. The key is the ID. It returns *InputError for a key that is none.
func (s *Store) TagRules(ctx context.Context, project uuid.UUID, page database.Page) ([]TagRule, error) {
	stmt, args := firstTagRules, []any{project, int64(page.Limit)}
	if page.After != "" {
		id, err := uuid.Parse(page.After)
		if err != nil {
			return nil, &InputError{Field: "after", Reason: "is not of this list"}
		}
		stmt, args = nextTagRules, append(args, id)
	}
	rows, err := s.DB.Query(ctx, stmt, args...)
	if err != nil {
		return nil, fmt.Errorf("list tag rules: %w", err)
	}
	defer rows.Close()
	rules := []TagRule{}
	for rows.Next() {
		r, err := scanTagRule(rows)
		if err != nil {
			return nil, fmt.Errorf("list tag rules: %w", err)
		}
		rules = append(rules, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list tag rules: %w", err)
	}
	return rules, nil
}

func scanTagRule(row interface{ Scan(dest ...any) error }) (TagRule, error) {
	var r TagRule
	var at int64
	if err := row.Scan(&r.ID, &r.Repositories, &r.Tags, &r.CreatedBy, &at); err != nil {
		return TagRule{}, err
	}
	r.CreatedAt = database.FromMicros(at)
	return r, nil
}
