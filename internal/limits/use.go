package limits

import (
	"context"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// Use is how many things a subject has and may have.
type Use struct {
	// Name is that of the count.
	Name string
	// Used is how many there are; nil where that is not a number of the subject alone, such as the tags of each repository.
	Used *int64
	// Allowed is how many there may be; 0 is any number.
	Allowed int64
}

var (
	allowedOf = database.SQL(`
		SELECT coalesce((SELECT o.value FROM limit_overrides o WHERE o.subject_id = $1 AND o.name = $2), {bigint:$3})`)
	accountOf = database.SQL(`SELECT account_id FROM users WHERE id = $1`)
)

// Used tells how many of everything that can be limited a subject has. Errors: the context's and the database's.
func (s *Store) Used(ctx context.Context, kind Kind, id uuid.UUID) ([]Use, error) {
	uses := []Use{}
	for _, c := range countsOf[kind] {
		use, err := s.used(ctx, c, kind, id)
		if err != nil {
			return nil, err
		}
		uses = append(uses, use)
	}
	return uses, nil
}

// server is what everybody may have of what a count counts.
func (s *Store) server(c *Count) int64 {
	return map[*Count]int64{
		projects: s.Server.Projects, creations: s.Server.UserCreations, uploads: s.Server.Uploads, tags: s.Server.Tags,
		tokens: s.Server.Tokens, sessions: s.Server.Sessions, robots: s.Server.Robots, members: s.Server.Members,
		runnerGrants: s.Server.RunnerGrants,
	}[c]
}

func (s *Store) used(ctx context.Context, c *Count, kind Kind, id uuid.UUID) (Use, error) {
	use := Use{Name: c.Name}
	args, err := s.argsOf(ctx, c, kind, id)
	if err != nil {
		return use, err
	}
	if args == nil {
		err := s.DB.QueryRow(ctx, allowedOf, id, c.Name, s.server(c)).Scan(&use.Allowed)
		return use, err //nolint:wrapcheck // a plain number
	}
	e, err := c.use(ctx, s.DB, append([]any{id, s.server(c)}, args...))
	use.Used, use.Allowed = &e.Used, e.Allowed
	return use, err
}

// argsOf are the arguments of a count after the first two; nil where there is no number of the subject's own.
func (s *Store) argsOf(ctx context.Context, c *Count, kind Kind, id uuid.UUID) ([]any, error) {
	now := s.Clock()
	switch c {
	case projects:
		var account uuid.UUID
		err := s.DB.QueryRow(ctx, accountOf, id).Scan(&account)
		return []any{account, uuid.NullUUID{}}, err //nolint:wrapcheck // a user that is there
	case creations:
		return []any{string(KindUser) + ":" + id.String(), database.ToMicros(now.Add(-Day)), uuid.NullUUID{}}, nil
	case uploads:
		if kind != KindUser {
			return nil, nil // each robot counts by itself
		}
		return []any{string(KindUser) + ":" + id.String(), ""}, nil
	case tags:
		return nil, nil // each repository counts by itself
	case tokens, robots, sessions:
		return []any{database.ToMicros(now)}, nil
	}
	return []any{}, nil
}
