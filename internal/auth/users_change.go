package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// UserFilter limits a list of users.
type UserFilter struct {
	Email string // what the e-mail address begins with
}

// Users lists users, the newest last. Its key is the id. Errors: ErrInvalidInput for the page, the context's and the
// database's.
func (s *Service) Users(ctx context.Context, filter UserFilter, page database.Page) ([]User, error) {
	query, err := paged(s.db.Gorm().WithContext(ctx), page)
	if err != nil {
		return nil, err
	}
	if prefix := strings.ToLower(filter.Email); prefix != "" {
		query = query.Where("substr(email, 1, length(CAST(? AS text))) = ?", prefix, prefix)
	}
	var rows []userRow
	if err := query.Find(&rows).Error; err != nil {
		return nil, translated("list users", err)
	}
	users := make([]User, len(rows))
	for i, row := range rows {
		users[i] = row.user()
	}
	return users, nil
}

// User gives a user. Errors: ErrNotFound, the context's and the database's.
func (s *Service) User(ctx context.Context, id uuid.UUID) (User, error) {
	row, err := s.userByID(ctx, id)
	if err != nil {
		return User{}, err
	}
	return row.user(), nil
}

// UserByEmail gives a user. Errors: ErrNotFound, the context's and the database's.
func (s *Service) UserByEmail(ctx context.Context, email string) (User, error) {
	row, err := s.userByEmail(ctx, email)
	if err != nil {
		return User{}, err
	}
	return row.user(), nil
}

func (s *Service) userByID(ctx context.Context, id uuid.UUID) (userRow, error) {
	var row userRow
	err := s.db.Gorm().WithContext(ctx).Where("id = ?", id).Take(&row).Error
	return row, translated("user", err)
}

// UserChange is what of a user to change; nil: leave it.
type UserChange struct {
	Name     *string
	Admin    *bool
	Locked   *bool
	Password *string // "": no more log-in by password

	By uuid.UUID // the user who changes it, whose row the guard shares; Nil: nobody's
}

// demotes reports whether there could be one administrator less afterwards.
func (c UserChange) demotes() bool {
	return c.Admin != nil && !*c.Admin || c.Locked != nil && *c.Locked
}

// endsSessions reports whether who is logged in has to log in again.
func (c UserChange) endsSessions() bool { return c.Locked != nil && *c.Locked || c.Password != nil }

var (
	// lockAdmins makes changes that could take the last administrator away wait for each other, whomever they are about.
	// Rows are locked in the order of their ids, so that none wait in a ring.
	lockAdmins = database.SQL(`SELECT id FROM users WHERE admin OR id = $1 OR id = $2 ORDER BY id {update}`)

	// lockUsers locks whom a change is about and who makes it, even if its guard only shares the latter: two changes
	// that share a row could not both go on to change it.
	lockUsers      = database.SQL(`SELECT id FROM users WHERE id = $1 OR id = $2 ORDER BY id {update}`)
	userExists     = database.SQL(`SELECT 1 FROM users WHERE id = $1`)
	requireVersion = database.SQL(`SELECT 1 FROM users WHERE id = $1 AND version = $2`)

	// It reads what the ones before it in lockAdmins left.
	requireOtherAdmin = database.SQL(`
		SELECT 1 FROM users
		WHERE id <> {uuid:$1} AND admin AND locked_at IS NULL OR id = {uuid:$1} AND NOT (admin AND locked_at IS NULL)`)

	changeUser = database.SQL(`
		UPDATE users SET
			name = coalesce({text:$2}, name),
			admin = coalesce($3, admin),
			locked_at = CASE {bigint:$4} WHEN 1 THEN coalesce(locked_at, {bigint:$6}) WHEN 2 THEN NULL ELSE locked_at END,
			password_hash = nullif(coalesce({text:$5}, password_hash), ''),
			version = version + 1, updated_at = {bigint:$6}
		WHERE id = $1
		RETURNING id, account_id, email, name, admin, locked_at, created_at, updated_at, version`)

	lockSessionsOfUser = database.SQL(`SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id {update}`)

	endSessionsOfUser = database.SQL(`
		UPDATE sessions SET revoked_at = $3 WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL AND expires_at > $3
		RETURNING secret_hash`)

	secretsOfUser  = database.SQL(`SELECT id, secret_hash FROM tokens WHERE user_id = $1 AND revoked_at IS NULL`)
	sessionsOfUser = database.SQL(`SELECT secret_hash FROM sessions WHERE user_id = $1 AND revoked_at IS NULL`)
)

// ChangeUser changes a user if the version is still ifVersion; 0 is any. Who is locked out, or gets another password, is
// logged out; what a user may do changes at once on this replica and within the cache's life on others. Errors:
// ErrInvalidInput, ErrNotFound, ErrVersion, ErrLastAdmin, the guard's, the context's and the database's.
func (s *Service) ChangeUser(
	ctx context.Context, guard func(*database.Batch), id uuid.UUID, change UserChange, ifVersion int64,
) (User, error) {
	password, err := s.checkedChange(ctx, change)
	if err != nil {
		return User{}, err
	}
	now := database.ToMicros(s.now())
	var b database.Batch
	var ended ended
	// Sessions are locked before users, as by a credential's Require; and both before the guard, which shares some. They
	// end after it, for it may rest on one.
	if change.endsSessions() {
		b.Exec(lockSessionsOfUser, id)
	}
	if change.demotes() {
		b.Exec(lockAdmins, id, change.By)
	} else {
		b.Exec(lockUsers, id, change.By)
	}
	guarded(&b, guard)
	b.Require(ErrNotFound, userExists, id)
	if ifVersion != 0 {
		b.Require(ErrVersion, requireVersion, id, ifVersion)
	}
	if change.demotes() {
		b.Require(ErrLastAdmin, requireOtherAdmin, id)
	}
	var row userRow
	b.Query(row.scan, changeUser, id, change.Name, change.Admin, lockCode(change.Locked), password, now)
	b.Query(ended.tokenWithID, secretsOfUser, id)
	b.Query(ended.session, sessionsOfUser, id)
	if change.endsSessions() {
		b.Exec(endSessionsOfUser, id, uuid.Nil, now)
	}
	audit.Append(ctx, &b, audit.Entry{Action: audit.UserChange, Object: id.String(), Detail: change.audited()})
	if err := s.db.Run(ctx, &b); err != nil {
		return User{}, fmt.Errorf("auth: change user: %w", err)
	}
	s.forget(ended)
	return row.user(), nil
}

// audited is what the audit log tells of a change.
func (c UserChange) audited() any {
	return struct {
		Name     *string `json:"name,omitempty"`
		Admin    *bool   `json:"admin,omitempty"`
		Locked   *bool   `json:"locked,omitempty"`
		Password bool    `json:"password,omitempty"` // another one was set, or it was taken away
	}{c.Name, c.Admin, c.Locked, c.Password != nil}
}

// checkedChange validates a change and gives the hash of its password, which is slow to make: no transaction waits for it.
func (s *Service) checkedChange(ctx context.Context, change UserChange) (password *string, err error) {
	if change.Name != nil {
		if err := checkName(*change.Name); err != nil {
			return nil, err
		}
	}
	if change.Password == nil || *change.Password == "" {
		return change.Password, nil
	}
	if err := checkPassword(*change.Password); err != nil {
		return nil, err
	}
	phc, err := s.passwords.hash(ctx, *change.Password)
	return &phc, err
}

// lockCode is what changeUser takes for leave it, lock and unlock.
func lockCode(locked *bool) int64 {
	switch {
	case locked == nil:
		return 0
	case *locked:
		return 1
	}
	return 2
}

// scan reads the row that changeUser returns.
func (u *userRow) scan(r database.Rows) error {
	return r.Scan(&u.ID, &u.AccountID, &u.Email, &u.Name, &u.Admin, &u.LockedAt, &u.CreatedAt, &u.UpdatedAt, &u.Version)
}

// A password is replaced only while it is the one that was verified.
var replacePassword = database.SQL(`
	UPDATE users SET password_hash = $3, version = version + 1, updated_at = $4
	WHERE id = $1 AND password_hash = $2 AND locked_at IS NULL
	RETURNING id`)

// ChangePassword replaces a user's own password and ends all sessions but the one to keep, which may be Nil. Errors:
// ErrInvalidInput for the next one; ErrInvalidCredential if current is wrong, also for a user who has none, is locked or
// does not exist; the guard's, the context's and the database's.
func (s *Service) ChangePassword(
	ctx context.Context, guard func(*database.Batch), userID uuid.UUID, current, next string, keep uuid.UUID,
) error {
	if err := checkPassword(next); err != nil {
		return err
	}
	stored, err := s.verifyPasswordOf(ctx, userID, current)
	if err != nil {
		return err
	}
	phc, err := s.passwords.hash(ctx, next)
	if err != nil {
		return err
	}
	now := database.ToMicros(s.now())
	var b database.Batch
	var ended ended
	b.Exec(lockSessionsOfUser, userID)
	b.Exec(lockUsers, userID, uuid.Nil)
	guarded(&b, guard)
	b.Query(ended.session, endSessionsOfUser, userID, keep, now)
	b.Require(ErrInvalidCredential, replacePassword, userID, stored, phc, now)
	audit.Append(ctx, &b, audit.Entry{Action: audit.UserPassword, Object: userID.String()})
	if err := s.db.Run(ctx, &b); err != nil {
		return fmt.Errorf("auth: change password: %w", err)
	}
	s.forget(ended)
	return nil
}

// verifyPasswordOf gives the stored hash of a password that is right. Errors: ErrInvalidCredential, the context's and the
// database's.
func (s *Service) verifyPasswordOf(ctx context.Context, userID uuid.UUID, password string) (stored string, err error) {
	if len(password) > maxPassword {
		return "", fmt.Errorf("auth: %w: the password is too long", ErrInvalidCredential)
	}
	row, err := s.userByID(ctx, userID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	if row.PasswordHash != nil {
		stored = *row.PasswordHash
	}
	ok, err := s.passwords.verify(ctx, password, stored)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("auth: %w: wrong password", ErrInvalidCredential)
	}
	return stored, nil
}
