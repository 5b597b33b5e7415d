package access

import (
	"errors"
	"slices"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// Why a token that carries less than its owner may do was refused; for the log only.
var (
	errTag   = errors.New("access: the token's grants do not take in this tag")
	errLists = errors.New("access: the token's grants name repositories, and this lists all")
)

// capped leaves of what the policy permits what the credential's grants take in. A token's grants are given when it is
// created and never change, so nothing asks for them again at the commit.
func (k ask) capped(project projects.Project, permitted []rbac.Action) []rbac.Action {
	grants := k.id.Credential.Grants
	if grants == nil {
		return permitted
	}
	return slices.DeleteFunc(permitted, func(action rbac.Action) bool {
		return !grants.Allows(action, project.ID, k.repo.Path)
	})
}

// names tells whether the credential is one for the project. One for other projects gives its holder nothing in this
// one, not even the knowledge that it exists.
func (k ask) names(project projects.Project) bool {
	grants := k.id.Credential.Grants
	return grants == nil || len(grants.Projects) == 0 || slices.Contains(grants.Projects, project.ID)
}

// everywhere tells whether grants allow an action in every repository of the projects that they are for.
func everywhere(grants *auth.Grants, action rbac.Action) bool {
	return grants == nil || slices.Contains(grants.Actions, action) && len(grants.Repositories) == 0
}

// mayList tells whether a credential may be told the names of all repositories that its owner may see.
func mayList(credential auth.Credential) bool {
	grants := credential.Grants
	return everywhere(grants, rbac.Pull) && (grants == nil || len(grants.Projects) == 0)
}

// AllowTags tells whether the token's grants let tags be pushed, moved or deleted.
//
// Errors, all *ocierr.Error: 403 DENIED that names the first tag that is not granted.
func (d Decision) AllowTags(tags ...string) error {
	for _, tag := range tags {
		if !d.ask.id.Credential.Grants.AllowsTag(tag) {
			return ocierr.Denied.With("the token may not push, move or delete the tag %q", tag).WithCause(errTag)
		}
	}
	return nil
}

// AllowAnyTag is AllowTags for what takes all tags of a manifest with it, whatever their names are.
//
// Errors, all *ocierr.Error: 403 DENIED where the token's grants are for some tags only.
func (d Decision) AllowAnyTag() error {
	if grants := d.ask.id.Credential.Grants; grants != nil && len(grants.Tags) > 0 {
		return ocierr.Denied.With("the token may delete some tags only, and a manifest goes with all of its tags").WithCause(errTag)
	}
	return nil
}

// onlyOne tells whether a token exchange is to be for a single repository: machines that only pull need no more at a
// time, and a stolen bearer token is then worth little.
func onlyOne(credential auth.Credential) bool { return credential.Principal.Kind == rbac.KindRunner }
