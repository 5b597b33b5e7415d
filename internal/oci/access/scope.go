package access

import (
	"errors"
	"slices"
	"strings"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/rbac"
)

// Limits of what one token request may ask for. Within them the longest token stays below the longest Authorization
// header that Authenticate reads.
const (
	MaxScopes      = 32   // resources
	MaxScopeLength = 6144 // characters of all scopes together
)

// ErrScopeLimit is returned where more is asked for at once than MaxScopes and MaxScopeLength allow.
var ErrScopeLimit = errors.New("access: too many scopes")

const (
	typeRepository = "repository"
	typeRegistry   = "registry"
	nameCatalog    = "catalog"
	anyAction      = "*"
)

// scopeActions are the actions of a repository in their canonical order.
var scopeActions = []string{string(rbac.Pull), string(rbac.Push), string(rbac.Delete)}

// Scope is one resource and what is asked or granted of it: repository:<name>:<actions> or registry:catalog:*.
type Scope auth.Access

// RepositoryScope is the scope that a client needs for an action on a repository: pull, delete, or for a push
// pull and push, since clients read while they push.
func RepositoryScope(repo Repo, action rbac.Action) Scope {
	actions := []string{string(action)}
	if action == rbac.Push {
		actions = []string{string(rbac.Pull), string(rbac.Push)}
	}
	return Scope{Type: typeRepository, Name: repo.Name(), Actions: actions}
}

// CatalogScope is the scope that listing repositories needs.
func CatalogScope() Scope {
	return Scope{Type: typeRegistry, Name: nameCatalog, Actions: []string{anyAction}}
}

// String writes the scope as ParseScopes reads it.
func (s Scope) String() string {
	return s.Type + ":" + s.Name + ":" + strings.Join(s.Actions, ",")
}

// ParseScopes reads scope parameters, each a list of scopes separated by spaces. What is asked of one resource is
// unioned, every resource stays on its own, and the first mention sets the order. Of a repository's actions "*"
// means all. Types and actions that are not known, and what does not follow the grammar, ask for nothing and are
// left out. A class, as in repository(plugin), says what a repository holds and has no bearing on access.
//
// A name is only held to the grammar of scopes, which knows host names and ports: whether it names a repository is
// for ParseRepo to say. ParseScopes returns ErrScopeLimit where more is asked than one request may.
func ParseScopes(values ...string) ([]Scope, error) {
	if tooLong(values) {
		return nil, ErrScopeLimit
	}
	var scopes []Scope
	for _, value := range values {
		for item := range strings.SplitSeq(value, " ") {
			if scope, ok := parseScope(item); ok {
				scopes = union(scopes, scope)
			}
		}
	}
	if len(scopes) > MaxScopes {
		return nil, ErrScopeLimit
	}
	return scopes, nil
}

func tooLong(values []string) bool {
	total := len(values)
	for _, value := range values {
		total += len(value)
	}
	return total > MaxScopeLength
}

func parseScope(item string) (Scope, bool) {
	resource, rest, _ := strings.Cut(item, ":")
	end := strings.LastIndexByte(rest, ':')
	if end < 0 {
		return Scope{}, false
	}
	scope := Scope{Type: withoutClass(resource), Name: rest[:end]}
	asked := strings.Split(rest[end+1:], ",")
	switch {
	case scope.Type == typeRepository && validResourceName(scope.Name):
		scope.Actions = repositoryActions(asked)
	case scope.Type == typeRegistry && scope.Name == nameCatalog && slices.Contains(asked, anyAction):
		scope.Actions = []string{anyAction}
	}
	return scope, len(scope.Actions) > 0
}

// withoutClass turns repository(plugin) into repository.
func withoutClass(resource string) string {
	kind, class, found := strings.Cut(resource, "(")
	if found && !strings.HasSuffix(class, ")") {
		return ""
	}
	return kind
}

// repositoryActions keeps the known ones, each once, in canonical order.
func repositoryActions(asked []string) []string {
	all := slices.Contains(asked, anyAction)
	var actions []string
	for _, action := range scopeActions {
		if all || slices.Contains(asked, action) {
			actions = append(actions, action)
		}
	}
	return actions
}

// union adds a scope to those of other resources, or its actions to those of the same.
func union(scopes []Scope, scope Scope) []Scope {
	for i := range scopes {
		if have := &scopes[i]; have.Type == scope.Type && have.Name == scope.Name {
			have.Actions = merge(*have, scope)
			return scopes
		}
	}
	return append(scopes, scope)
}

func merge(a, b Scope) []string {
	if a.Type == typeRegistry {
		return a.Actions
	}
	return repositoryActions(slices.Concat(a.Actions, b.Actions))
}

// validResourceName takes what a host name with a port and a path can hold.
func validResourceName(name string) bool {
	return name != "" && consistsOf(name, "._-/:[]")
}

// consistsOf tells whether a text holds nothing but letters, digits and the given characters.
func consistsOf(text, others string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

func scopeStrings(scopes []Scope) []string {
	texts := make([]string, len(scopes))
	for i, scope := range scopes {
		texts[i] = scope.String()
	}
	return texts
}
