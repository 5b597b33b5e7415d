package api

import (
	"time"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// optional is nil for the zero value: the contract leaves out what is not there.
func optional[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// valueOf is the zero value for what was left out.
func valueOf[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// optionalList is nil for an empty list, which the contract takes for a limit to nothing.
func optionalList[T any](list []T) *[]T {
	if len(list) == 0 {
		return nil
	}
	return &list
}

// each converts a list; it is never nil, which JSON would show as null.
func each[From, To any](list []From, convert func(From) To) []To {
	out := make([]To, len(list))
	for i := range list {
		out[i] = convert(list[i])
	}
	return out
}

func userOf(u auth.User) apigen.User {
	return apigen.User{
		ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin, Locked: u.Locked,
		CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(),
	}
}

func sessionOf(s auth.Session, current *call) apigen.Session {
	return apigen.Session{
		ID: s.ID, Current: s.ID == current.credential.SessionID, UserAgent: s.UserAgent, RemoteIP: s.RemoteIP,
		CreatedAt: s.CreatedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(), LastUsedAt: optionalTime(s.LastUsedAt),
	}
}

func grantsOf(g *auth.Grants) *apigen.Grants {
	if g == nil {
		return nil
	}
	return &apigen.Grants{
		Actions:      each(g.Actions, func(a rbac.Action) apigen.Action { return apigen.Action(a) }),
		Projects:     optionalList(g.Projects),
		Repositories: optionalList(g.Repositories),
		Tags:         optionalList(g.Tags),
	}
}

func grantsFrom(g *apigen.Grants) *auth.Grants {
	if g == nil {
		return nil
	}
	return &auth.Grants{
		Actions:      each(g.Actions, func(a apigen.Action) rbac.Action { return rbac.Action(a) }),
		Projects:     valueOf(g.Projects),
		Repositories: valueOf(g.Repositories),
		Tags:         valueOf(g.Tags),
	}
}

func tokenOf(t auth.Token) apigen.Token {
	return apigen.Token{
		ID: t.ID, Name: t.Name, Hint: t.Hint, Grants: grantsOf(t.Grants), CreatedAt: t.CreatedAt.UTC(),
		ExpiresAt: optionalTime(t.ExpiresAt), LastUsedAt: optionalTime(t.LastUsedAt),
	}
}

func robotOf(t auth.Token) apigen.Robot {
	return apigen.Robot{
		ID: t.ID, Name: t.Name, Hint: t.Hint, Grants: valueOf(grantsOf(t.Grants)), CreatedBy: t.CreatedBy,
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: optionalTime(t.ExpiresAt), LastUsedAt: optionalTime(t.LastUsedAt),
	}
}

func inviteOf(i auth.Invite) apigen.Invite {
	return apigen.Invite{
		ID: i.ID, Hint: i.Hint, Email: optional(i.Email), CreatedBy: i.CreatedBy, CreatedAt: i.CreatedAt.UTC(),
		ExpiresAt: i.ExpiresAt.UTC(), UsedAt: optionalTime(i.UsedAt), UsedBy: optional(i.UsedBy),
	}
}

func projectOf(p projects.Project, role rbac.Role) apigen.Project {
	return apigen.Project{
		ID: p.ID, Slug: optional(p.Slug), State: apigen.State(p.State), Visibility: apigen.Visibility(p.Visibility),
		Description: p.Description, Role: optional(apigen.Role(role)),
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), ClaimedAt: optionalTime(p.ClaimedAt),
		ExpiresAt: optionalTime(p.ExpiresAt), SuspendedAt: optionalTime(p.SuspendedAt),
		SuspendedReason: optional(p.SuspendedReason), DeletedAt: optionalTime(p.DeletedAt), PurgeAfter: optionalTime(p.PurgeAfter),
	}
}

func memberOf(m projects.Member) apigen.Member {
	out := apigen.Member{Role: apigen.Role(m.Role), CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.UpdatedAt.UTC()}
	out.User.ID, out.User.Email, out.User.Name = m.UserID, m.Email, m.Name
	return out
}
