package content

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
)

// ErrNotEarlier says that a tag never named the digest that it is to name again.
var ErrNotEarlier = errors.New("the tag has never named the digest")

var (
	hiddenTag = database.SQL(`
		SELECT 1 FROM tags WHERE repository_id = ` + thisRepository + ` AND name = $3 AND deleted_at IS NOT NULL AND purge_after > $4`)
	markHiddenTag = database.SQL(`
		UPDATE tags SET deletion = $4
		WHERE repository_id = ` + thisRepository + ` AND name = $3 AND EXISTS (SELECT 1 FROM manifests m
			WHERE m.repository_id = tags.repository_id AND m.digest = tags.digest AND m.deleted_at IS NULL)
		RETURNING 1`)
	liveManifest = database.SQL(`
		SELECT 1 FROM manifests WHERE repository_id = ` + thisRepository + ` AND digest = $3 AND deleted_at IS NULL {share}`)
	namedEarlier = database.SQL(`
		SELECT 1 FROM tag_history WHERE repository_id = ` + thisRepository + ` AND tag = $3 AND digest = $4 LIMIT 1`)
	// historyOfMove comes after the lock of the tag, which makes a row of one that is new, and before the move.
	historyOfMove = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, previous_digest, actor, at, audit_id)
		SELECT t.repository_id, t.name, {text:$4}, CASE WHEN t.deleted_at IS NULL THEN t.digest END, {text:$5}, {bigint:$6}, {uuid:$7}
		FROM tags t WHERE t.repository_id = ` + thisRepository + ` AND t.name = $3 AND (t.digest <> $4 OR t.deleted_at IS NOT NULL)`)

	listTagHistory = database.SQL(`
		SELECT id, digest, previous_digest, actor, at FROM tag_history
		WHERE repository_id = ` + shownRepository + `
		  AND tag = $3 AND id < {bigint:$4}
		ORDER BY id DESC LIMIT {limit:$5}`)
)

// RestoreTag shows again a deleted tag: it names what it named. It returns ErrNotFound where it is not deleted or due to be
// purged, ErrHidden where its manifest or its repository is deleted, and *limits.ExceededError where the repository has too many
// tags.
func (s *Store) RestoreTag(ctx context.Context, p Place, tag, actor string, guard Guard) error {
	b := BeginAlone(guard, p.Project)
	mark := uuid.Must(uuid.NewV7())
	b.Require(ErrNotFound, hiddenTag, p.Project, p.Path, tag, s.now())
	b.Require(ErrHidden, requireRepository, p.Project, p.Path)
	b.Require(ErrHidden, markHiddenTag, p.Project, p.Path, tag, mark)
	s.Limits.RequireShownTags(b, p.Project, p.Path, mark)
	entry := audit.Append(ctx, b, audit.Entry{Action: audit.TagRestore, Project: p.Project, Repository: p.Path, Object: tag})
	events.AppendShownTags(b, p.Project, p.Path, mark, actor, s.now())
	b.Exec(historyOfShownTags, p.Project, p.Path, mark, actor, s.now(), entry)
	b.Exec(showTags, p.Project, p.Path, mark)
	return s.restored(ctx, p, s.DB.Run(ctx, b))
}

// MoveTagBack points a tag, deleted or not, at a digest that it named earlier. It returns ErrHidden where the repository does
// not show the digest, ErrNotEarlier where the tag never named it, ErrBlocked, and *ImmutableError where it may not move.
func (s *Store) MoveTagBack(ctx context.Context, p Place, tag string, d digest.Digest, actor string, guard Guard) error {
	b := &database.Batch{}
	guard.Require(b)
	now := s.now()
	b.Require(ErrNotFound, requireRepository, p.Project, p.Path)
	RequireAllowed(b, d)
	b.Require(ErrNotEarlier, namedEarlier, p.Project, p.Path, tag, string(d))
	b.Require(ErrHidden, liveManifest, p.Project, p.Path, string(d))
	s.Limits.RequireTags(b, p.Project, p.Path, []string{tag})
	b.Exec(lockTag, p.Project, p.Path, tag, string(d), actor, now)
	requireMovable(b, p, []string{tag}, d)
	entry := audit.Append(ctx, b, audit.Entry{
		Action: audit.TagRestore, Project: p.Project, Repository: p.Path, Object: tag, Detail: map[string]string{"digest": string(d)},
	})
	events.AppendMove(b, p.Project, tag, events.Content{Repository: p.Path, Digest: string(d), Actor: actor}, now)
	b.Exec(historyOfMove, p.Project, p.Path, tag, string(d), actor, now, entry)
	b.Exec(moveTag, p.Project, p.Path, tag, string(d), actor, now)
	err := s.DB.Run(ctx, b)
	if errors.Is(err, ErrImmutable) {
		return s.explainImmutable(ctx, p, tagsMoved([]string{tag}, d))
	}
	return s.restored(ctx, p, err)
}

// TagMove is an entry of a tag's history.
type TagMove struct {
	// ID is in the order of the moves.
	ID int64
	// From and To are what the tag named before and from then on; empty: nothing. From is not known of what was written
	// down by versions that did not.
	From, To digest.Digest
	// Actor is the principal who moved it.
	Actor string
	// At is when.
	At time.Time
}

// Key is what a page of TagHistory comes after.
func (m TagMove) Key() string { return strconv.FormatInt(m.ID, 10) }

// TagHistory lists the moves of a tag, the latest first. It returns ErrNotFound for a repository that does not exist and a tag
// that it never had, and *InputError for a key that is none.
func (s *Store) TagHistory(ctx context.Context, p Place, tag string, page database.Page) ([]TagMove, error) {
	before := int64(1<<63 - 1)
	if page.After != "" {
		id, err := strconv.ParseInt(page.After, 10, 64)
		if err != nil {
			return nil, &InputError{Field: "after", Reason: "is not of this list"}
		}
		before = id
	}
	rows, err := s.DB.Query(ctx, listTagHistory, p.Project, p.Path, tag, before, int64(page.Limit))
	if err != nil {
		return nil, fmt.Errorf("list the history of a tag: %w", err)
	}
	defer rows.Close()
	moves := []TagMove{}
	for rows.Next() {
		var m TagMove
		var to, from *string
		var at int64
		if err := rows.Scan(&m.ID, &to, &from, &m.Actor, &at); err != nil {
			return nil, fmt.Errorf("list the history of a tag: %w", err)
		}
		m.To, m.From, m.At = digestOf(to), digestOf(from), database.FromMicros(at)
		moves = append(moves, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the history of a tag: %w", err)
	}
	if len(moves) == 0 && page.After == "" {
		return nil, ErrNotFound
	}
	return moves, nil
}

// digestOf is a column that may be NULL.
func digestOf(text *string) digest.Digest {
	if text == nil {
		return ""
	}
	return digest.Digest(*text)
}
