package oci

import (
	"errors"
	"net/url"
	"strconv"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/oci/ocipath"
	"github.com/berthregistry/berth/internal/rbac"
)

// listTags answers a page of a repository's tags (end-8a, end-8b).
func (h *Handler) listTags(c *call) error {
	size, err := pageSize(c.query, h.TagsPage)
	if err != nil {
		return err
	}
	last, err := textParameter(c.query, "last")
	if err != nil {
		return err
	}
	tags, err := h.Content.Tags(c.ctx(), c.place(), last, size+1)
	if errors.Is(err, content.ErrNotFound) {
		return ocierr.NameUnknown
	}
	if err != nil {
		return err
	}
	if len(tags) > size {
		tags = tags[:size]
		c.next(tags, size)
	}
	return h.writeDocument(c, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.req.Name(), tags})
}

// next names the page after the one that is answered. A page of nothing has no next one: it was only asked whether
// the list exists.
func (c *call) next(page []string, size int) {
	if len(page) == 0 {
		return
	}
	linkNext(c.w, c.r.URL.EscapedPath(), url.Values{
		"last": {page[len(page)-1]}, "n": {strconv.Itoa(size)},
	})
}

// catalog answers a page of the repositories that the caller has a role in; of all of them, to an administrator.
func (h *Handler) catalog(c *call) error {
	if err := h.Access.AuthorizeCatalog(c.id); err != nil {
		return err
	}
	size, err := pageSize(c.query, h.TagsPage)
	if err != nil {
		return err
	}
	last, err := lastRepository(c.query)
	if err != nil {
		return err
	}
	names, err := h.Content.Catalog(c.ctx(), viewer(c), last, size+1)
	if err != nil {
		return err
	}
	page := make([]string, 0, len(names))
	for _, name := range names[:min(len(names), size)] {
		page = append(page, name.String())
	}
	if len(names) > size {
		c.next(page, size)
	}
	return h.writeDocument(c, "application/json", struct {
		Repositories []string `json:"repositories"`
	}{page})
}

func viewer(c *call) content.Viewer {
	credential := c.id.Credential
	v := content.Viewer{All: credential.Principal.Admin, User: credential.Principal.ID}
	if credential.Principal.Kind == rbac.KindRobot { // a runner has grants, but no role
		v.Project = credential.ProjectID
	}
	return v
}

// lastRepository reads where a catalog goes on.
func lastRepository(query url.Values) (content.Name, error) {
	raw := query.Get("last")
	if raw == "" {
		return content.Name{}, nil
	}
	slug, path, err := ocipath.ParseName(raw)
	return content.Name{Slug: slug, Path: path}, err
}
