package rbac

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func newEnforcer(t testing.TB, opts Options) *Enforcer {
	t.Helper()
	e, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const all = "pull push delete undelete claim manage_robots manage_runners manage_members manage_settings delete_project inspect administer"

const (
	maintain = "pull inspect push delete undelete manage_robots manage_runners"
	own      = maintain + " manage_members manage_settings delete_project"
)

// row states the rights of the principals that match it: for each state of a project the actions, all others denied.
type row struct {
	name                                                   string
	match                                                  func(q Question) bool
	absent, unclaimed, private, public, suspended, deleted string
}

// table is the rights table for a server with unclaimed push and without unclaimed pull (the default).
var table = []row{
	{name: "anonymous", match: kind(KindAnonymous),
		absent: "push", unclaimed: "push", private: "", public: "pull"},

	{name: "user without a role", match: member(RoleNone),
		absent: "push", unclaimed: "push claim", private: "", public: "pull"},
	{name: "viewer", match: member(RoleViewer),
		absent: "push", unclaimed: "push claim", private: "pull inspect", public: "pull inspect"},
	{name: "developer", match: member(RoleDeveloper),
		absent: "push", unclaimed: "push claim", private: "pull inspect push", public: "pull inspect push"},
	{name: "maintainer", match: member(RoleMaintainer),
		absent: "push", unclaimed: "push claim", private: maintain, public: maintain},
	{name: "owner", match: member(RoleOwner),
		absent: "push", unclaimed: "push claim", private: own, public: own},
	{name: "admin", match: func(q Question) bool { return q.Kind == KindUser && q.Admin },
		absent: "pull push", unclaimed: all, private: all, public: all, suspended: "pull inspect"},

	{name: "robot of another project", match: robot(RoleNone),
		public: "pull"},
	{name: "robot that pulls", match: robot(RoleViewer),
		private: "pull", public: "pull"},
	{name: "robot that pushes", match: robot(RoleDeveloper, RoleMaintainer, RoleOwner),
		private: "pull push", public: "pull push"},

	{name: "runner without a grant", match: runner(false, true, false),
		public: "pull"},
	{name: "runner with a grant, by tag", match: runner(true, false),
		private: "pull", public: "pull"},
	{name: "runner with a grant, by digest", match: runner(true, true),
		unclaimed: "pull", private: "pull", public: "pull"},
}

func kind(k Kind) func(Question) bool { return func(q Question) bool { return q.Kind == k } }

func member(r Role) func(Question) bool {
	return func(q Question) bool { return q.Kind == KindUser && !q.Admin && q.Role == r }
}

func robot(roles ...Role) func(Question) bool {
	return func(q Question) bool { return q.Kind == KindRobot && slices.Contains(roles, q.Role) }
}

func runner(granted bool, byDigest ...bool) func(Question) bool {
	return func(q Question) bool {
		return q.Kind == KindRunner && q.Granted == granted && slices.Contains(byDigest, q.ByDigest)
	}
}

// under gives the row as other settings change it.
func (r row) under(opts Options, person bool) row {
	if !person || strings.HasPrefix(r.name, "admin") {
		return r
	}
	if r.name == "anonymous" && !opts.UnclaimedPush {
		r.absent, r.unclaimed = "", ""
		return r
	}
	if opts.UnclaimedPull {
		r.unclaimed += " pull"
	}
	return r
}

func (r row) cell(q Question) string {
	switch q.State {
	case StateAbsent:
		return r.absent
	case StateUnclaimed:
		return r.unclaimed
	case StateSuspended:
		return r.suspended
	case StateDeleted:
		return r.deleted
	}
	if q.Visibility == Public {
		return r.public
	}
	return r.private
}

var (
	allKinds  = []Kind{KindAnonymous, KindUser, KindRobot, KindRunner}
	allRoles  = []Role{RoleNone, RoleViewer, RoleDeveloper, RoleMaintainer, RoleOwner}
	allStates = []State{StateAbsent, StateUnclaimed, StateActive, StateSuspended, StateDeleted}
	booleans  = []bool{false, true}
)

// questions calls f with every question there is.
func questions(f func(Question)) {
	for _, k := range allKinds {
		for _, r := range allRoles {
			for _, s := range allStates {
				for _, a := range strings.Fields(all) {
					for bits := range 16 {
						v := Private
						if bits&8 != 0 {
							v = Public
						}
						f(Question{Kind: k, Admin: bits&1 != 0, Role: r, Granted: bits&2 != 0, State: s, Visibility: v,
							Action: Action(a), ByDigest: bits&4 != 0})
					}
				}
			}
		}
	}
}

func TestEveryCellOfTheRightsTable(t *testing.T) {
	for _, push := range booleans {
		for _, pull := range booleans {
			opts := Options{UnclaimedPush: push, UnclaimedPull: pull}
			t.Run(fmt.Sprintf("push=%t,pull=%t", push, pull), func(t *testing.T) {
				e := newEnforcer(t, opts)
				asked := 0
				questions(func(q Question) {
					asked++
					want := expected(t, opts, q)
					if got := e.Allow(q); got != want {
						t.Errorf("%+v: allowed %t, want %t", q, got, want)
					}
				})
				if asked != 4*5*5*12*16 {
					t.Errorf("asked %d questions", asked)
				}
			})
		}
	}
}

func expected(t *testing.T, opts Options, q Question) bool {
	t.Helper()
	var matching []row
	for _, r := range table {
		if r.match(q) {
			matching = append(matching, r)
		}
	}
	if len(matching) != 1 {
		t.Fatalf("%+v: %d rows of the table match", q, len(matching))
	}
	person := q.Kind == KindAnonymous || q.Kind == KindUser
	r := matching[0].under(opts, person)
	return slices.Contains(strings.Fields(r.cell(q)), string(q.Action))
}

func TestUnknownValuesAreDenied(t *testing.T) {
	e := newEnforcer(t, Options{UnclaimedPush: true, UnclaimedPull: true})
	base := Question{Kind: KindUser, Admin: true, State: StateActive, Visibility: Public, Action: Pull}
	if !e.Allow(base) {
		t.Fatal("the base case is denied")
	}
	for name, change := range map[string]func(*Question){
		"zero":                        func(q *Question) { *q = Question{} },
		"kind":                        func(q *Question) { q.Kind = "" },
		"kind that is a role":         func(q *Question) { q.Kind = "owner" },
		"role":                        func(q *Question) { q.Admin, q.Role = false, "root" },
		"role that is a subject":      func(q *Question) { q.Admin, q.Role, q.Action = false, "superuser", Delete },
		"robot role":                  func(q *Question) { q.Kind, q.Role = KindRobot, "root" },
		"state":                       func(q *Question) { q.State = "" },
		"state that is a group":       func(q *Question) { q.State = "public2" },
		"action":                      func(q *Question) { q.Action = "" },
		"action that is the wildcard": func(q *Question) { q.Action = "any" },
	} {
		t.Run(name, func(t *testing.T) {
			q := base
			change(&q)
			if e.Allow(q) {
				t.Errorf("%+v is allowed", q)
			}
		})
	}
}

// A role that names another subject of the policy must not become it.
func TestARoleCannotNameAnotherSubject(t *testing.T) {
	e := newEnforcer(t, Options{UnclaimedPush: true})
	for _, role := range []Role{"admin", "user", "anonymous", "pushing-robot", "granted-runner"} {
		q := Question{Kind: KindUser, Role: role, State: StateActive, Visibility: Private, Action: Pull}
		if e.Allow(q) {
			t.Errorf("role %q may pull", role)
		}
	}
}

// Nor may a state that names a case of the policy become that.
func TestAStateCannotNameAnotherCase(t *testing.T) {
	e := newEnforcer(t, Options{UnclaimedPush: true})
	for _, state := range []State{"public", "private"} {
		if e.Allow(Question{Kind: KindUser, Role: RoleOwner, State: state, Action: Pull}) {
			t.Errorf("state %q allows a pull", state)
		}
	}
}

func TestAnUnknownVisibilityIsPrivate(t *testing.T) {
	e := newEnforcer(t, Options{})
	if e.Allow(Question{Kind: KindAnonymous, State: StateActive, Visibility: "PUBLIC", Action: Pull}) {
		t.Error("pulled")
	}
}

// TestLessNeverAllowsMore takes a right away: a lower role, no admin flag, no grant, no credential, a private project, or
// a setting turned off. No such step may allow what was denied before.
func TestLessNeverAllowsMore(t *testing.T) {
	enforcers := map[Options]*Enforcer{}
	for _, push := range booleans {
		for _, pull := range booleans {
			opts := Options{UnclaimedPush: push, UnclaimedPull: pull}
			enforcers[opts] = newEnforcer(t, opts)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		opts := Options{UnclaimedPush: rapid.Bool().Draw(t, "push"), UnclaimedPull: rapid.Bool().Draw(t, "pull")}
		q := Question{
			Kind: rapid.SampledFrom(allKinds).Draw(t, "kind"), Admin: rapid.Bool().Draw(t, "admin"),
			Role: rapid.SampledFrom(allRoles).Draw(t, "role"), Granted: rapid.Bool().Draw(t, "granted"),
			State:      rapid.SampledFrom(allStates).Draw(t, "state"),
			Visibility: rapid.SampledFrom([]Visibility{Private, Public}).Draw(t, "visibility"),
			Action:     rapid.SampledFrom(actions).Draw(t, "action"), ByDigest: rapid.Bool().Draw(t, "by digest"),
		}
		less, lessOpts := q, opts
		switch rapid.SampledFrom([]string{"role", "admin", "grant", "kind", "visibility", "push", "pull"}).Draw(t, "loses") {
		case "role":
			at := slices.Index(allRoles, q.Role)
			less.Role = rapid.SampledFrom(allRoles[:at+1]).Draw(t, "lower role")
		case "admin":
			less.Admin = false
		case "grant":
			less.Granted = false
		case "kind":
			if q.Kind == KindUser {
				less.Kind = KindAnonymous
			}
		case "visibility":
			less.Visibility = Private
		case "push":
			lessOpts.UnclaimedPush = false
		case "pull":
			lessOpts.UnclaimedPull = false
		}
		if !enforcers[opts].Allow(q) && enforcers[lessOpts].Allow(less) {
			t.Fatalf("%+v is denied, but %+v is allowed", q, less)
		}
	})
}

func TestThePolicyStaysSmall(t *testing.T) {
	rows, err := policyRows()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) >= 40 {
		t.Errorf("%d rows: tenants do not belong into the policy", len(rows))
	}
}

// TestEveryRowHasAnEffect finds misspelt rows: each p row must allow at least one case that New asks about.
func TestEveryRowHasAnEffect(t *testing.T) {
	rows, err := policyRows()
	if err != nil {
		t.Fatal(err)
	}
	e := newEnforcer(t, Options{UnclaimedPush: true, UnclaimedPull: true})
	for _, row := range rows {
		if row[0] != "p" {
			continue
		}
		states, action := []string{row[2]}, Action(row[3])
		if row[2] == "active" {
			states = []string{"private", "public"}
		}
		if row[3] == "any" {
			action = DeleteProject
		}
		for _, state := range states {
			if _, ok := e.rights[right{row[1], state, action}]; !ok {
				t.Errorf("row %v allows nothing", row)
			}
		}
	}
}

func TestAnUnknownSettingIsAnError(t *testing.T) {
	if _, err := (Options{}).enabled([]any{"sometimes"}); err == nil {
		t.Error("accepted")
	}
}
