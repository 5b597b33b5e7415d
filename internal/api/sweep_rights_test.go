package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/api/apitest"
)

// What an answer says of the caller's rights.
const (
	ok       = "ok"       // it is done
	deny     = "deny"     // the caller may know of the project, but not do this
	hide     = "hide"     // as if there were no such project
	conflict = "conflict" // the caller may do this, but not to a project in this state
)

// users are the columns of the tables of rights: who the caller is in the project.
var users = []string{"user", "viewer", "developer", "maintainer", "owner", "admin"}

// states are the kinds of projects.
var states = []string{"private", "public", "unclaimed", "suspended", "deleted"}

// rights is the whole truth about operations on projects, by x-berth-access (and the operation where its state matters
// more than that), state of the project and role. An unclaimed project has no members. Nobody writes to a suspended
// project, or reads it but an admin; whoever has a role in it may know why. A deleted one only comes back.
var rights = map[string]map[string]string{
	"view": {
		"private":   "hide ok ok ok ok ok",
		"public":    "ok ok ok ok ok ok",
		"unclaimed": "ok ok ok ok ok ok",
		"suspended": "hide ok ok ok ok ok",
		"deleted":   "hide ok ok ok ok ok",
	},
	"pull": {
		"private":   "hide ok ok ok ok ok",
		"public":    "ok ok ok ok ok ok",
		"unclaimed": "deny deny deny deny deny ok",
		"suspended": "hide deny deny deny deny ok",
		"deleted":   "hide deny deny deny deny deny",
	},
	"inspect": {
		"private":   "hide ok ok ok ok ok",
		"public":    "deny ok ok ok ok ok",
		"unclaimed": "deny deny deny deny deny ok",
		"suspended": "hide deny deny deny deny ok",
		"deleted":   "hide deny deny deny deny deny",
	},
	"claim": {
		"private":   "hide conflict conflict conflict conflict conflict",
		"public":    "conflict conflict conflict conflict conflict conflict",
		"unclaimed": "ok ok ok ok ok ok",
		"suspended": "hide deny deny deny deny deny",
		"deleted":   "hide deny deny deny deny deny",
	},
	"delete":          byMaintainers,
	"undelete":        byMaintainers,
	"manage_robots":   byMaintainers,
	"manage_runners":  byMaintainers,
	"manage_members":  byOwners,
	"manage_settings": byOwners,
	"delete_project":  byOwners,
	"restore": {
		"private":   "hide deny deny deny conflict conflict",
		"public":    "deny deny deny deny conflict conflict",
		"unclaimed": "deny deny deny deny deny conflict",
		"suspended": "hide deny deny deny conflict conflict",
		"deleted":   "hide deny deny deny ok ok",
	},
	"admin suspendProject": {
		"private":   "deny deny deny deny deny ok",
		"public":    "deny deny deny deny deny ok",
		"unclaimed": "deny deny deny deny deny ok",
		"suspended": "deny deny deny deny deny conflict",
		"deleted":   "deny deny deny deny deny hide",
	},
	"admin resumeProject": {
		"private":   "deny deny deny deny deny conflict",
		"public":    "deny deny deny deny deny conflict",
		"unclaimed": "deny deny deny deny deny conflict",
		"suspended": "deny deny deny deny deny ok",
		"deleted":   "deny deny deny deny deny hide",
	},
}

var byMaintainers = map[string]string{
	"private":   "hide deny deny ok ok ok",
	"public":    "deny deny deny ok ok ok",
	"unclaimed": "deny deny deny deny deny ok",
	"suspended": "hide deny deny deny deny deny",
	"deleted":   "hide deny deny deny deny deny",
}

var byOwners = map[string]string{
	"private":   "hide deny deny deny ok ok",
	"public":    "deny deny deny deny ok ok",
	"unclaimed": "deny deny deny deny deny ok",
	"suspended": "hide deny deny deny deny deny",
	"deleted":   "hide deny deny deny deny deny",
}

// rightsElsewhere are those of operations without a project in their path.
var rightsElsewhere = map[string]string{
	"open":   "ok ok ok ok ok ok",
	"caller": "ok ok ok ok ok ok",
	"admin":  "deny deny deny deny deny ok",
}

// machines are the callers who are no users: what they get for everything that is not open.
var machines = map[string]int{
	"nobody":           http.StatusUnauthorized,
	"bad credential":   http.StatusUnauthorized,
	"expired token":    http.StatusUnauthorized,
	"expired session":  http.StatusUnauthorized,
	"revoked token":    http.StatusUnauthorized,
	"ended session":    http.StatusUnauthorized,
	"locked user":      http.StatusUnauthorized,
	"robot":            http.StatusForbidden,
	"runner":           http.StatusForbidden,
	"restricted token": http.StatusForbidden,
	"bearer token":     http.StatusForbidden,
}

// otherwise are operations that answer the sweep's request with something else than success although the caller may.
var otherwise = map[string]int{
	"signUp":          http.StatusForbidden,           // it is closed
	"startCollection": http.StatusConflict,            // it is switched off
	"startScrub":      http.StatusConflict,            // so is this
	"changePassword":  http.StatusUnprocessableEntity, // the callers have none
}

// right is the table's entry for an operation, a state ("" without a project) and a user.
func right(t *testing.T, op apitest.Operation, state, user string) string {
	t.Helper()
	row := rightsElsewhere[op.Access]
	if op.Has("project") {
		byState, special := rights[op.Access+" "+op.ID]
		if !special {
			byState = rights[op.Access]
		}
		row = byState[state]
	}
	columns := strings.Fields(row)
	for i, name := range users {
		if name == user && i < len(columns) {
			return columns[i]
		}
	}
	t.Fatalf("%s: no rights are written down for %q, %q, %q", op.ID, op.Access, state, user)
	return ""
}

// statusFor is the status that a right asks for.
func statusFor(op apitest.Operation, right string) int {
	switch right {
	case deny:
		return http.StatusForbidden
	case hide:
		return http.StatusNotFound
	case conflict:
		return http.StatusConflict
	}
	if status, odd := otherwise[op.ID]; odd {
		return status
	}
	return op.Success
}
