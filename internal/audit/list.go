package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// maxMoves bounds the tags that one record tells of.
const maxMoves = 100

// Filter says which entries a list has. What is zero does not matter.
type Filter struct {
	Project uuid.UUID
	Actor   string
	Action  string // the whole, or with a dot at its end the kind of object: robot.
	Outcome string
	Object  string
	// Repository is the path below the project.
	Repository   string
	Since, Until time.Time // from Since on, and before Until
}

// Record is an entry as it was written.
type Record struct {
	ID uuid.UUID
	At time.Time
	Origin
	Entry
	Outcome string
	// Detail is the entry's, JSON; nil: none. It stands before that of Entry.
	Detail json.RawMessage
	// Tags are those that the entry moved, in no order that means anything; the first 100.
	Tags []TagMove
}

// TagMove is what became of a tag.
type TagMove struct {
	Name string
	// Old and New are the digests that it named before and after; empty: it named nothing.
	Old, New string
}

// Log reads the audit log.
type Log struct{ db *database.DB }

// NewLog makes a Log.
func NewLog(db *database.DB) *Log { return &Log{db: db} }

// List lists entries, the newest first. The key is the entry's ID, in canonical form; one that is none begins the list.
// Errors: the context's and the database's.
func (l *Log) List(ctx context.Context, f Filter, page database.Page) ([]Record, error) {
	return l.list(ctx, f, page, false)
}

// Oldest is List with the oldest first.
func (l *Log) Oldest(ctx context.Context, f Filter, page database.Page) ([]Record, error) {
	return l.list(ctx, f, page, true)
}

func (l *Log) list(ctx context.Context, f Filter, page database.Page, oldestFirst bool) ([]Record, error) {
	lower, upper := f.bounds(page.After, oldestFirst)
	shape := listShape{oldestFirst: oldestFirst}
	args := []any{lower, upper, int64(page.Limit), "", f.Outcome, f.Object, f.Repository}
	if f.Project != uuid.Nil {
		shape.project = true
		args = append(args, f.Project)
	}
	if f.Actor != "" {
		shape.actor = true
		args = append(args, f.Actor)
	}
	switch {
	case strings.HasSuffix(f.Action, "."):
		args[3] = f.Action
	case f.Action != "":
		shape.action = true
		args = append(args, f.Action)
	}
	rows, err := l.db.Query(ctx, listStatements[shape], args...)
	if err != nil {
		return nil, fmt.Errorf("audit: list: %w", err)
	}
	defer rows.Close()
	found := []Record{}
	for rows.Next() {
		if found, err = scanRecord(rows, found); err != nil {
			return nil, fmt.Errorf("audit: list: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("audit: list: %w", err)
	}
	return found, nil
}

// bounds are what the IDs lie between, ends excluded.
func (f Filter) bounds(after string, oldestFirst bool) (lower, upper uuid.UUID) {
	upper = uuid.Max
	if !f.Since.IsZero() {
		lower = boundary(f.Since)
	}
	if !f.Until.IsZero() {
		upper = boundary(f.Until)
	}
	key, err := uuid.Parse(after)
	switch {
	case err != nil:
	case oldestFirst && key.String() > lower.String():
		lower = key
	case !oldestFirst && key.String() < upper.String():
		upper = key
	}
	return lower, upper
}

// listShape is what the statement of a list depends on: each has one of its own, for an index of its own.
type listShape struct{ project, actor, action, oldestFirst bool }

var listStatements = func() map[listShape]database.Stmt {
	statements := make(map[listShape]database.Stmt)
	for bits := range 16 {
		shape := listShape{project: bits&1 != 0, actor: bits&2 != 0, action: bits&4 != 0, oldestFirst: bits&8 != 0}
		statements[shape] = shape.statement()
	}
	return statements
}()

const listColumns = `id, at, actor, token_id, session_id, remote_ip, user_agent, request_id, action, outcome, project_id,
	repository, object, detail`

func (s listShape) statement() database.Stmt {
	conditions, next := "", 8
	also := func(column string, wanted bool) {
		if wanted {
			conditions += " AND " + column + " = $" + strconv.Itoa(next)
			next++
		}
	}
	also("project_id", s.project)
	also("actor", s.actor)
	also("action", s.action)
	order := "DESC"
	if s.oldestFirst {
		order = "ASC"
	}
	return database.SQL(`
		WITH page AS MATERIALIZED (
			SELECT ` + listColumns + ` FROM audit_log
			WHERE id > $1 AND id < $2` + conditions + `
			  AND substr(action, 1, length({text:$4})) = {text:$4}
			  AND ({text:$5} = '' OR outcome = {text:$5})
			  AND ({text:$6} = '' OR object = {text:$6})
			  AND ({text:$7} = '' OR repository = {text:$7})
			ORDER BY id ` + order + ` LIMIT {limit:$3})
		SELECT p.id, p.at, p.actor, p.token_id, p.session_id, p.remote_ip, p.user_agent, p.request_id, p.action, p.outcome,
			p.project_id, p.repository, p.object, p.detail, h.tag, h.digest, h.previous_digest
		FROM page p LEFT JOIN (
			SELECT audit_id, id, tag, digest, previous_digest, row_number() OVER (PARTITION BY audit_id ORDER BY id) AS n
			FROM tag_history WHERE audit_id IN (SELECT id FROM page)) AS h
			ON h.audit_id = p.id AND h.n <= ` + strconv.Itoa(maxMoves) + `
		ORDER BY p.id ` + order + `, h.id`)
}

// scanRecord appends a row's record, or its tag to the record of the row before.
func scanRecord(rows database.Rows, found []Record) ([]Record, error) {
	var r Record
	var at int64
	var token, session, project uuid.NullUUID
	var detail string
	var tag, digest, previous sql.Null[string]
	err := rows.Scan(&r.ID, &at, &r.Actor, &token, &session, &r.RemoteIP, &r.UserAgent, &r.RequestID, &r.Action, &r.Outcome,
		&project, &r.Repository, &r.Object, &detail, &tag, &digest, &previous)
	if err != nil {
		return nil, err //nolint:wrapcheck // list does
	}
	if n := len(found); n == 0 || found[n-1].ID != r.ID {
		r.At = database.FromMicros(at)
		r.Token, r.Session, r.Project = token.UUID, session.UUID, project.UUID
		if detail != "" {
			r.Detail = json.RawMessage(detail)
		}
		found = append(found, r)
	}
	if tag.Valid {
		last := &found[len(found)-1]
		last.Tags = append(last.Tags, TagMove{Name: tag.V, Old: previous.V, New: digest.V})
	}
	return found, nil
}
