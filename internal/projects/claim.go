package projects

import (
	"context"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// maxPushed bounds how many repositories a claim tells about.
const maxPushed = 1000

// ClaimRequest says who claims what.
type ClaimRequest struct {
	ProjectID uuid.UUID
	// Owner is a user, who becomes the owner.
	Owner Creator
	// DiscardContent empties the project: nothing that was pushed before can be read, mounted or brought back.
	DiscardContent bool
}

// Claimed is a project that has just been claimed.
type Claimed struct {
	Project Project
	// Pushed is what was in it before, in the order of the paths, up to 1,000 repositories.
	Pushed []PushedRepository
}

// PushedRepository is what was pushed to a repository before the claim.
type PushedRepository struct {
	Path            string
	Tags, Manifests int64
	Bytes           int64 // of manifests and blobs
}

var (
	userExists = database.SQL(`SELECT 1 FROM users WHERE id = $1 AND account_id = $2 AND locked_at IS NULL {share}`)
	// claim has one winner: those who come later wait for its lock, and then find another state.
	claim = database.SQL(`
		UPDATE projects SET state = 'active', account_id = $2, epoch = epoch + 1, version = version + 1,
			expires_at = NULL, claimed_at = $3, updated_at = $3
		WHERE id = $1 AND state = 'unclaimed'
		RETURNING 1`)
	deleteMembers = database.SQL(`DELETE FROM members WHERE project_id = $1`)
	clearGrants   = database.SQL(`DELETE FROM runner_grants WHERE project_id = $1`)
	revokeTokens  = database.SQL(`
		UPDATE tokens SET revoked_at = $2 WHERE project_id = $1 AND revoked_at IS NULL`)
	pushedBefore = database.SQL(`
		SELECT r.path,
			(SELECT count(*) FROM tags t WHERE t.repository_id = r.id AND t.deleted_at IS NULL),
			(SELECT count(*) FROM manifests m WHERE m.repository_id = r.id AND m.deleted_at IS NULL),
			` + repositoryBytes + `
		FROM repositories r WHERE r.project_id = $1 AND r.deleted_at IS NULL
		ORDER BY r.path LIMIT {limit:$2}`)
)

// claimedEvent is what webhooks hear of a claim.
type claimedEvent struct {
	Actor            string `json:"actor"`
	ContentDiscarded bool   `json:"content_discarded"`
}

// Claim makes an unclaimed project the owner's: of any number of callers at once, one wins. Open upload sessions end, as
// the epoch rises; runner grants, robots and keys from before are void. The guard need not require the state. Errors:
// ErrNotFound, ErrClaimed, ErrNoSuchUser, limits.ErrExceeded, those of the guard, the context's and the database's.
func (s *Service) Claim(ctx context.Context, guard Guard, r ClaimRequest) (Claimed, error) {
	id, now := r.ProjectID, database.ToMicros(s.now())
	b := s.beginLive(guard, id)
	b.Require(ErrClaimed, claim, id, uuid.NullUUID{UUID: r.Owner.AccountID, Valid: r.Owner.AccountID != uuid.Nil}, now)
	b.Require(ErrNoSuchUser, userExists, r.Owner.UserID, r.Owner.AccountID)
	s.opts.Limits.RequireProjects(b, r.Owner.UserID, r.Owner.AccountID, id)
	b.Exec(deleteMembers, id)
	b.Exec(insertOwner, id, r.Owner.UserID, r.Owner.Principal, now)
	b.Exec(clearGrants, id)
	b.Exec(revokeTokens, id, now)
	events.Append(b, events.Event{Project: id, Kind: events.ProjectClaimed, Object: "project", Data: claimedEvent{
		Actor: r.Owner.Principal, ContentDiscarded: r.DiscardContent,
	}}, now)
	var c Claimed
	b.Query(func(rows database.Rows) error {
		var p PushedRepository
		err := rows.Scan(&p.Path, &p.Tags, &p.Manifests, &p.Bytes)
		c.Pushed = append(c.Pushed, p)
		return err
	}, pushedBefore, id, int64(maxPushed))
	act := entry(ctx, b, audit.ProjectClaim, id, claimDetail{Owner: r.Owner.Principal, DiscardContent: r.DiscardContent})
	if r.DiscardContent {
		s.discard(b, id, r.Owner.Principal, act)
	}
	var err error
	c.Project, err = s.commitProject(ctx, b, id)
	s.claims.count(err)
	if err != nil {
		return Claimed{}, wrapped("claim", missingUser(err))
	}
	return c, nil
}

// claimDetail is what the audit log tells of a claim.
type claimDetail struct {
	Owner          string `json:"owner"`
	DiscardContent bool   `json:"discard_content,omitempty"`
}

// The statements that hide all content of a project, in the order of the locks: manifests, links, tags. What was deleted
// before is marked as well, so that nothing comes back by undoing that. The rows stay for the collector; pushing the same
// content again shows them anew, one by one.
var (
	hideManifests = database.SQL(`
		UPDATE manifests SET deleted_at = coalesce(deleted_at, $2), purge_after = $2
		WHERE repository_id IN (SELECT id FROM repositories WHERE project_id = $1)`)
	hideLinks = database.SQL(`
		UPDATE repository_blobs SET deleted_at = coalesce(deleted_at, $2), purge_after = $2
		WHERE repository_id IN (SELECT id FROM repositories WHERE project_id = $1)`)
	recordTags = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, actor, at, audit_id, previous_digest)
		SELECT t.repository_id, t.name, NULL, {text:$2}, {bigint:$3}, {uuid:$4}, t.digest
		FROM repositories r JOIN tags t ON t.repository_id = r.id
		WHERE r.project_id = $1 AND t.deleted_at IS NULL`)
	hideTags = database.SQL(`
		UPDATE tags SET deleted_at = coalesce(deleted_at, $2), purge_after = $2
		WHERE repository_id IN (SELECT id FROM repositories WHERE project_id = $1)`)
	hideRepositories = database.SQL(`
		UPDATE repositories SET deleted_at = coalesce(deleted_at, $2), purge_after = $2 WHERE project_id = $1`)
)

// discard adds to b what empties the project, as part of an act of the audit log. Its lock keeps pushes away meanwhile.
func (s *Service) discard(b *database.Batch, id uuid.UUID, by string, act uuid.UUID) {
	now := database.ToMicros(s.now())
	quota.RemoveAll(b, id, now)
	b.Exec(hideManifests, id, now)
	b.Exec(hideLinks, id, now)
	b.Exec(recordTags, id, by, now, act)
	b.Exec(hideTags, id, now)
	b.Exec(hideRepositories, id, now)
}
