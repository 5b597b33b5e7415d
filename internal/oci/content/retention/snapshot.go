package retention

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
)

// place is a repository that rules are applied to.
type place struct {
	id      uuid.UUID
	project uuid.UUID
	path    string
}

// state is what tells whether a repository has changed: what is pushed, moved, deleted or restored changes it.
type state struct{ tags, moved, manifests, pushed int64 }

func (s *state) scan(rows database.Rows) error {
	return rows.Scan(&s.tags, &s.moved, &s.manifests, &s.pushed) //nolint:wrapcheck // by the callers
}

const (
	stateColumns = `
		(SELECT count(*) FROM tags WHERE repository_id = $1 AND deleted_at IS NULL) AS tags,
		(SELECT coalesce(max(updated_at), 0) FROM tags WHERE repository_id = $1 AND deleted_at IS NULL) AS moved,
		(SELECT count(*) FROM manifests WHERE repository_id = $1 AND deleted_at IS NULL) AS manifests,
		(SELECT coalesce(max(pushed_at), 0) FROM manifests WHERE repository_id = $1 AND deleted_at IS NULL) AS pushed`
	immutable = `EXISTS (SELECT 1 FROM repositories r JOIN tag_rules k ON k.project_id = r.project_id AND k.kind = 'immutable'
		AND r.path {matches} k.repository_expression
		WHERE r.id = tags.repository_id AND tags.name {matches} k.tag_expression)`
)

var (
	listPlaces = database.SQL(`
		SELECT id, path FROM repositories WHERE project_id = $1 AND deleted_at IS NULL AND id > {uuid:$2} ORDER BY id LIMIT {limit:$3}`)
	readState = database.SQL(`SELECT ` + stateColumns)
	readTags  = database.SQL(`
		SELECT name, digest, updated_at, CASE WHEN ` + immutable + ` THEN 1 ELSE 0 END FROM tags
		WHERE repository_id = $1 AND deleted_at IS NULL`)
	readManifests = database.SQL(`
		SELECT digest, coalesce(subject_digest, ''), pushed_at, coalesce(last_pulled_at, 0), coalesce(total_size, size)
		FROM manifests WHERE repository_id = $1 AND deleted_at IS NULL`)
	readChildren = database.SQL(`
		SELECT c.parent_digest, c.child_digest FROM manifest_children c
		JOIN manifests p ON p.repository_id = c.repository_id AND p.digest = c.parent_digest AND p.deleted_at IS NULL
		JOIN manifests m ON m.repository_id = c.repository_id AND m.digest = c.child_digest AND m.deleted_at IS NULL
		WHERE c.repository_id = $1`)
)

// placesPage is how many repositories are listed at a time.
const placesPage = 500

// places gives each repository of a project to visit.
func (s *Service) places(ctx context.Context, project uuid.UUID, visit func(place) error) error {
	for after := uuid.Nil; ; {
		page, err := collect(ctx, s.DB, func(rows database.Rows) (place, error) {
			p := place{project: project}
			err := rows.Scan(&p.id, &p.path)
			return p, err //nolint:wrapcheck // below
		}, listPlaces, project, after, int64(placesPage))
		if err != nil {
			return fmt.Errorf("list repositories: %w", err)
		}
		for _, p := range page {
			if err := visit(p); err != nil {
				return err
			}
		}
		if len(page) < placesPage {
			return nil
		}
		after = page[len(page)-1].id
	}
}

// read reads a repository, after its state: what changes meanwhile has changed that.
func (s *Service) read(ctx context.Context, p place) (Repository, state, error) {
	r, before := Repository{Path: p.path}, state{}
	states, err := collect(ctx, s.DB, func(rows database.Rows) (st state, err error) {
		err = st.scan(rows)
		return st, err
	}, readState, p.id)
	if err != nil {
		return r, before, fmt.Errorf("read repository: %w", err)
	}
	before = states[0]
	if r.Tags, err = collect(ctx, s.DB, scanTag, readTags, p.id); err != nil {
		return r, before, fmt.Errorf("read tags: %w", err)
	}
	if r.Manifests, err = collect(ctx, s.DB, scanManifest, readManifests, p.id); err != nil {
		return r, before, fmt.Errorf("read manifests: %w", err)
	}
	err = s.readChildren(ctx, p, &r)
	return r, before, err
}

func (s *Service) readChildren(ctx context.Context, p place, r *Repository) error {
	at := make(map[string]int, len(r.Manifests))
	for i := range r.Manifests {
		at[r.Manifests[i].Digest] = i
	}
	_, err := collect(ctx, s.DB, func(rows database.Rows) (struct{}, error) {
		var parent, child string
		if err := rows.Scan(&parent, &child); err != nil {
			return struct{}{}, err //nolint:wrapcheck // below
		}
		i, shown := at[parent]
		j, there := at[child]
		if shown && there { // else they came after the manifests were read
			r.Manifests[i].Children = append(r.Manifests[i].Children, r.Manifests[j].Digest)
		}
		return struct{}{}, nil
	}, readChildren, p.id)
	if err != nil {
		return fmt.Errorf("read indexes: %w", err)
	}
	return nil
}

func scanTag(rows database.Rows) (Tag, error) {
	var t Tag
	var at, fixed int64
	err := rows.Scan(&t.Name, &t.Digest, &at, &fixed)
	t.PushedAt, t.Immutable = database.FromMicros(at), fixed == 1
	return t, err //nolint:wrapcheck // by the caller
}

func scanManifest(rows database.Rows) (Manifest, error) {
	var m Manifest
	var pushed, pulled int64
	err := rows.Scan(&m.Digest, &m.Subject, &pushed, &pulled, &m.Size)
	m.PushedAt = database.FromMicros(pushed)
	if pulled > 0 {
		m.PulledAt = database.FromMicros(pulled)
	}
	return m, err //nolint:wrapcheck // by the caller
}

// PreviewItem is a Victim in a repository.
type PreviewItem struct {
	Victim
	// Path is the repository's.
	Path string
}

// Preview is what rules would do now.
type Preview struct {
	// Items are the first victims, by repository.
	Items []PreviewItem
	// Tags and Manifests are how many there are in all.
	Tags, Manifests int64
}

// PreviewRequest says which rules to preview.
type PreviewRequest struct {
	// Rule is one more rule, or one instead of that with its ID; nil: the rules as they are. It counts as enabled.
	Rule *Rule
	// Limit bounds the items.
	Limit int
}

// Preview tells what the rules of a project would let go now, and changes nothing. It waits while others are under way.
// Errors: *content.InputError, content.ErrNotFound for a rule to replace that there is none of, the context's and the
// database's.
func (s *Service) Preview(ctx context.Context, project uuid.UUID, request PreviewRequest) (Preview, error) {
	rules, err := s.List(ctx, project, database.Page{Limit: s.MaxRules})
	if err != nil {
		return Preview{}, err
	}
	if request.Rule != nil {
		if rules, err = withRule(rules, *request.Rule); err != nil {
			return Preview{}, err
		}
	}
	select {
	case s.previews <- struct{}{}:
		defer func() { <-s.previews }()
	case <-ctx.Done():
		return Preview{}, fmt.Errorf("wait for other previews: %w", ctx.Err())
	}
	preview, now := Preview{Items: []PreviewItem{}}, s.Clock()
	err = s.places(ctx, project, func(p place) error {
		if !concerns(rules, p.path) {
			return nil
		}
		r, _, err := s.read(ctx, p)
		if err != nil {
			return err
		}
		victims, err := Evaluate(rules, r, now)
		for _, v := range victims {
			if v.Tag != "" {
				preview.Tags++
			} else {
				preview.Manifests++
			}
			if len(preview.Items) < request.Limit {
				preview.Items = append(preview.Items, PreviewItem{v, p.path})
			}
		}
		return err
	})
	return preview, err
}

// withRule is rules with one more, or with one in place of another.
func withRule(rules []Rule, r Rule) ([]Rule, error) {
	if err := check(r); err != nil {
		return nil, err
	}
	r.Enabled = true
	if r.ID == uuid.Nil {
		r.ID = uuid.Must(uuid.NewV7())
		return append(rules, r), nil
	}
	at := slices.IndexFunc(rules, func(other Rule) bool { return other.ID == r.ID })
	if at < 0 {
		return nil, content.ErrNotFound
	}
	rules[at] = r
	return rules, nil
}

// concerns tells whether a rule that is enabled is about a repository.
func concerns(rules []Rule, path string) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		c, err := compile(r)
		return r.Enabled && (err != nil || c.repositories.Match(path)) // an error comes up when it is evaluated
	})
}
