package oci

import (
	"net/http"
	"net/url"

	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/rbac"
)

// headerWarning carries what a client is to show to its user. The Distribution Specification, section "Warnings", allows
// the code 299 and no agent or date.
const headerWarning = "Warning"

// pushed answers a push that succeeded. Into a project that nobody has claimed, it says so: clients show each warning
// once, to the only one who is there.
func (h *Handler) pushed(c *call, status int) {
	if project := &c.decision.Project; project.State == rbac.StateUnclaimed && h.PublicURL != "" {
		c.w.Header().Set(headerWarning, "299 - "+access.Quote(h.unclaimedText(project.Slug)))
	}
	empty(c.w, status)
}

// unclaimedText has no character that is escaped in a quoted-string: some clients show the raw value.
func (h *Handler) unclaimedText(slug string) string {
	claim := h.PublicURL + "/api/v1/projects/" + url.PathEscape(slug) + "/claim"
	return "the project " + slug + " belongs to nobody yet and will expire; sign in and claim it: " + http.MethodPost + " " + claim
}
