package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
)

// Config holds what a Service needs. All fields are required unless they say otherwise.
type Config struct {
	DB    *database.DB
	Clock func() time.Time
	// TrashLife is how long what was deleted can be brought back.
	TrashLife time.Duration
	// Interval is how often the rules of a project are applied.
	Interval time.Duration
	// MaxRules is the most rules of a project.
	MaxRules int
	// Logger takes what goes wrong in the background.
	Logger *slog.Logger
}

// Service keeps rules, tells what they would do, and does it. It is safe for concurrent use.
type Service struct {
	Config
	stats    counters
	previews chan struct{} // one for each that is under way
}

// maxPreviews is how many previews are under way at once: each has a whole repository in memory.
const maxPreviews = 2

// New makes a Service.
func New(cfg Config) *Service {
	return &Service{Config: cfg, previews: make(chan struct{}, maxPreviews)}
}

func (s *Service) now() int64 { return database.ToMicros(s.Clock()) }

const ruleColumns = `SELECT id, repository_pattern, tag_pattern, coalesce(keep_last, 0), coalesce(keep_pushed, 0),
	coalesce(keep_pulled, 0), keep_tags, coalesce(untagged_after, 0), enabled, version, created_by, created_at, updated_at
	FROM retention_rules `

var (
	roomForRule = database.SQL(`SELECT 1 WHERE (SELECT count(*) FROM retention_rules WHERE project_id = $1) < {bigint:$2}`)
	lockProject = database.SQL(`SELECT 1 FROM projects WHERE id = $1 {update}`)
	insertRule  = database.SQL(`
		INSERT INTO retention_rules (id, project_id, repository_pattern, tag_pattern, keep_last, keep_pushed, keep_pulled,
			keep_tags, untagged_after, enabled, created_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, nullif({bigint:$5}, 0), nullif({bigint:$6}, 0), nullif({bigint:$7}, 0), $8,
			nullif({bigint:$9}, 0), $10, $11, $12, $12)`)
	// The rules of a project are applied for the first time an interval after the first one was made.
	schedule = database.SQL(`
		INSERT INTO retention_schedule (project_id, next_run_at) VALUES ($1, $2) ON CONFLICT (project_id) DO NOTHING`)
	lockRule    = database.SQL(`SELECT 1 FROM retention_rules WHERE project_id = $1 AND id = $2 {update}`)
	thisVersion = database.SQL(`SELECT 1 FROM retention_rules WHERE id = $1 AND version = $2`)
	updateRule  = database.SQL(`
		UPDATE retention_rules SET repository_pattern = $2, tag_pattern = $3, keep_last = nullif({bigint:$4}, 0),
			keep_pushed = nullif({bigint:$5}, 0), keep_pulled = nullif({bigint:$6}, 0), keep_tags = $7,
			untagged_after = nullif({bigint:$8}, 0), enabled = $9, version = version + 1, updated_at = $10
		WHERE id = $1`)
	deleteRule = database.SQL(`DELETE FROM retention_rules WHERE id = $1`)
	getRule    = database.SQL(ruleColumns + `WHERE project_id = $1 AND id = $2`)
	firstRules = database.SQL(ruleColumns + `WHERE project_id = $1 ORDER BY id LIMIT {limit:$2}`)
	nextRules  = database.SQL(ruleColumns + `WHERE project_id = $1 AND id > {uuid:$3} ORDER BY id LIMIT {limit:$2}`)
)

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// Create makes a rule. Errors: *content.InputError, content.ErrTooManyRules, those of the guard, the context's and the
// database's.
func (s *Service) Create(ctx context.Context, project uuid.UUID, r Rule, guard content.Guard) (Rule, error) {
	if err := check(r); err != nil {
		return Rule{}, err
	}
	now := s.now()
	r.ID, r.Version = uuid.Must(uuid.NewV7()), 1
	r.CreatedAt, r.UpdatedAt = database.FromMicros(now), database.FromMicros(now)
	b := content.BeginAlone(guard, project)
	b.Require(content.ErrTooManyRules, roomForRule, project, int64(s.MaxRules))
	b.Exec(insertRule, r.ID, project, r.Repositories, r.Tags, r.KeepLast, seconds(r.KeepPushed), seconds(r.KeepPulled), r.KeepTags,
		seconds(r.UntaggedAfter), r.Enabled, r.CreatedBy, now)
	b.Exec(schedule, project, database.ToMicros(s.Clock().Add(s.Interval)))
	audit.Append(ctx, b, audit.Entry{Action: audit.RetentionRuleCreate, Project: project, Object: r.ID.String(), Detail: detailOf(r)})
	if err := s.DB.Run(ctx, b); err != nil {
		return Rule{}, fmt.Errorf("create retention rule: %w", err)
	}
	return r, nil
}

// Replace makes a rule what r is, if it has the version ifVersion (0: any). Errors: content.ErrNotFound, ErrVersion and those
// of Create.
func (s *Service) Replace(ctx context.Context, project uuid.UUID, r Rule, ifVersion int64, guard content.Guard) (Rule, error) {
	if err := check(r); err != nil {
		return Rule{}, err
	}
	b := s.begin(project, r.ID, ifVersion, guard)
	b.Exec(updateRule, r.ID, r.Repositories, r.Tags, r.KeepLast, seconds(r.KeepPushed), seconds(r.KeepPulled), r.KeepTags,
		seconds(r.UntaggedAfter), r.Enabled, s.now())
	audit.Append(ctx, b, audit.Entry{Action: audit.RetentionRuleChange, Project: project, Object: r.ID.String(), Detail: detailOf(r)})
	b.Query(func(rows database.Rows) (err error) {
		r, err = scanRule(rows)
		return err
	}, getRule, project, r.ID)
	if err := s.DB.Run(ctx, b); err != nil {
		return Rule{}, fmt.Errorf("replace retention rule: %w", err)
	}
	return r, nil
}

// Delete ends a rule, if it has the version ifVersion (0: any). Errors: content.ErrNotFound, ErrVersion, those of the guard,
// the context's and the database's.
func (s *Service) Delete(ctx context.Context, project, id uuid.UUID, ifVersion int64, guard content.Guard) error {
	b := s.begin(project, id, ifVersion, guard)
	b.Exec(deleteRule, id)
	audit.Append(ctx, b, audit.Entry{Action: audit.RetentionRuleDelete, Project: project, Object: id.String()})
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("delete retention rule: %w", err)
	}
	return nil
}

// begin is how the change of a rule begins.
func (s *Service) begin(project, id uuid.UUID, ifVersion int64, guard content.Guard) *database.Batch {
	b := content.BeginAlone(guard, project)
	b.Require(content.ErrNotFound, lockRule, project, id)
	if ifVersion != 0 {
		b.Require(ErrVersion, thisVersion, id, ifVersion)
	}
	return b
}

// detailOf is a rule as the audit log has it.
func detailOf(r Rule) map[string]any {
	return map[string]any{
		"repositories": r.Repositories, "tags": r.Tags, "keep_last": r.KeepLast, "keep_pushed_hours": hours(r.KeepPushed),
		"keep_pulled_hours": hours(r.KeepPulled), "keep_tags": r.KeepTags, "untagged_hours": hours(r.UntaggedAfter), "enabled": r.Enabled,
	}
}

// Get gives one rule. Errors: content.ErrNotFound, the context's and the database's.
func (s *Service) Get(ctx context.Context, project, id uuid.UUID) (Rule, error) {
	r, err := scanRule(s.DB.QueryRow(ctx, getRule, project, id))
	if errors.Is(err, database.ErrNoRows) {
		err = content.ErrNotFound
	}
	if err != nil {
		return Rule{}, fmt.Errorf("get retention rule: %w", err)
	}
	return r, nil
}

// List lists the rules of a project. The key is the ID. Errors: *content.InputError for a key that is none, the context's and
// the database's.
func (s *Service) List(ctx context.Context, project uuid.UUID, page database.Page) ([]Rule, error) {
	stmt, args := firstRules, []any{project, int64(page.Limit)}
	if page.After != "" {
		id, err := uuid.Parse(page.After)
		if err != nil {
			return nil, &content.InputError{Field: "after", Reason: "is not of this list"}
		}
		stmt, args = nextRules, append(args, id)
	}
	rules, err := collect(ctx, s.DB, func(r database.Rows) (Rule, error) { return scanRule(r) }, stmt, args...)
	if err != nil {
		return nil, fmt.Errorf("list retention rules: %w", err)
	}
	return rules, nil
}

func scanRule(row interface{ Scan(dest ...any) error }) (Rule, error) {
	var r Rule
	var pushed, pulled, untagged, created, updated int64
	err := row.Scan(&r.ID, &r.Repositories, &r.Tags, &r.KeepLast, &pushed, &pulled, &r.KeepTags, &untagged, &r.Enabled, &r.Version,
		&r.CreatedBy, &created, &updated)
	if err != nil {
		return Rule{}, err //nolint:wrapcheck // by the callers
	}
	r.KeepPushed, r.KeepPulled = time.Duration(pushed)*time.Second, time.Duration(pulled)*time.Second
	r.UntaggedAfter = time.Duration(untagged) * time.Second
	r.CreatedAt, r.UpdatedAt = database.FromMicros(created), database.FromMicros(updated)
	return r, nil
}

// collect reads all rows of a statement.
func collect[T any](
	ctx context.Context, db *database.DB, scan func(database.Rows) (T, error), stmt database.Stmt, args ...any,
) ([]T, error) {
	rows, err := db.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err //nolint:wrapcheck // by the callers
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err() //nolint:wrapcheck // by the callers
}
