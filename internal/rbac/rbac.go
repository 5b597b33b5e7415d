// Package rbac decides what a principal may do to a project. The policy is a Casbin model and some thirty rows that are
// embedded in the binary; no tenant ever becomes a row. A question carries all that the answer depends on, so that a
// decision is a pure function: New asks Casbin about every case once, and Allow reads the answer from a table.
package rbac

// Kind is the kind of a principal.
type Kind string

// The kinds of principals.
const (
	KindAnonymous Kind = "anonymous" // no credential
	KindUser      Kind = "user"      // a person, by a personal token
	KindRobot     Kind = "robot"     // a project's CI token
	KindRunner    Kind = "runner"    // a pull-only machine token
)

// Role is what a principal is in one project. Each role includes the ones before it.
type Role string

// The roles, from the least to the greatest.
const (
	RoleNone       Role = ""
	RoleViewer     Role = "viewer"
	RoleDeveloper  Role = "developer"
	RoleMaintainer Role = "maintainer"
	RoleOwner      Role = "owner"
)

// State is the state of a project.
type State string

// The states of a project.
const (
	StateAbsent    State = "absent" // no project has this name yet
	StateUnclaimed State = "unclaimed"
	StateActive    State = "active"
	StateSuspended State = "suspended"
	StateDeleted   State = "deleted"
)

// Visibility says whether an active project can be pulled without a role.
type Visibility string

// The visibilities. What is neither counts as private.
const (
	Private Visibility = "private"
	Public  Visibility = "public"
)

// Action is what a principal wants to do.
type Action string

//go:generate go test -count=1 -run ^TestTheRightsPageIsUpToDate$ . -args -update

// The actions. Push includes the existence checks that clients make while they push.
const (
	Pull           Action = "pull"
	Push           Action = "push"
	Delete         Action = "delete"
	Undelete       Action = "undelete"
	Claim          Action = "claim"
	ManageRobots   Action = "manage_robots"
	ManageRunners  Action = "manage_runners"
	ManageMembers  Action = "manage_members"
	ManageSettings Action = "manage_settings"
	DeleteProject  Action = "delete_project"
	Inspect        Action = "inspect"    // see members and usage
	Administer     Action = "administer" // of the server; asked as of an active, private project without a role
)

// Question is all that a decision depends on.
type Question struct {
	Kind       Kind
	Admin      bool // of a user; ignored for other kinds
	Role       Role // a member's, or the one that a robot's token carries; ignored for other kinds
	Granted    bool // a runner has a grant for the repository; ignored for other kinds
	State      State
	Visibility Visibility // of an active project
	Action     Action
	ByDigest   bool // a pull names a digest, not a tag: all that a runner may pull from an unclaimed project
}

// Options are the server's settings that the policy depends on.
type Options struct {
	UnclaimedPush bool // let anonymous push to unclaimed projects, and to absent ones, which makes them
	UnclaimedPull bool // let all who may push to unclaimed projects pull from them too
}

// subject names the question's principal as the policy does, "" if the policy has no such principal.
func (q Question) subject() string {
	switch q.Kind {
	case KindAnonymous:
		return "anonymous"
	case KindUser:
		return q.user()
	case KindRobot:
		return q.robot()
	case KindRunner:
		return q.runner()
	}
	return ""
}

func (q Question) user() string {
	if q.Admin {
		return "admin"
	}
	switch q.Role {
	case RoleNone:
		return "user"
	case RoleViewer, RoleDeveloper, RoleMaintainer, RoleOwner:
		return string(q.Role)
	}
	return ""
}

// robot caps a role above developer: no robot token carries one.
func (q Question) robot() string {
	switch q.Role {
	case RoleNone:
		return "robot"
	case RoleViewer:
		return "pulling-robot"
	case RoleDeveloper, RoleMaintainer, RoleOwner:
		return "pushing-robot"
	}
	return ""
}

func (q Question) runner() string {
	switch {
	case q.Granted && q.ByDigest:
		return "granted-runner-by-digest"
	case q.Granted:
		return "granted-runner"
	}
	return "runner"
}

// project names the state of the question's project as the policy does, "" if the policy has no such state.
func (q Question) project() string {
	switch q.State {
	case StateAbsent, StateUnclaimed, StateSuspended, StateDeleted:
		return string(q.State)
	case StateActive:
		if q.Visibility == Public {
			return "public"
		}
		return "private"
	}
	return ""
}
