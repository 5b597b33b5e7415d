package content

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/projects/quota"
)

// ErrBlobsMissing says that a manifest names blobs which its repository does not show.
var ErrBlobsMissing = errors.New("the manifest names blobs that the repository does not have")

// Manifest is a manifest as a repository shows it.
type Manifest struct {
	// Repository is the ID of the repository.
	Repository uuid.UUID
	// Digest is the content's digest.
	Digest digest.Digest
	// MediaType is the Content-Type with which it was pushed.
	MediaType string
	// Size is the content's length in bytes.
	Size int64
	// Content is the content as it was pushed; nil unless asked for, and of large manifests: see LargeManifest.
	Content []byte

	lastPulled int64 // as the row says
}

const byTag = `
	FROM manifests m
	WHERE (m.repository_id, m.digest) = (SELECT t.repository_id, t.digest FROM tags t
		WHERE t.repository_id = ` + shownRepository + ` AND t.name = $3 AND t.deleted_at IS NULL)
	  AND m.deleted_at IS NULL AND ` + manifestAllowed

const byDigest = `
	FROM manifests m
	WHERE m.repository_id = ` + shownRepository + ` AND m.digest = $3 AND m.deleted_at IS NULL AND ` + manifestAllowed

const (
	manifestHead = `SELECT m.repository_id, m.digest, m.media_type, m.size, coalesce(m.last_pulled_at, 0), NULL`
	// A manifest's bytes travel with its row up to 64 KiB. Larger ones are read on their own and cached.
	manifestFull = `SELECT m.repository_id, m.digest, m.media_type, m.size, coalesce(m.last_pulled_at, 0), CASE WHEN m.size <= 65536 THEN m.content END`
)

var (
	headByTag       = database.SQL(manifestHead + byTag)
	headByDigest    = database.SQL(manifestHead + byDigest)
	fullByTag       = database.SQL(manifestFull + byTag)
	fullByDigest    = database.SQL(manifestFull + byDigest)
	manifestContent = database.SQL(`SELECT content FROM manifests WHERE repository_id = $1 AND digest = $2`)
)

// ManifestByTag looks a manifest up by a tag; withContent also reads its bytes, unless they are many. It returns
// ErrNotFound where the repository does not show it.
func (s *Store) ManifestByTag(ctx context.Context, p Place, tag string, withContent bool) (Manifest, error) {
	if withContent {
		return s.manifest(ctx, fullByTag, p, tag)
	}
	return s.manifest(ctx, headByTag, p, tag)
}

// ManifestByDigest is ManifestByTag for a digest.
func (s *Store) ManifestByDigest(ctx context.Context, p Place, d digest.Digest, withContent bool) (Manifest, error) {
	if withContent {
		return s.manifest(ctx, fullByDigest, p, string(d))
	}
	return s.manifest(ctx, headByDigest, p, string(d))
}

func (s *Store) manifest(ctx context.Context, stmt database.Stmt, p Place, ref string) (Manifest, error) {
	var m Manifest
	err := s.DB.QueryRow(ctx, stmt, p.Project, p.Path, ref).
		Scan(&m.Repository, scanDigest(&m.Digest), &m.MediaType, &m.Size, &m.lastPulled, &m.Content)
	if errors.Is(err, database.ErrNoRows) {
		return Manifest{}, ErrNotFound
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("look up manifest: %w", err)
	}
	return m, nil
}

// LargeManifest reads the bytes of a manifest that has just been looked up and came without them: that it is visible is
// never taken from the cache, only what never changes. All who read it meanwhile share the bytes. It returns ErrNotFound
// where the manifest has gone.
func (s *Store) LargeManifest(ctx context.Context, m Manifest) ([]byte, error) {
	if content, ok := s.manifests.get(m.Repository, m.Digest); ok {
		return content, nil
	}
	var content []byte
	err := s.DB.QueryRow(ctx, manifestContent, m.Repository, string(m.Digest)).Scan(&content)
	if errors.Is(err, database.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if m.Digest.Validate() == nil && m.Digest.Algorithm().FromBytes(content) == m.Digest { // else its healing would not be seen
		s.manifests.put(m.Repository, m.Digest, content)
	}
	return content, nil
}

// NewManifest is a manifest to be stored.
type NewManifest struct {
	// Digest and MediaType are as Manifest has them.
	Digest    digest.Digest
	MediaType string
	// Content is what was pushed.
	Content []byte
	// ArtifactType is the derived artifact type; empty: none.
	ArtifactType string
	// Annotations is the manifest's annotations, a JSON object; empty: none.
	Annotations json.RawMessage
	// Subject is what the manifest refers to; empty: nothing. It need not exist.
	Subject digest.Digest
	// Blobs must all be visible in the repository.
	Blobs []digest.Digest
	// Foreign are layers that need not be in the repository; those that are stay as long as the manifest.
	Foreign []digest.Digest
	// Children are an index's manifests. They need not exist.
	Children []digest.Digest
	// Platforms are those that an index names for its children, in its order; see the package manifest.
	Platforms []Platform
	// BlobSize is the bytes of Blobs, as the manifest says.
	BlobSize int64
	// Tags name the manifest afterwards, moving away from what they named before.
	Tags []string
	// Actor is who pushes.
	Actor string
}

// Statements name the repository by these, never by a join with repositories, and look for what a list has by a subquery for each
// element, which finds one row at most, by a unique key: see ADR 16. shownRepository is none where it is deleted; thisRepository is
// for changes, which bring it back or have looked.
const (
	thisRepository  = `(SELECT id FROM repositories WHERE project_id = $1 AND path = $2)`
	shownRepository = `(SELECT id FROM repositories WHERE project_id = $1 AND path = $2 AND deleted_at IS NULL)`
)

var (
	upsertManifest = database.SQL(`
		INSERT INTO manifests (repository_id, digest, media_type, size, content, artifact_type, subject_digest,
			annotations, pushed_by, created_at, pushed_at, total_size, platforms)
		SELECT r.id, {text:$3}, {text:$4}, {bigint:$5}, {bytea:$6}, {text:$7}, {text:$8}, {text:$9}, {text:$10}, {bigint:$11},
			{bigint:$11}, ` + totalSize + `, {text:$14}
		FROM repositories r WHERE r.project_id = $1 AND r.path = $2
		ON CONFLICT (repository_id, digest) DO UPDATE SET media_type = excluded.media_type, size = excluded.size,
			content = CASE WHEN manifests.content = excluded.content THEN manifests.content ELSE excluded.content END,
			pushed_by = excluded.pushed_by, pushed_at = excluded.pushed_at, total_size = excluded.total_size,
			platforms = excluded.platforms, deleted_at = NULL, purge_after = NULL, deletion = NULL
		RETURNING 1`)
	// The links are locked in the order of their digests, against deletion. Damaged blobs count as missing: there is
	// an index of those alone.
	requireBlobs = database.SQL(`
		SELECT 1 FROM (SELECT count(*) AS found FROM (
			SELECT (SELECT 1 FROM repository_blobs WHERE repository_id = ` + thisRepository + `
				AND digest = wanted.value AND deleted_at IS NULL
				AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = blob_id AND b.damaged_at IS NOT NULL) {share}) AS shown
			FROM (SELECT DISTINCT each.value FROM {each:$3} ORDER BY each.value) AS wanted) AS links WHERE shown = 1) AS counted
		WHERE found = {bigint:$4}`)
	insertManifestBlobs = database.SQL(`
		INSERT INTO manifest_blobs (repository_id, manifest_digest, blob_digest)
		SELECT ` + thisRepository + `, {text:$3}, each.value FROM {each:$4} WHERE true
		ON CONFLICT DO NOTHING`)
	insertForeignBlobs = database.SQL(`
		INSERT INTO manifest_blobs (repository_id, manifest_digest, blob_digest)
		SELECT ` + thisRepository + `, {text:$3}, wanted.value
		FROM (SELECT DISTINCT each.value FROM {each:$4} ORDER BY each.value) AS wanted
		WHERE (SELECT 1 FROM repository_blobs WHERE repository_id = ` + thisRepository + `
			AND digest = wanted.value AND deleted_at IS NULL {share}) = 1
		ON CONFLICT DO NOTHING`)
	insertManifestChildren = database.SQL(`
		INSERT INTO manifest_children (repository_id, parent_digest, child_digest, platform)
		SELECT ` + thisRepository + `, {text:$3}, each.value, {text:$5} FROM {each:$4} WHERE true
		ON CONFLICT (repository_id, parent_digest, child_digest) DO UPDATE SET platform = excluded.platform
		WHERE manifest_children.platform <> excluded.platform`)
	// A tag is locked before its history is written, also one that is new, and hidden until then: so the history is in
	// the order in which the tag moves.
	lockTag = database.SQL(`
		INSERT INTO tags (repository_id, name, digest, pushed_by, created_at, updated_at, deleted_at)
		SELECT r.id, {text:$3}, {text:$4}, {text:$5}, {bigint:$6}, {bigint:$6}, {bigint:$6} FROM repositories r
		WHERE r.project_id = $1 AND r.path = $2
		ON CONFLICT (repository_id, name) DO UPDATE SET updated_at = tags.updated_at`)
	insertTagHistory = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, actor, at, audit_id, previous_digest)
		SELECT r.id, {text:$3}, {text:$4}, {text:$5}, {bigint:$6}, {uuid:$7}, (SELECT t.digest FROM tags t
			WHERE t.repository_id = r.id AND t.name = $3 AND t.deleted_at IS NULL) FROM repositories r
		WHERE r.project_id = $1 AND r.path = $2 AND (SELECT 1 FROM tags t
			WHERE t.repository_id = r.id AND t.name = $3 AND t.digest = $4 AND t.deleted_at IS NULL) IS NULL`)
	moveTag = database.SQL(`
		UPDATE tags SET digest = $4, pushed_by = $5, updated_at = $6, deleted_at = NULL, purge_after = NULL, deletion = NULL
		WHERE name = $3 AND repository_id = ` + thisRepository)
	missingBlobs = database.SQL(`
		SELECT each.value FROM {each:$3} WHERE NOT EXISTS (SELECT 1 FROM repository_blobs l
			WHERE l.repository_id = ` + thisRepository + ` AND l.digest = each.value AND l.deleted_at IS NULL
			  AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = l.blob_id AND b.damaged_at IS NOT NULL))`)
)

// PutManifest stores a manifest and points tags at it, in one transaction and one round trip (end-7). It returns
// *MissingBlobsError where the repository does not show all of its blobs, *ImmutableError where a tag names something else
// and may not be moved, *limits.ExceededError where it has too many tags, *quota.ExceededError where the project has no
// room for it, and ErrBlocked where it, a blob or a child of it is blocked; nothing is written then.
func (s *Store) PutManifest(ctx context.Context, p Place, m NewManifest, guard Guard) error {
	err := s.putManifest(ctx, p, m, guard)
	if IsRace(err) {
		err = s.putManifest(ctx, p, m, guard) // a link went between the check and the reference to it
	}
	if IsRace(err) {
		return fmt.Errorf("%w: store manifest: %w", database.ErrUnavailable, err)
	}
	if errors.Is(err, quota.ErrFull) {
		return s.Quota.Explain(ctx, p.Project, err)
	}
	if errors.Is(err, ErrBlobsMissing) {
		return s.explainMissing(ctx, p, m)
	}
	if errors.Is(err, limits.ErrExceeded) {
		return limits.Explain(ctx, s.DB, err) //nolint:wrapcheck // its own words
	}
	if errors.Is(err, ErrImmutable) {
		return s.explainImmutable(ctx, p, tagsMoved(m.Tags, m.Digest))
	}
	if err != nil {
		return fmt.Errorf("store manifest: %w", err)
	}
	return nil
}

func (s *Store) putManifest(ctx context.Context, p Place, m NewManifest, guard Guard) error {
	now := s.now()
	b := &database.Batch{}
	guard.Require(b)
	RequireAllowed(b, slices.Concat(m.names(), m.Blobs, m.Children)...)
	EnsureRepository(b, p.Project, p.Path, now)
	quota.Lock(b, p.Project, m.Digest)
	delta := quota.AddManifest(b, p.Project, p.Path, m.Digest, int64(len(m.Content)), now)
	b.Require(ErrRaced, upsertManifest, p.Project, p.Path, string(m.Digest), m.MediaType, int64(len(m.Content)), m.Content,
		m.ArtifactType, nullable(string(m.Subject)), string(m.Annotations), m.Actor, now,
		m.ownSize(), database.Strings(digestStrings(m.Children)), m.platforms())
	s.Quota.RequireDelta(b, p.Project, delta)
	if len(m.Blobs) > 0 {
		blobs := database.Strings(digestStrings(m.Blobs))
		b.Require(ErrBlobsMissing, requireBlobs, p.Project, p.Path, blobs, int64(len(m.Blobs)))
		b.Exec(insertManifestBlobs, p.Project, p.Path, string(m.Digest), blobs)
	}
	if len(m.Foreign) > 0 {
		b.Exec(insertForeignBlobs, p.Project, p.Path, string(m.Digest), database.Strings(digestStrings(m.Foreign)))
	}
	insertChildren(b, p, m)
	s.Limits.RequireTags(b, p.Project, p.Path, m.Tags)
	tags := slices.Sorted(slices.Values(m.Tags)) // in one order for all, or two pushes could lock each other out
	for _, tag := range tags {
		b.Exec(lockTag, p.Project, p.Path, tag, string(m.Digest), m.Actor, now)
	}
	requireMovable(b, p, tags, m.Digest) // by now nobody else can make a tag name something
	act := audit.Append(ctx, b, p.entry(audit.ManifestPush, string(m.Digest), pushDetail{
		MediaType: m.MediaType, ArtifactType: m.ArtifactType, Subject: m.Subject, Tags: m.Tags,
	}))
	happened := events.Content{
		Repository: p.Path, Digest: string(m.Digest), MediaType: m.MediaType, Size: int64(len(m.Content)), Actor: m.Actor,
	}
	for _, tag := range tags {
		events.AppendMove(b, p.Project, tag, happened, now)
		b.Exec(insertTagHistory, p.Project, p.Path, tag, string(m.Digest), m.Actor, now, act)
		b.Exec(moveTag, p.Project, p.Path, tag, string(m.Digest), m.Actor, now)
	}
	happened.Tags = m.Tags
	events.Append(b, events.Event{
		Project: p.Project, Kind: events.ManifestPushed, Object: events.ManifestObject(p.Path, string(m.Digest)), Data: happened,
	}, now)
	return s.DB.Run(ctx, b)
}

// pushDetail is what the audit log tells of a push besides the tags that it moved.
type pushDetail struct {
	MediaType    string        `json:"media_type"`
	ArtifactType string        `json:"artifact_type,omitempty"`
	Subject      digest.Digest `json:"subject,omitempty"`
	Tags         []string      `json:"tags,omitempty"` // all that it named, also those that did not move
}

// entry is an entry of the audit log about something in the repository.
func (p Place) entry(action, object string, detail any) audit.Entry {
	return audit.Entry{Action: action, Project: p.Project, Repository: p.Path, Object: object, Detail: detail}
}

// MissingBlobsError names the blobs that a manifest needs and its repository does not show.
type MissingBlobsError struct {
	// Digests are the missing ones, in no particular order.
	Digests []digest.Digest
}

// Error implements error.
func (e *MissingBlobsError) Error() string { return ErrBlobsMissing.Error() }

// Unwrap returns ErrBlobsMissing.
func (e *MissingBlobsError) Unwrap() error { return ErrBlobsMissing }

func (s *Store) explainMissing(ctx context.Context, p Place, m NewManifest) error {
	rows, err := s.DB.Query(ctx, missingBlobs, p.Project, p.Path, database.Strings(digestStrings(m.Blobs)))
	if err != nil {
		return fmt.Errorf("list missing blobs: %w", err)
	}
	defer rows.Close()
	missing := &MissingBlobsError{}
	for rows.Next() {
		var d digest.Digest
		if err := rows.Scan(scanDigest(&d)); err != nil {
			return fmt.Errorf("list missing blobs: %w", err)
		}
		missing.Digests = append(missing.Digests, d)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list missing blobs: %w", err)
	}
	return missing
}

func digestStrings(digests []digest.Digest) []string {
	texts := make([]string, len(digests))
	for i, d := range digests {
		texts[i] = string(d)
	}
	return texts
}

// nullable is nil for an empty text.
func nullable(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

var (
	lockTagsOf = database.SQL(`
		SELECT 1 FROM tags WHERE digest = $3 AND deleted_at IS NULL AND repository_id = ` + thisRepository + `
		ORDER BY name {update}`)
	hideTagsOf = database.SQL(`
		UPDATE tags SET deleted_at = $4, purge_after = $5, deletion = $6
		WHERE digest = $3 AND deleted_at IS NULL AND repository_id = ` + thisRepository)
	historyOfTags = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, actor, at, audit_id, previous_digest)
		SELECT t.repository_id, t.name, NULL, {text:$4}, {bigint:$5}, {uuid:$6}, t.digest FROM tags t
		WHERE t.digest = $3 AND t.deleted_at IS NULL AND t.repository_id = ` + thisRepository)
	hideManifest = database.SQL(`
		UPDATE manifests SET deleted_at = $4, purge_after = $5, deletion = $6
		WHERE digest = $3 AND deleted_at IS NULL
		  AND repository_id = ` + shownRepository + `
		RETURNING 1`)
	hideTag = database.SQL(`
		UPDATE tags SET deleted_at = $4, purge_after = $5, deletion = $6
		WHERE name = $3 AND deleted_at IS NULL
		  AND repository_id = ` + shownRepository + `
		  AND NOT EXISTS (SELECT 1 FROM repositories r JOIN tag_rules k ON ` + ruleOfRepository + `
			WHERE r.id = tags.repository_id AND tags.name {matches} k.tag_expression)
		RETURNING 1`)
	historyOfTag = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, actor, at, audit_id, previous_digest)
		SELECT t.repository_id, t.name, NULL, {text:$4}, {bigint:$5}, {uuid:$6}, t.digest FROM tags t
		WHERE t.name = $3 AND t.repository_id = ` + thisRepository)
)

// DeleteManifest hides a manifest with all its tags and its entry among the referrers of its subject (end-9). It
// returns ErrNotFound where the repository does not show it, and *ImmutableError where a tag of it may not go.
func (s *Store) DeleteManifest(ctx context.Context, p Place, d digest.Digest, actor string, guard Guard) error {
	b := &database.Batch{}
	guard.Require(b)
	now, deletion := s.now(), uuid.Must(uuid.NewV7())
	quota.Lock(b, p.Project, d)
	quota.RemoveManifest(b, p.Project, p.Path, d, now)
	b.Require(ErrNotFound, hideManifest, p.Project, p.Path, string(d), now, s.purgeAfter(), deletion)
	b.Exec(lockTagsOf, p.Project, p.Path, string(d))
	b.Require(ErrImmutable, requireFreeManifest, p.Project, p.Path, string(d))
	act := audit.Append(ctx, b, p.entry(audit.ManifestDelete, string(d), nil))
	events.AppendTagDeletions(b, p.Project, p.Path, string(d), actor, now)
	events.Append(b, events.Event{
		Project: p.Project, Kind: events.ManifestDeleted, Object: events.ManifestObject(p.Path, string(d)),
		Data: events.Content{Repository: p.Path, Digest: string(d), Actor: actor},
	}, now)
	b.Exec(historyOfTags, p.Project, p.Path, string(d), actor, now, act)
	b.Exec(hideTagsOf, p.Project, p.Path, string(d), now, s.purgeAfter(), deletion)
	return s.deleted(ctx, p, s.DB.Run(ctx, b), tagsOf(d))
}

// DeleteTag hides a tag; the manifest stays. It returns ErrNotFound where the repository does not show it, and
// *ImmutableError where it may not go.
func (s *Store) DeleteTag(ctx context.Context, p Place, tag, actor string, guard Guard) error {
	now, b := s.now(), &database.Batch{}
	guard.Require(b)
	requireMovable(b, p, []string{tag}, "")
	b.Require(ErrNotFound, hideTag, p.Project, p.Path, tag, now, s.purgeAfter(), uuid.Must(uuid.NewV7()))
	b.Exec(historyOfTag, p.Project, p.Path, tag, actor, now, audit.Append(ctx, b, p.entry(audit.TagDelete, tag, nil)))
	events.AppendTagDeletion(b, p.Project, p.Path, tag, actor, now)
	return s.deleted(ctx, p, s.DB.Run(ctx, b), tagsMoved([]string{tag}, ""))
}

// deleted is the error of a deletion, which asked for tags to go.
func (s *Store) deleted(ctx context.Context, p Place, err error, asked asked) error {
	if errors.Is(err, ErrImmutable) {
		return s.explainImmutable(ctx, p, asked)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("delete: %w", err)
	}
	return err
}
