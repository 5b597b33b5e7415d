package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/rbac"
)

// Bounds of a list in Grants and of a pattern in it.
const (
	maxGrants  = 50
	maxPattern = 255
)

// Grants narrow what a token may do to less than its owner may. They never widen anything.
type Grants struct {
	// Actions are of pull, push and delete; at least one.
	Actions []rbac.Action `json:"actions"`
	// Projects are those that a personal token may touch. Empty: all.
	Projects []uuid.UUID `json:"projects,omitempty"`
	// Repositories are patterns of the path below the project: * within a component, ** across them. Empty: all.
	Repositories []string `json:"repositories,omitempty"`
	// Tags are patterns of the tags that may be pushed, moved or deleted. Empty: all. They restrict neither pulls nor
	// pushes by digest.
	Tags []string `json:"tags,omitempty"`
}

// Allows reports whether an action on the repository at path below a project is granted. Nil grants all.
func (g *Grants) Allows(action rbac.Action, projectID uuid.UUID, path string) bool {
	if g == nil {
		return true
	}
	return slices.Contains(g.Actions, action) &&
		(len(g.Projects) == 0 || slices.Contains(g.Projects, projectID)) &&
		matchesAny(g.Repositories, path)
}

// AllowsTag reports whether a tag may be pushed, moved or deleted. Nil grants all. Whether the action itself is granted
// is for Allows to say.
func (g *Grants) AllowsTag(tag string) bool { return g == nil || matchesAny(g.Tags, tag) }

// matchesAny reports whether a name matches one of the patterns, or there are none. A pattern of bad form matches nothing.
func matchesAny(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		matches, err := doublestar.Match(pattern, name)
		return err == nil && matches
	})
}

// check validates grants for a kind of token, with a field's name in the error. Errors: ErrInvalidInput.
func (g *Grants) check(kind string) error {
	if g == nil {
		return nil
	}
	if err := g.checkActions(kind); err != nil {
		return err
	}
	for field, given := range map[string]bool{
		"grants.projects":     g.Projects != nil && len(g.Projects) == 0,
		"grants.repositories": g.Repositories != nil && len(g.Repositories) == 0,
		"grants.tags":         g.Tags != nil && len(g.Tags) == 0,
	} {
		if given { // it would mean all
			return invalid(field, "name at least one, or leave it out")
		}
	}
	if kind != TokenPersonal && len(g.Projects) > 0 {
		return invalid("grants.projects", "only a personal token names projects")
	}
	if len(g.Projects) > maxGrants {
		return invalid("grants.projects", fmt.Sprintf("at most %d", maxGrants))
	}
	if err := checkPatterns("grants.repositories", g.Repositories); err != nil {
		return err
	}
	return checkPatterns("grants.tags", g.Tags)
}

func (g *Grants) checkActions(kind string) error {
	allowed := []rbac.Action{rbac.Pull, rbac.Push, rbac.Delete}
	switch kind {
	case TokenPersonal:
	case TokenRobot:
		allowed = allowed[:2] // no policy lets a robot delete
	default:
		return invalid("grants", "not known for a "+kind+" token")
	}
	if len(g.Actions) == 0 {
		return invalid("grants.actions", "at least one is required")
	}
	for i, action := range g.Actions {
		if !slices.Contains(allowed, action) {
			return invalid(fmt.Sprintf("grants.actions[%d]", i), "not an action of a "+kind+" token")
		}
		if slices.Contains(g.Actions[:i], action) {
			return invalid(fmt.Sprintf("grants.actions[%d]", i), "given twice")
		}
	}
	return nil
}

func checkPatterns(field string, patterns []string) error {
	if len(patterns) > maxGrants {
		return invalid(field, fmt.Sprintf("at most %d patterns", maxGrants))
	}
	for i, pattern := range patterns {
		if err := checkPattern(pattern); err != nil {
			return invalid(fmt.Sprintf("%s[%d]", field, i), err.Error())
		}
	}
	return nil
}

// checkPattern refuses what could match no name anyway, and alternatives in braces: nested ones take exponential time.
func checkPattern(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("an empty pattern")
	case len(pattern) > maxPattern:
		return fmt.Errorf("longer than %d characters", maxPattern)
	case strings.ContainsFunc(pattern, func(r rune) bool { return !patternRune(r) }):
		return errors.New("only letters, digits and . _ - / * ? [ ] ^ ! make a pattern")
	case !doublestar.ValidatePattern(pattern):
		return errors.New("not a pattern")
	}
	return nil
}

func patternRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-/*?[]^!", r)
}

// format is how the database stores grants that were checked.
func (g *Grants) format() (string, error) {
	if g == nil {
		return "", nil
	}
	text, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("auth: format grants: %w", err)
	}
	return string(text), nil
}

// role is what the policy takes a robot with these grants for.
func (g *Grants) role() rbac.Role {
	if g == nil || slices.Contains(g.Actions, rbac.Push) {
		return rbac.RoleDeveloper
	}
	return rbac.RoleViewer
}

// grantsOfRole are those of a robot that is named by its role. Errors: ErrInvalidInput.
func grantsOfRole(role rbac.Role) (*Grants, error) {
	switch role {
	case rbac.RoleDeveloper:
		return &Grants{Actions: []rbac.Action{rbac.Pull, rbac.Push}}, nil
	case rbac.RoleViewer:
		return &Grants{Actions: []rbac.Action{rbac.Pull}}, nil
	}
	return nil, invalid("role", "a robot is a developer or a viewer")
}

// storedGrants is what is read: grants, or a robot's role as it was stored before there were any.
type storedGrants struct {
	Role rbac.Role `json:"role"`
	Grants
}

// parseGrants reads what the database stores for a token. What it does not understand could be a restriction, so it is an
// error.
func parseGrants(kind, text string) (*Grants, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // nil grants everything
	}
	var stored storedGrants
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&stored); err != nil {
		return nil, fmt.Errorf("read grants: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	if stored.Role != rbac.RoleNone {
		return stored.ofRole(kind)
	}
	if err := stored.check(kind); err != nil {
		return nil, err
	}
	return &stored.Grants, nil
}

func (s storedGrants) ofRole(kind string) (*Grants, error) {
	g := s.Grants
	if kind != TokenRobot || len(g.Actions)+len(g.Projects)+len(g.Repositories)+len(g.Tags) > 0 {
		return nil, errors.New("a role beside other grants, or of another kind of token")
	}
	return grantsOfRole(s.Role)
}
