package content

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

// ErrImmutable says that a rule of the project lets a tag neither move nor go.
var ErrImmutable = errors.New("the tag is immutable")

// ImmutableError is an ErrImmutable that names the tag and the rule.
type ImmutableError struct {
	// Tag is the tag, or the first of several.
	Tag string
	// Repositories and Tags are the patterns of the rule.
	Repositories, Tags string
}

// Error implements error, in words for clients.
func (e *ImmutableError) Error() string {
	if e.Tag == "" {
		return "a tag is immutable by a rule of the project"
	}
	return fmt.Sprintf("the tag %q is immutable: by a rule of the project for tags %q in repositories %q", e.Tag, e.Tags, e.Repositories)
}

// Unwrap returns ErrImmutable.
func (e *ImmutableError) Unwrap() error { return ErrImmutable }

// Rules are asked for in the transaction of every change: its guard shares the project's row, which a change of the rules
// locks for update. So a rule is in force from its answer on, and no transaction sees half of it.
//
// ruleOfRepository is whether the rule k is about the repository r of the project $1; ruled, whether a rule is about its
// tag t.
const (
	ruleOfRepository = `k.project_id = $1 AND k.kind = 'immutable' AND r.path {matches} k.repository_expression`
	ruled            = `EXISTS (SELECT 1 FROM tag_rules k WHERE ` + ruleOfRepository + ` AND t.name {matches} k.tag_expression)`
	liveTags         = `FROM repositories r JOIN tags t ON t.repository_id = r.id AND t.deleted_at IS NULL
		WHERE r.project_id = $1 AND r.path = $2`
)

// above begins a statement that reads which indexes of the repository a manifest is in, directly or through others.
func above(digest string) string {
	return `WITH RECURSIVE above(digest) AS (
		SELECT c.parent_digest FROM manifest_children c WHERE c.repository_id = ` + thisRepository + ` AND c.child_digest = ` + digest + `
		UNION
		SELECT c.parent_digest FROM above a
		JOIN manifest_children c ON c.repository_id = ` + thisRepository + ` AND c.child_digest = a.digest) `
}

var (
	requireFreeTags = database.SQL(`SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM repositories r, {each:$3}
		WHERE r.project_id = $1 AND r.path = $2 AND (SELECT 1 FROM tags t WHERE t.repository_id = r.id AND t.name = each.value
			AND t.deleted_at IS NULL AND t.digest <> $4 AND ` + ruled + `) = 1)`)
	// What an immutable tag names must stay whole: an index without its manifests is none.
	requireFreeManifest = database.SQL(above("{text:$3}") + `SELECT 1 WHERE NOT EXISTS (SELECT 1 ` + liveTags + `
		AND (t.digest = $3 OR t.digest IN (SELECT digest FROM above)) AND ` + ruled + `)`)
	requireFreeRepository = database.SQL(`SELECT 1 WHERE NOT EXISTS (SELECT 1 ` + liveTags + ` AND ` + ruled + `)`)

	findRuled = database.SQL(above("{text:$4}") + `
		SELECT t.name, k.repository_pattern, k.tag_pattern
		FROM repositories r
		JOIN tags t ON t.repository_id = r.id AND t.deleted_at IS NULL
		JOIN tag_rules k ON ` + ruleOfRepository + ` AND t.name {matches} k.tag_expression
		WHERE r.project_id = $1 AND r.path = $2
		  AND ({text:$3} = '[]' OR t.name IN (SELECT each.value FROM {each:$3}))
		  AND ({text:$4} = '' OR t.digest = $4 OR t.digest IN (SELECT digest FROM above)) AND ({text:$5} = '' OR t.digest <> $5)
		ORDER BY t.name, k.id LIMIT 1`)
)

// requireMovable adds to b that no rule keeps tags from naming d ("": nothing) from now on. What names d already, or
// nothing, may always. The batch fails with ErrImmutable. It comes after the locks of the tags.
func requireMovable(b *database.Batch, p Place, tags []string, d digest.Digest) {
	if len(tags) > 0 {
		b.Require(ErrImmutable, requireFreeTags, p.Project, p.Path, database.Strings(tags), string(d))
	}
}

// asked is which tags a change asked to move or to go, to find the one that may not.
type asked struct {
	names  []string      // none: all
	naming digest.Digest // empty: anything
	butNot digest.Digest // empty: anything
}

// tagsMoved are tags that were to name d, which is empty for nothing.
func tagsMoved(names []string, d digest.Digest) asked { return asked{names: names, butNot: d} }

// tagsOf are those that name d, or an index that it is in.
func tagsOf(d digest.Digest) asked { return asked{naming: d} }

// explainImmutable names the tag and the rule of an ErrImmutable, if the rule is still there.
func (s *Store) explainImmutable(ctx context.Context, p Place, a asked) error {
	refused := &ImmutableError{}
	err := s.DB.QueryRow(ctx, findRuled, p.Project, p.Path, database.Strings(a.names), string(a.naming), string(a.butNot)).
		Scan(&refused.Tag, &refused.Repositories, &refused.Tags)
	if err != nil && !errors.Is(err, database.ErrNoRows) {
		return fmt.Errorf("find the rule of an immutable tag: %w", err)
	}
	return refused
}
