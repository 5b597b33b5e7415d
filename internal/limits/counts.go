package limits

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// Everything that is counted.
var (
	// A creation that was not of the project ($4, $5; NULL: of any) counts for nothing: somebody else was faster.
	projects = newCount("projects", "projects of the account", `
		FROM projects p WHERE p.account_id = {uuid:$3} AND p.state <> 'deleted'
		AND ({uuid:$4} IS NULL OR EXISTS (SELECT 1 FROM projects n WHERE n.id = {uuid:$4}))`)
	// $1 is a project of the account.
	restored = newCountOf(`(SELECT u.id FROM users u WHERE u.account_id = `+accountOfProject+` ORDER BY u.id LIMIT 1)`,
		"projects", "projects of the account", `FROM projects p WHERE p.account_id = `+accountOfProject+` AND p.state <> 'deleted'`)
	creations = newCount("project_creations", "projects created within a day", `
		FROM project_creations c WHERE c.creator = {text:$3} AND c.created_at > {bigint:$4}
		AND ({uuid:$5} IS NULL OR EXISTS (SELECT 1 FROM projects n WHERE n.id = {uuid:$5}))`)
	uploads = newCount("uploads", "open upload sessions", `
		FROM upload_sessions u WHERE u.principal = {text:$3} AND u.network = {text:$4} AND u.status = 'open'`)
	// Only a push that brings a new tag ($4) has to count them.
	tags = newCount("tags", "tags of the repository", `
		FROM tags t WHERE t.repository_id = `+repository+` AND t.deleted_at IS NULL AND EXISTS (`+newTags+`)
		UNION ALL `+newTags)
	// Tags that come back with a deletion ($4) that is undone are new.
	shownTags = newCount("tags", "tags of the repository", `
		FROM tags t WHERE t.repository_id = `+repository+` AND (t.deleted_at IS NULL OR t.deletion = {uuid:$4})
		AND EXISTS (SELECT 1 FROM tags h WHERE h.repository_id = `+repository+` AND h.deleted_at IS NOT NULL AND h.deletion = {uuid:$4})`)
	tokens = newCount("tokens", "tokens", `
		FROM tokens t WHERE t.user_id = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > {bigint:$3})`)
	robots = newCount("robots", "robots of the project", `
		FROM tokens t WHERE t.project_id = $1 AND t.kind = 'robot' AND t.revoked_at IS NULL
		AND (t.expires_at IS NULL OR t.expires_at > {bigint:$3})`)
	sessions = newCount("sessions", "log-ins", `
		FROM sessions s WHERE s.user_id = $1 AND s.revoked_at IS NULL AND s.expires_at > {bigint:$3}`)
	members      = newCount("members", "members of the project", `FROM members m WHERE m.project_id = $1`)
	runnerGrants = newCount("runner_grants", "runners of the project", `
		FROM (SELECT DISTINCT token_id FROM runner_grants WHERE project_id = $1) AS g`)
)

const (
	accountOfProject = `(SELECT r.account_id FROM projects r WHERE r.id = {uuid:$1})`

	repository = `(SELECT r.id FROM repositories r WHERE r.project_id = $1 AND r.path = {text:$3})`
	newTags    = `SELECT 1 FROM {each:$4} WHERE (SELECT 1 FROM tags h
		WHERE h.repository_id = ` + repository + ` AND h.name = each.value AND h.deleted_at IS NULL) IS NULL`
)

// RequireProjects adds to b, after a project has become a user's, that the account has not too many.
func (s Server) RequireProjects(b *database.Batch, user, account, project uuid.UUID) {
	projects.lock(b, account.String())
	projects.add(b, user, s.Projects, account, project)
}

// lockAccount waits for those who give the account a project, and keeps them waiting: a reference locks what it refers to.
var lockAccount = database.SQL(`SELECT 1 FROM accounts WHERE id = (SELECT account_id FROM projects WHERE id = $1) {update}`)

// RequireRestored is RequireProjects for a project that comes back to its account.
func (s Server) RequireRestored(b *database.Batch, project uuid.UUID) {
	b.Exec(lockAccount, project)
	restored.add(b, project, s.Projects)
}

var recordCreation = database.SQL(`
	INSERT INTO project_creations (project_id, creator, created_at)
	SELECT p.id, {text:$2}, {bigint:$3} FROM projects p WHERE p.id = $1`)

// RequireCreation adds to b, after a project was inserted or was found to be there already, that the creator has not
// created too many within a day. user is uuid.Nil for a caller without an account, whose creator is the network.
func (s Server) RequireCreation(b *database.Batch, user uuid.UUID, creator string, project uuid.UUID, now time.Time) {
	server := s.AddressCreations
	if user != uuid.Nil {
		server = s.UserCreations
	}
	b.Exec(recordCreation, project, creator, database.ToMicros(now))
	creations.lock(b, creator)
	creations.add(b, user, server, creator, database.ToMicros(now.Add(-Day)), project)
}

var creationBefore = database.SQL(`
	SELECT created_at FROM project_creations WHERE creator = $1 AND created_at > $2
	ORDER BY created_at DESC LIMIT 1 OFFSET {bigint:$3}`)

// untilNextCreation is when so many creations ago is a day ago. The arguments are those of creations.
func untilNextCreation(ctx context.Context, db *database.DB, args []any, allowed int64) (time.Duration, error) {
	creator, since := args[2], args[3].(int64) //nolint:errcheck // RequireCreation put it there
	var oldest int64
	err := db.QueryRow(ctx, creationBefore, creator, since, max(allowed-1, 0)).Scan(&oldest)
	if errors.Is(err, database.ErrNoRows) {
		return time.Second, nil // somebody else's creation was undone
	}
	if err != nil {
		return 0, fmt.Errorf("look for earlier creations: %w", err)
	}
	return time.Duration(oldest-since)*time.Microsecond + time.Second, nil
}

// RequireUploads adds to b, after an open upload session has got its row, that whoever uploads has not too many. subject
// is the user or the robot's project; for a caller without an account it is uuid.Nil, and network is not empty.
func (s Server) RequireUploads(b *database.Batch, subject uuid.UUID, principal, network string) {
	uploads.add(b, subject, s.Uploads, principal, network)
}

// RequireTags adds to b, before tags are set, that the repository has not too many with those of them that are new.
func (s Server) RequireTags(b *database.Batch, project uuid.UUID, path string, names []string) {
	if len(names) > 0 {
		tags.add(b, project, s.Tags, path, database.Strings(names))
	}
}

// RequireShownTags is RequireTags for those that are shown again, before they are: all that have the mark of a deletion.
func (s Server) RequireShownTags(b *database.Batch, project uuid.UUID, path string, deletion uuid.UUID) {
	shownTags.add(b, project, s.Tags, path, deletion)
}

// RequireTokens adds to b, after a personal token was made, that the user has not too many.
func (s Server) RequireTokens(b *database.Batch, user uuid.UUID, now time.Time) {
	tokens.lock(b, user.String())
	tokens.add(b, user, s.Tokens, database.ToMicros(now))
}

// RequireRobots adds to b, after a robot was made, that the project has not too many.
func (s Server) RequireRobots(b *database.Batch, project uuid.UUID, now time.Time) {
	robots.lock(b, project.String())
	robots.add(b, project, s.Robots, database.ToMicros(now))
}

// RequireMembers adds to b, which has locked the project, that it has not too many members.
func (s Server) RequireMembers(b *database.Batch, project uuid.UUID) {
	members.add(b, project, s.Members)
}

// RequireRunnerGrants adds to b, which has locked the project, that it has not granted anything to too many runners.
func (s Server) RequireRunnerGrants(b *database.Batch, project uuid.UUID) {
	runnerGrants.add(b, project, s.RunnerGrants)
}

var oldestSessions = database.SQL(`
	UPDATE sessions SET revoked_at = $3 WHERE user_id = $1 AND revoked_at IS NULL AND id IN (
		SELECT s.id FROM sessions s WHERE s.user_id = $1 AND s.revoked_at IS NULL AND s.expires_at > $3
		ORDER BY s.id DESC
		LIMIT (SELECT CASE WHEN ` + allowedSessions + ` = 0 THEN 0 ELSE 1000000 END)
		OFFSET (SELECT ` + allowedSessions + `))
	RETURNING secret_hash`)

const allowedSessions = `coalesce((SELECT o.value FROM limit_overrides o WHERE o.subject_id = $1 AND o.name = 'sessions'), {bigint:$2})`

// EndOldSessions adds to b, after a session was opened, that the user's oldest ones end as far as there are too many: who
// logs in again and again must not be kept out by that. ended is given the hash of the secret of each.
func (s Server) EndOldSessions(b *database.Batch, user uuid.UUID, now time.Time, ended func(database.Rows) error) {
	sessions.lock(b, user.String())
	b.Query(ended, oldestSessions, user, s.Sessions, database.ToMicros(now))
}
