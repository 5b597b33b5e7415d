package rbac

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/rights.md instead of comparing it")

// TestTheRightsPageIsUpToDate holds docs/rights.md against the policy; `go generate ./internal/rbac` writes it.
func TestTheRightsPageIsUpToDate(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "rights.md")
	want := page(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date: run go generate ./internal/rbac", path)
	}
}

// explained is in the order of the page.
var (
	explainedSubjects = [][2]string{
		{"anonymous", "no credential"},
		{"user", "signed in, without a role in the project"},
		{"viewer", "a member"}, {"developer", "a member"}, {"maintainer", "a member"}, {"owner", "a member"},
		{"admin", "a user who administers the server"},
		{"robot", "a robot outside its own project"},
		{"pulling-robot", "a robot of the project that may pull"},
		{"pushing-robot", "a robot of the project that may push"},
		{"runner", "a runner without a grant for the repository"},
		{"granted-runner", "a runner with a grant, pulling by tag"},
		{"granted-runner-by-digest", "a runner with a grant, pulling by digest"},
	}
	explainedActions = []struct {
		action  Action
		meaning string
	}{
		{Pull, "read manifests, blobs, tags and referrers"},
		{Inspect, "see members and usage"},
		{Push, "upload blobs, write manifests and tags; with the existence checks that clients make while they push"},
		{Delete, "delete tags, manifests and blobs"},
		{Undelete, "bring back what was deleted"},
		{Claim, "become the owner of an unclaimed project"},
		{ManageRobots, "make and revoke the project's robots"},
		{ManageRunners, "make and revoke the project's runners, and grant repositories to runners"},
		{ManageMembers, "add, change and remove members"},
		{ManageSettings, "rename the project, and change its visibility and description"},
		{DeleteProject, "delete and restore the project"},
		{Administer, "manage users, invitations, server-wide runners and all projects"},
	}
)

// setting is a case of the policy's last column: its mark on the page, and what it means.
type setting struct {
	mark, meaning string
	on            func(Options) bool
}

var settings = []setting{
	{"", "", func(Options) bool { return true }},
	{" ¹", "if `BERTH_UNCLAIMED_PUSH` is on, as it is by default", func(o Options) bool { return o.UnclaimedPush }},
	{" ²", "if `BERTH_UNCLAIMED_PULL` is on", func(o Options) bool { return o.UnclaimedPull }},
	{" ³", "if both are on", func(o Options) bool { return o.UnclaimedPush && o.UnclaimedPull }},
}

func page(t *testing.T) string {
	t.Helper()
	if len(explainedSubjects) != len(subjects) || len(explainedActions) != len(actions) {
		t.Fatal("the page does not explain every subject and action")
	}
	b := &strings.Builder{}
	b.WriteString(`<!-- Generated from internal/rbac/policy.csv by go generate ./internal/rbac. Do not edit. -->

# Who may do what

What is not listed is denied. A token can allow less than this, never more. Every request is decided by the current state
of the project, the role and the token; what was decided is checked again in the transaction of each change.

`)
	cells(t, b)
	for _, s := range settings[1:] {
		fmt.Fprintf(b, "%s %s  \n", strings.TrimSpace(s.mark), s.meaning)
	}
	b.WriteString("\nA project is *absent* until the first push to its name creates it, *unclaimed* if that push had no account, and then" +
		"\n*active*: private or public. *all* is every action.\n\n| principal | is |\n|---|---|\n")
	for _, s := range explainedSubjects {
		fmt.Fprintf(b, "| %s | %s |\n", s[0], s[1])
	}
	b.WriteString("\n| action | allows to |\n|---|---|\n")
	for _, a := range explainedActions {
		fmt.Fprintf(b, "| %s | %s |\n", a.action, a.meaning)
	}
	return b.String()
}

// cells writes the table: for each principal and state of a project the actions that are allowed.
func cells(t *testing.T, b *strings.Builder) {
	t.Helper()
	enforcers := map[Options]*Enforcer{}
	for _, push := range booleans {
		for _, pull := range booleans {
			opts := Options{UnclaimedPush: push, UnclaimedPull: pull}
			enforcers[opts] = newEnforcer(t, opts)
		}
	}
	fmt.Fprintf(b, "| | %s |\n|---|%s\n", strings.Join(states, " | "), strings.Repeat("---|", len(states)))
	for _, s := range explainedSubjects {
		row := []string{s[0]}
		for _, state := range states {
			row = append(row, cell(t, enforcers, s[0], state))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}

// cell lists what a principal may do to projects in some state.
func cell(t *testing.T, enforcers map[Options]*Enforcer, subject, state string) string {
	t.Helper()
	var allowed []string
	always := 0
	for _, a := range explainedActions {
		asked := right{subject, state, a.action}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.decides(enforcers, asked) })
		switch {
		case i >= 0:
			allowed = append(allowed, string(a.action)+settings[i].mark)
		case !(setting{on: func(Options) bool { return false }}).decides(enforcers, asked):
			t.Fatalf("%v depends on settings that the page does not know", asked)
		}
		if i == 0 {
			always++
		}
	}
	if always == len(explainedActions) {
		return "all"
	}
	return strings.Join(allowed, ", ")
}

// decides reports whether something is allowed exactly where the setting is on.
func (s setting) decides(enforcers map[Options]*Enforcer, asked right) bool {
	for opts, e := range enforcers {
		if _, ok := e.rights[asked]; ok != s.on(opts) {
			return false
		}
	}
	return true
}
