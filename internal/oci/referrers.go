package oci

import (
	"net/http"
	"net/url"
	"strconv"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/budget"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/manifest"
)

// listReferrers answers a page of the manifests that refer to a digest (end-12a, end-12b): an empty one for a digest
// that nothing refers to, or that does not exist.
func (h *Handler) listReferrers(c *call) error {
	last, err := lastReferrer(c.query)
	if err != nil {
		return err
	}
	artifactType, err := textParameter(c.query, "artifactType")
	if err != nil {
		return err
	}
	hold := h.hold(c)
	defer hold.Release()
	index := newReferrersIndex(hold)
	// The bytes of a page are those of a manifest, which is what clients are prepared to read.
	more, err := h.Content.Referrers(
		c.ctx(), c.place(), c.req.Digest, artifactType, last, h.ReferrersPage, manifest.MaxSize, index.add)
	if err != nil {
		return err
	}
	body, err := index.end()
	if err != nil {
		return err
	}
	if more != "" {
		c.query.Set("last", more.String())
		linkNext(c.w, c.r.URL.EscapedPath(), c.query)
	}
	if artifactType != "" {
		c.w.Header().Set(headerFiltersApplied, "artifactType")
	}
	c.w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	c.w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	c.w.WriteHeader(http.StatusOK)
	_, _ = body.WriteTo(c.w) // a client that has gone away needs no answer
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

// referrersIndex is the answer of the referrers API while it is written. Its entries may be megabytes, and are put into
// it one by one, so that only their encoding is in memory.
type referrersIndex struct {
	body      *budget.Buffer
	separator string
}

func newReferrersIndex(hold *budget.Hold) *referrersIndex {
	return &referrersIndex{
		body:      budget.NewBuffer(hold),
		separator: `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[`,
	}
}

// add appends an entry.
func (i *referrersIndex) add(r content.Referrer) error {
	entry, err := encode(r)
	if err != nil {
		return err
	}
	pieces := []string{i.separator, string(entry)}
	if r.Annotations != "" {
		pieces = []string{i.separator, string(entry[:len(entry)-1]), `,"annotations":`, r.Annotations, "}"}
	}
	i.separator = ","
	return i.write(pieces...)
}

// end completes the document.
func (i *referrersIndex) end() (*budget.Buffer, error) {
	if i.separator != "," {
		return i.body, i.write(i.separator, "]}")
	}
	return i.body, i.write("]}")
}

func (i *referrersIndex) write(pieces ...string) error {
	for _, piece := range pieces {
		if _, err := i.body.WriteString(piece); err != nil {
			return err
		}
	}
	return nil
}
