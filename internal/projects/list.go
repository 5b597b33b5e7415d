package projects

import (
	"context"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// ListFilter says which projects a list has.
type ListFilter struct {
	State  rbac.State // "": all but deleted ones
	Prefix string     // of the slug
}

// Membership is a project and what the user is in it.
type Membership struct {
	Project Project
	Role    rbac.Role
}

// List lists the projects that a user is a member of. The key is the project's identifier, in canonical form. Errors: an
// *InputError of the key, the context's and the database's.
func (s *Service) List(ctx context.Context, userID uuid.UUID, filter ListFilter, page database.Page) ([]Membership, error) {
	stmt, args, err := s.listQuery(filter, page, &userID)
	if err != nil || args == nil {
		return []Membership{}, wrapped("list", err)
	}
	found, err := collect(ctx, s.db, func(r database.Rows) (m Membership, err error) {
		m.Project, err = scanProject(r, &m.Role)
		return m, err
	}, stmt, args...)
	return found, wrapped("list", err)
}

// ListAll lists all projects, for administrators. The key is the project's identifier, in canonical form. Errors: an
// *InputError of the key, the context's and the database's.
func (s *Service) ListAll(ctx context.Context, filter ListFilter, page database.Page) ([]Project, error) {
	stmt, args, err := s.listQuery(filter, page, nil)
	if err != nil || args == nil {
		return []Project{}, wrapped("list all", err)
	}
	found, err := collect(ctx, s.db, func(r database.Rows) (Project, error) { return scanProject(r) }, stmt, args...)
	return found, wrapped("list all", err)
}

// listShape is what the statement of a list depends on: each filter has a statement of its own, for an index of its own.
type listShape struct{ member, state, prefix bool }

var listStatements = func() map[listShape]database.Stmt {
	statements := make(map[listShape]database.Stmt)
	for bits := range 8 {
		shape := listShape{member: bits&1 != 0, state: bits&2 != 0, prefix: bits&4 != 0}
		statements[shape] = shape.statement()
	}
	return statements
}()

// statement has the parameters: key, limit, now, and then those of the shape, in the order of its fields.
func (l listShape) statement() database.Stmt {
	n := 3
	next := func() string { n++; return "$" + strconv.Itoa(n) }
	text := strings.Builder{}
	if l.member {
		text.WriteString(`SELECT ` + projectFields + `, m.role FROM members m JOIN projects p ON p.id = m.project_id
			WHERE m.project_id > $1 AND m.user_id = ` + next())
	} else {
		text.WriteString(projectColumns + `WHERE p.id > $1`)
	}
	if l.state {
		text.WriteString(` AND p.state = ` + next())
	} else {
		text.WriteString(` AND p.state <> 'deleted'`)
	}
	if l.prefix {
		text.WriteString(` AND p.slug >= ` + next() + ` AND p.slug < ` + next())
	}
	text.WriteString(` AND (p.state <> 'unclaimed' OR p.expires_at IS NULL OR p.expires_at > $3)`)
	if l.member {
		text.WriteString(` ORDER BY m.project_id`)
	} else {
		text.WriteString(` ORDER BY p.id`)
	}
	return database.SQL(text.String() + ` LIMIT {limit:$2}`)
}

// slugStart is what a slug can begin with. '~' sorts after all that may follow.
var slugStart = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// listQuery gives a statement and its arguments, none if the list is certainly empty.
func (s *Service) listQuery(filter ListFilter, page database.Page, member *uuid.UUID) (database.Stmt, []any, error) {
	after, err := keyID(page)
	if err != nil {
		return database.Stmt{}, nil, err
	}
	if filter.Prefix != "" && !slugStart.MatchString(filter.Prefix) {
		return database.Stmt{}, nil, nil
	}
	args := []any{after, int64(page.Limit), database.ToMicros(s.now())}
	if member != nil {
		args = append(args, *member)
	}
	if filter.State != "" {
		args = append(args, string(filter.State))
	}
	if filter.Prefix != "" {
		args = append(args, filter.Prefix, filter.Prefix+"~")
	}
	return listStatements[listShape{member: member != nil, state: filter.State != "", prefix: filter.Prefix != ""}], args, nil
}

// keyID is the identifier that a page's key spells, Nil for the start. Errors: *InputError.
func keyID(page database.Page) (uuid.UUID, error) {
	if page.After == "" {
		return uuid.Nil, nil
	}
	id, ok := projectID(page.After)
	if !ok {
		return uuid.Nil, &InputError{Field: "after", Reason: "it is no key of this list"}
	}
	return id, nil
}

// collect reads all rows of a query; no rows are an empty slice.
func collect[T any](
	ctx context.Context, db *database.DB, scan func(database.Rows) (T, error), stmt database.Stmt, args ...any,
) ([]T, error) {
	rows, err := db.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, item)
	}
	return found, rows.Err()
}
