package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/rbac"
)

var everyAction = []rbac.Action{rbac.Pull, rbac.Push, rbac.Delete}

func TestGrantsByRepository(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		path     string
		want     bool
	}{
		{nil, "", true},
		{nil, "a/b/c", true},
		{[]string{"app"}, "app", true},
		{[]string{"app"}, "app/api", false},
		{[]string{"app"}, "application", false},
		{[]string{"app"}, "", false},
		{[]string{"*"}, "app", true},
		{[]string{"*"}, "app/api", false},
		{[]string{"app/*"}, "app/api", true},
		{[]string{"app/*"}, "app", false},
		{[]string{"app/*"}, "app/api/v2", false},
		{[]string{"app/**"}, "app/api/v2", true},
		{[]string{"app/**"}, "app", true},
		{[]string{"**"}, "", true},
		{[]string{"**"}, "a/b/c", true},
		{[]string{"**/api"}, "a/b/api", true},
		{[]string{"**/api"}, "a/b/xapi", false},
		{[]string{"a?c"}, "abc", true},
		{[]string{"a?c"}, "a/c", false},
		{[]string{"team-[ab]/*"}, "team-b/x", true},
		{[]string{"team-[!ab]/*"}, "team-b/x", false},
		{[]string{"other", "app"}, "app", true},
		{[]string{"[a"}, "a", false},  // never stored
		{[]string{"[a"}, "[a", false}, // nor a literal
	} {
		g := &Grants{Actions: everyAction, Repositories: c.patterns}
		if got := g.Allows(rbac.Push, uuid.Nil, c.path); got != c.want {
			t.Errorf("%q for %q: %t", c.patterns, c.path, got)
		}
	}
}

func TestGrantsByActionAndProject(t *testing.T) {
	mine, other := newID(), newID()
	for name, c := range map[string]struct {
		grants  *Grants
		action  rbac.Action
		project uuid.UUID
		want    bool
	}{
		"no grants grant all":      {nil, rbac.Delete, other, true},
		"also other actions":       {nil, rbac.ManageMembers, other, true},
		"granted action":           {&Grants{Actions: []rbac.Action{rbac.Pull}}, rbac.Pull, other, true},
		"another action":           {&Grants{Actions: []rbac.Action{rbac.Pull}}, rbac.Push, other, false},
		"push is not pull":         {&Grants{Actions: []rbac.Action{rbac.Push}}, rbac.Pull, other, false},
		"no more than the three":   {&Grants{Actions: everyAction}, rbac.Claim, other, false},
		"empty grants grant none":  {&Grants{}, rbac.Pull, other, false},
		"granted project":          {&Grants{Actions: everyAction, Projects: []uuid.UUID{mine}}, rbac.Pull, mine, true},
		"another project":          {&Grants{Actions: everyAction, Projects: []uuid.UUID{mine}}, rbac.Pull, other, false},
		"a project yet to be made": {&Grants{Actions: everyAction, Projects: []uuid.UUID{mine}}, rbac.Push, uuid.Nil, false},
	} {
		if got := c.grants.Allows(c.action, c.project, "app"); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestGrantsByTag(t *testing.T) {
	for _, c := range []struct {
		grants *Grants
		tag    string
		want   bool
	}{
		{nil, "latest", true},
		{&Grants{}, "latest", true},
		{&Grants{Tags: []string{"v*"}}, "v1.2.3", true},
		{&Grants{Tags: []string{"v*"}}, "latest", false},
		{&Grants{Tags: []string{"v*"}}, "", false},
		{&Grants{Tags: []string{"v[0-9]*", "edge"}}, "edge", true},
		{&Grants{Tags: []string{"v[0-9]*", "edge"}}, "vx", false},
		{&Grants{Tags: []string{"V1"}}, "v1", false},
	} {
		if got := c.grants.AllowsTag(c.tag); got != c.want {
			t.Errorf("%+v for %q: %t", c.grants, c.tag, got)
		}
	}
}

func TestGrantsThatAreRefused(t *testing.T) {
	pull := []rbac.Action{rbac.Pull}
	many := func(n int) []string { return strings.Split(strings.Repeat("a,", n-1)+"a", ",") }
	for name, c := range map[string]struct {
		kind   string
		grants *Grants
		field  string // "": accepted
	}{
		"none":                {TokenRunner, nil, ""},
		"all":                 {TokenPersonal, &Grants{Actions: everyAction, Projects: []uuid.UUID{newID()}}, ""},
		"fifty":               {TokenRobot, &Grants{Actions: pull, Tags: many(50)}, ""},
		"fifty-one":           {TokenRobot, &Grants{Actions: pull, Tags: many(51)}, "grants.tags"},
		"fifty-one projects":  {TokenPersonal, &Grants{Actions: pull, Projects: make([]uuid.UUID, 51)}, "grants.projects"},
		"255":                 {TokenRobot, &Grants{Actions: pull, Repositories: []string{strings.Repeat("a", 255)}}, ""},
		"256":                 {TokenRobot, &Grants{Actions: pull, Repositories: []string{strings.Repeat("a", 256)}}, "grants.repositories[0]"},
		"empty pattern":       {TokenRobot, &Grants{Actions: pull, Repositories: []string{"a", ""}}, "grants.repositories[1]"},
		"open class":          {TokenRobot, &Grants{Actions: pull, Tags: []string{"[a"}}, "grants.tags[0]"},
		"braces":              {TokenRobot, &Grants{Actions: pull, Tags: []string{"{a,b}"}}, "grants.tags[0]"},
		"escape":              {TokenRobot, &Grants{Actions: pull, Tags: []string{`a\*`}}, "grants.tags[0]"},
		"not ASCII":           {TokenRobot, &Grants{Actions: pull, Tags: []string{"ä"}}, "grants.tags[0]"},
		"no action":           {TokenPersonal, &Grants{}, "grants.actions"},
		"unknown action":      {TokenPersonal, &Grants{Actions: []rbac.Action{rbac.Pull, "*"}}, "grants.actions[1]"},
		"managing action":     {TokenPersonal, &Grants{Actions: []rbac.Action{rbac.Claim}}, "grants.actions[0]"},
		"action twice":        {TokenPersonal, &Grants{Actions: []rbac.Action{rbac.Pull, rbac.Pull}}, "grants.actions[1]"},
		"robot that deletes":  {TokenRobot, &Grants{Actions: everyAction}, "grants.actions[2]"},
		"robot with projects": {TokenRobot, &Grants{Actions: pull, Projects: []uuid.UUID{newID()}}, "grants.projects"},
		"runner":              {TokenRunner, &Grants{Actions: pull}, "grants"},
	} {
		err := c.grants.check(c.kind)
		var input *InputError
		switch {
		case c.field == "" && err == nil:
		case c.field == "" || !errors.As(err, &input) || !errors.Is(err, ErrInvalidInput) || input.Field != c.field:
			t.Errorf("%s: %v, want an error of %q", name, err, c.field)
		}
	}
}

// A pattern that may be stored is matched in no time, whatever its owner thought up.
func TestPatternsCostLittle(t *testing.T) {
	path := strings.Repeat("a/", 120) + "b"
	for _, pattern := range []string{
		strings.Repeat("*a", 127), strings.Repeat("**/", 84) + "c", strings.Repeat("**/*a*/", 36) + "c", strings.Repeat("a*", 127) + "c",
	} {
		if err := checkPattern(pattern); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		for _, name := range []string{path, strings.Repeat("a", 255)} {
			matchesAny([]string{pattern}, name)
		}
		if took := time.Since(started); took > 100*time.Millisecond {
			t.Errorf("%s took %s", pattern, took)
		}
	}
}

func TestGrantsAreReadAsTheyWereStored(t *testing.T) {
	for kind, want := range map[string]*Grants{
		TokenPersonal: {
			Actions: everyAction, Projects: []uuid.UUID{newID()}, Repositories: []string{"app/**"}, Tags: []string{"v*"},
		},
		TokenRobot:  {Actions: []rbac.Action{rbac.Push}},
		TokenRunner: nil,
	} {
		text, err := want.format()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseGrants(kind, text)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestARobotHasTheGrantsThatItWasGiven(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		want := &Grants{Actions: []rbac.Action{rbac.Push}, Repositories: []string{"app/*"}, Tags: []string{"v*"}}
		robot := NewRobot{ProjectID: f.project(), Name: "ci", Grants: want, CreatedBy: "test"}
		secret, _, err := f.CreateRobot(t.Context(), robot)
		f.must(err)
		c, err := f.VerifySecret(t.Context(), secret)
		if err != nil || !cmp.Equal(c.Grants, want) || c.Role != rbac.RoleDeveloper {
			t.Errorf("%+v, %v", c, err)
		}
		robot.Role = rbac.RoleViewer
		if _, _, err := f.CreateRobot(t.Context(), robot); !errors.Is(err, ErrInvalidInput) {
			t.Errorf("role and grants: %v", err)
		}
		robot.Role, robot.Grants = rbac.RoleNone, &Grants{Actions: everyAction}
		if _, _, err := f.CreateRobot(t.Context(), robot); !errors.Is(err, ErrInvalidInput) {
			t.Errorf("bad grants: %v", err)
		}
	})
}
