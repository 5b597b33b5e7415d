package projects

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rbac"
)

// Member is a user with a role in a project.
type Member struct {
	UserID    uuid.UUID
	Email     string
	Name      string
	Role      rbac.Role
	Version   int64 // raised by every change
	CreatedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
}

const memberColumns = `
	SELECT m.user_id, u.email, u.name, m.role, m.version, m.created_by, m.created_at,
		CASE WHEN m.updated_at > m.created_at THEN m.updated_at ELSE m.created_at END
	FROM members m JOIN users u ON u.id = m.user_id `

var (
	listMembers   = database.SQL(memberColumns + `WHERE m.project_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT {limit:$3}`)
	memberByID    = database.SQL(memberColumns + `WHERE m.project_id = $1 AND m.user_id = $2`)
	memberByEmail = database.SQL(memberColumns + `WHERE m.project_id = $1 AND u.email = $2`)
	userByEmail   = database.SQL(`SELECT 1 FROM users WHERE email = $1 {share}`)
	addMember     = database.SQL(`
		INSERT INTO members (project_id, user_id, role, created_by, created_at, updated_at)
		SELECT {uuid:$1}, u.id, {text:$3}, {text:$4}, {bigint:$5}, {bigint:$5} FROM users u WHERE u.email = $2
		ON CONFLICT (project_id, user_id) DO NOTHING
		RETURNING 1`)
	memberExists  = database.SQL(`SELECT 1 FROM members WHERE project_id = $1 AND user_id = $2`)
	memberVersion = database.SQL(`SELECT 1 FROM members WHERE project_id = $1 AND user_id = $2 AND version = $3`)
	// ownerStays holds unless the member is the last owner and is to be something else.
	ownerStays = database.SQL(`
		SELECT 1 FROM members m WHERE m.project_id = $1 AND m.user_id = $2
		  AND (m.role <> 'owner' OR {text:$3} = 'owner' OR EXISTS (
			SELECT 1 FROM members o WHERE o.project_id = $1 AND o.user_id <> $2 AND o.role = 'owner'))`)
	changeMember = database.SQL(`
		UPDATE members SET role = $3, version = version + 1, updated_at = $4 WHERE project_id = $1 AND user_id = $2`)
	removeMember = database.SQL(`DELETE FROM members WHERE project_id = $1 AND user_id = $2`)
)

// Members lists a project's members. The key is the user's identifier, in canonical form. Errors: an *InputError of the
// key, the context's and the database's.
func (s *Service) Members(ctx context.Context, id uuid.UUID, page database.Page) ([]Member, error) {
	after, err := keyID(page)
	if err != nil {
		return nil, wrapped("list members", err)
	}
	found, err := collect(ctx, s.db, func(r database.Rows) (Member, error) { return scanMember(r) },
		listMembers, id, after, int64(page.Limit))
	return found, wrapped("list members", err)
}

// Member gives one member. Errors: ErrNoMember, the context's and the database's.
func (s *Service) Member(ctx context.Context, id, userID uuid.UUID) (Member, error) {
	m, err := scanMember(s.db.QueryRow(ctx, memberByID, id, userID))
	if errors.Is(err, database.ErrNoRows) {
		err = ErrNoMember
	}
	return m, wrapped("member", err)
}

// AddMember makes the user of an e-mail address a member. by is the principal who does it. Errors: ErrNotFound,
// ErrNoSuchUser, ErrMemberExists, limits.ErrExceeded, an *InputError, those of the guard, the context's and the database's.
func (s *Service) AddMember(
	ctx context.Context, guard Guard, id uuid.UUID, email string, role rbac.Role, by string,
) (Member, error) {
	if err := errors.Join(validRole(role), validText("email", email)); err != nil {
		return Member{}, wrapped("add member", err)
	}
	email = strings.ToLower(email) // as it is stored
	b := s.beginLive(guard, id)
	b.Require(ErrNoSuchUser, userByEmail, email)
	b.Require(ErrMemberExists, addMember, id, email, string(role), by, database.ToMicros(s.now()))
	audit.AppendAboutUser(ctx, b, audit.Entry{
		Action: audit.MemberAdd, Project: id, Object: email, Detail: memberDetail{Role: role},
	})
	s.opts.Limits.RequireMembers(b, id)
	m, err := s.commitMember(ctx, b, id, memberByEmail, email)
	return m, wrapped("add member", err)
}

// ChangeMember gives a member another role, if the member has the version ifVersion (0: any). Errors: ErrNotFound,
// ErrNoMember, ErrVersion, ErrLastOwner, an *InputError, those of the guard, the context's and the database's.
func (s *Service) ChangeMember(
	ctx context.Context, guard Guard, id, userID uuid.UUID, role rbac.Role, ifVersion int64,
) (Member, error) {
	if err := validRole(role); err != nil {
		return Member{}, wrapped("change member", err)
	}
	b := s.beginLive(guard, id)
	b.Require(ErrNoMember, memberExists, id, userID)
	if ifVersion != 0 {
		b.Require(ErrVersion, memberVersion, id, userID, ifVersion)
	}
	b.Require(ErrLastOwner, ownerStays, id, userID, string(role))
	b.Exec(changeMember, id, userID, string(role), database.ToMicros(s.now()))
	audit.Append(ctx, b, audit.Entry{
		Action: audit.MemberChange, Project: id, Object: userID.String(), Detail: memberDetail{Role: role},
	})
	m, err := s.commitMember(ctx, b, id, memberByID, userID)
	return m, wrapped("change member", err)
}

// RemoveMember takes a user's role away. Errors: ErrNotFound, ErrNoMember, ErrLastOwner, those of the guard, the
// context's and the database's.
func (s *Service) RemoveMember(ctx context.Context, guard Guard, id, userID uuid.UUID) error {
	b := s.beginLive(guard, id)
	b.Require(ErrNoMember, memberExists, id, userID)
	b.Require(ErrLastOwner, ownerStays, id, userID, "")
	b.Exec(removeMember, id, userID)
	audit.Append(ctx, b, audit.Entry{Action: audit.MemberRemove, Project: id, Object: userID.String()})
	return wrapped("remove member", s.commit(ctx, b, id))
}

// memberDetail is what the audit log tells of a member.
type memberDetail struct {
	Role rbac.Role `json:"role"` // from then on
}

// commitMember is commit, and gives the member that stmt reads.
func (s *Service) commitMember(
	ctx context.Context, b *database.Batch, id uuid.UUID, stmt database.Stmt, key any,
) (Member, error) {
	var m Member
	b.Query(func(r database.Rows) (err error) {
		m, err = scanMember(r)
		return err
	}, stmt, id, key)
	if err := s.commit(ctx, b, id); err != nil {
		return Member{}, err
	}
	return m, nil
}

func scanMember(row scanner) (Member, error) {
	var m Member
	err := row.Scan(&m.UserID, &m.Email, &m.Name, &m.Role, &m.Version, &m.CreatedBy,
		(*instant)(&m.CreatedAt), (*instant)(&m.UpdatedAt))
	return m, err
}

// validRole refuses what no member can be. Errors: *InputError.
func validRole(role rbac.Role) error {
	switch role {
	case rbac.RoleViewer, rbac.RoleDeveloper, rbac.RoleMaintainer, rbac.RoleOwner:
		return nil
	}
	return &InputError{Field: "role", Reason: "it must be viewer, developer, maintainer or owner"}
}

// missingUser is ErrNoSuchUser for a row that refers to a user, or the user's account, who is not there.
func missingUser(err error) error {
	if errors.Is(err, database.ErrForeignKey) {
		return ErrNoSuchUser
	}
	return err
}
