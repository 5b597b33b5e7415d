package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// Bounds of what a session remembers of its client.
const (
	maxUserAgent = 300
	maxRemoteIP  = 64
)

// Session is somebody who logged in to the product API. Its secret is not kept.
type Session struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	TokenID    uuid.UUID // with which it was opened, and with which it ends; Nil: with the password
	UserAgent  string
	RemoteIP   string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time // sampled; zero: not yet
}

// NewSession is what OpenSession needs.
type NewSession struct {
	UserID      uuid.UUID
	UserVersion int64     // the user's when the password was verified, so that a changed one opens nothing; 0: any
	TokenID     uuid.UUID // of the log-in by an unrestricted personal token of the user; Nil: by password
	UserAgent   string
	RemoteIP    string
}

var (
	requireUser = database.SQL(`
		SELECT 1 FROM users WHERE id = $1 AND locked_at IS NULL AND ({bigint:$2} = 0 OR version = {bigint:$2}) {share}`)

	requireUnrestricted = database.SQL(`SELECT 1 FROM tokens WHERE id = $1 AND grants = ''`)

	purgeSessions = database.SQL(`DELETE FROM sessions WHERE user_id = $1 AND expires_at <= $2`)

	// A token's expiry never changes, so that of its sessions is settled here.
	insertSession = database.SQL(`
		INSERT INTO sessions (id, user_id, token_id, secret_hash, user_agent, remote_ip, created_at, expires_at)
		VALUES ({uuid:$1}, {uuid:$2}, {uuid:$3}, {text:$4}, {text:$5}, {text:$6}, {bigint:$7}, coalesce(
			(SELECT t.expires_at FROM tokens t WHERE t.id = {uuid:$3} AND t.expires_at < {bigint:$8}), {bigint:$8}))
		RETURNING expires_at`)
)

// OpenSession opens a session, for which the user's oldest ends where there are too many. The secret is returned only here. Errors: ErrInvalidCredential if the token or the user is
// no longer what was verified, the context's and the database's.
func (s *Service) OpenSession(ctx context.Context, n NewSession) (secret string, session Session, err error) {
	now := s.now()
	secret = newSecret(sessionPrefix)
	session = Session{
		ID: newID(), UserID: n.UserID, TokenID: n.TokenID,
		UserAgent: clipped(n.UserAgent, maxUserAgent), RemoteIP: clipped(n.RemoteIP, maxRemoteIP),
		CreatedAt: database.FromMicros(database.ToMicros(now)),
	}
	var b database.Batch
	if n.TokenID != uuid.Nil {
		b.Require(ErrInvalidCredential, requirePersonal, n.TokenID, n.UserID)
		b.Require(ErrInvalidCredential, requireUnrestricted, n.TokenID)
	}
	b.Require(ErrInvalidCredential, requireUser, n.UserID, n.UserVersion)
	b.Exec(purgeSessions, n.UserID, database.ToMicros(now))
	audit.Append(by(ctx, n.UserID, n.TokenID), &b, audit.Entry{Action: audit.SessionOpen, Object: session.ID.String()})
	var expires int64
	b.Query(func(r database.Rows) error { return r.Scan(&expires) }, insertSession,
		session.ID, n.UserID, nullUUID(n.TokenID), hashSecret(secret).String(), session.UserAgent, session.RemoteIP,
		database.ToMicros(now), database.ToMicros(now.Add(s.opts.SessionTTL)))
	var ended ended
	s.opts.Limits.EndOldSessions(&b, n.UserID, now, ended.session)
	if err := s.db.Run(ctx, &b); err != nil {
		return "", Session{}, fmt.Errorf("auth: open session: %w", err)
	}
	s.forget(ended)
	session.ExpiresAt = database.FromMicros(expires)
	return secret, session, nil
}

// clipped is what a client says of itself, as far as it can be stored and shown.
func clipped(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}

var sessionBySecret = database.SQL(`
	SELECT s.id, s.user_id, s.expires_at, s.last_used_at, u.email, u.admin, u.account_id
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.secret_hash = $1 AND s.revoked_at IS NULL AND u.locked_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.id = s.token_id AND t.revoked_at IS NOT NULL)`)

// VerifySession gives the credential that a session's secret is, with its SessionID. What cannot be one is refused without
// a query. Errors: ErrInvalidCredential, the context's and the database's.
func (s *Service) VerifySession(ctx context.Context, secret string) (Credential, error) {
	if err := checkSessionSecret(secret); err != nil {
		return Credential{}, fmt.Errorf("auth: %w: %w", ErrInvalidCredential, err)
	}
	hash := hashSecret(secret)
	c, err := s.sessions.Get(ctx, hash, func(ctx context.Context) (Credential, error) {
		return s.scanSession(s.db.QueryRow(ctx, sessionBySecret, hash.String()))
	})
	return s.unexpired(c, err)
}

// VerifyAPI gives the credential of a caller of the product API: a session or a token. What it may do there is for the
// caller of VerifyAPI to decide. Errors: ErrInvalidCredential, the context's and the database's.
func (s *Service) VerifyAPI(ctx context.Context, secret string) (Credential, error) {
	if strings.HasPrefix(secret, sessionPrefix) {
		return s.VerifySession(ctx, secret)
	}
	return s.VerifySecret(ctx, secret)
}

func (s *Service) scanSession(row database.Row) (Credential, error) {
	c := Credential{Principal: Principal{Kind: rbac.KindUser}}
	var expires int64
	var used sql.Null[int64]
	err := row.Scan(&c.SessionID, &c.Principal.ID, &expires, &used, &c.Principal.Name, &c.Principal.Admin, &c.Principal.AccountID)
	switch {
	case errors.Is(err, database.ErrNoRows):
		return Credential{}, fmt.Errorf("%w: no such session", ErrInvalidCredential)
	case err != nil:
		return Credential{}, fmt.Errorf("read session: %w", err)
	}
	c.ExpiresAt = database.FromMicros(expires)
	if !c.expired(s.now()) {
		s.used.session(c.SessionID, used)
	}
	return c, nil
}

// Sessions lists the open sessions of a user, the newest last. Its key is the id. Errors: ErrInvalidInput for the page,
// the context's and the database's.
func (s *Service) Sessions(ctx context.Context, userID uuid.UUID, page database.Page) ([]Session, error) {
	query, err := paged(s.db.Gorm().WithContext(ctx), page)
	if err != nil {
		return nil, err
	}
	var rows []sessionRow
	err = query.Where("user_id = ? AND revoked_at IS NULL AND expires_at > ?", userID, database.ToMicros(s.now())).Find(&rows).Error
	if err != nil {
		return nil, translated("list sessions", err)
	}
	sessions := make([]Session, len(rows))
	for i, row := range rows {
		sessions[i] = row.session()
	}
	return sessions, nil
}

var (
	lockSession = database.SQL(`SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2 {update}`)
	endSession  = database.SQL(`
	UPDATE sessions SET revoked_at = coalesce(revoked_at, $3) WHERE id = $1 AND user_id = $2
	RETURNING secret_hash`)
)

// EndSession ends a session of a user, at once on this replica and within the cache's life on others. Errors: ErrNotFound,
// also for another user's; the guard's, the context's and the database's.
func (s *Service) EndSession(ctx context.Context, guard func(*database.Batch), userID, id uuid.UUID) error {
	var b database.Batch
	var ended ended
	b.Exec(lockSession, id, userID) // before the guard, which may share it
	guarded(&b, guard)
	b.Require(ErrNotFound, lockSession, id, userID)
	b.Query(ended.session, endSession, id, userID, database.ToMicros(s.now()))
	audit.Append(ctx, &b, audit.Entry{Action: audit.SessionEnd, Object: id.String()})
	if err := s.db.Run(ctx, &b); err != nil {
		return fmt.Errorf("auth: end session: %w", err)
	}
	s.forget(ended)
	return nil
}
