package oci

import (
	"errors"
	"net/url"
	"strconv"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/manifest"
	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/oci/ocipath"
	"github.com/berthregistry/berth/internal/rbac"
)

// listTags answers a page of a repository's tags (end-8a, end-8b).
func (h *Handler) listTags(c *call) error {
	query := c.r.URL.Query()
	size, err := pageSize(query, h.TagsPage)
	if err != nil {
		return err
	}
	last, err := textParameter(query, "last")
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
	body, err := encode(struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.req.Name(), tags})
	if err != nil {
		return err
	}
	writeJSON(c.w, "application/json", body)
	return nil
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

// referrersIndex is the answer of the referrers API.
type referrersIndex struct {
	SchemaVersion int                `json:"schemaVersion"`
	MediaType     string             `json:"mediaType"`
	Manifests     []content.Referrer `json:"manifests"`
}

// listReferrers answers a page of the manifests that refer to a digest (end-12a, end-12b): an empty one for a digest
// that nothing refers to, or that does not exist.
func (h *Handler) listReferrers(c *call) error {
	query := c.r.URL.Query()
	last, err := lastReferrer(query)
	if err != nil {
		return err
	}
	artifactType, err := textParameter(query, "artifactType")
	if err != nil {
		return err
	}
	// The bytes of a page are those of a manifest, which is what clients are prepared to read.
	referrers, more, err := h.Content.Referrers(
		c.ctx(), c.place(), c.req.Digest, artifactType, last, h.ReferrersPage, manifest.MaxSize)
	if err != nil {
		return err
	}
	if more {
		query.Set("last", referrers[len(referrers)-1].Digest.String())
		linkNext(c.w, c.r.URL.EscapedPath(), query)
	}
	if artifactType != "" {
		c.w.Header().Set(headerFiltersApplied, "artifactType")
	}
	body, err := encode(referrersIndex{SchemaVersion: 2, MediaType: v1.MediaTypeImageIndex, Manifests: referrers})
	if err != nil {
		return err
	}
	writeJSON(c.w, v1.MediaTypeImageIndex, body)
	return nil
}

func lastReferrer(query url.Values) (string, error) {
	raw := query.Get("last")
	if raw == "" {
		return "", nil
	}
	d, err := digests.Parse(raw)
	return d.String(), err
}

// catalog answers a page of the repositories that the caller has a role in; of all of them, to an administrator.
func (h *Handler) catalog(c *call) error {
	if err := h.Access.AuthorizeCatalog(c.id); err != nil {
		return err
	}
	query := c.r.URL.Query()
	size, err := pageSize(query, h.TagsPage)
	if err != nil {
		return err
	}
	last, err := lastRepository(query)
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
	body, err := encode(struct {
		Repositories []string `json:"repositories"`
	}{page})
	if err != nil {
		return err
	}
	writeJSON(c.w, "application/json", body)
	return nil
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
