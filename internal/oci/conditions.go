package oci

import (
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// The preconditions of RFC 9110, section 13.1, that are about entity tags.
const (
	headerIfMatch     = "If-Match"
	headerIfNoneMatch = "If-None-Match"
)

// entityTag is that of content, which its digest names for good.
func entityTag(d digest.Digest) string { return `"` + d.String() + `"` }

// preconditions answers a GET or HEAD of visible content for which If-None-Match or If-Match decides, before anything
// is read or redirected (RFC 9110, section 13.2.2): 304, or the error 412.
func (c *call) preconditions(d digest.Digest) (answered bool, err error) {
	if asked := c.r.Header.Values(headerIfMatch); len(asked) > 0 && !matchesETag(asked, d, false) {
		return false, ocierr.PreconditionFailed
	}
	if !matchesETag(c.r.Header.Values(headerIfNoneMatch), d, true) {
		return false, nil
	}
	c.w.Header().Set(headerContentDigest, d.String())
	c.w.Header().Set("ETag", entityTag(d))
	c.w.WriteHeader(http.StatusNotModified)
	return true, nil
}

// matchesETag tells whether a list of entity tags names the digest, quoted or bare, as some clients send it; weak ones
// count for If-None-Match only (RFC 9110, section 8.8.3.2).
func matchesETag(asked []string, d digest.Digest, weak bool) bool {
	for _, tag := range strings.Split(strings.Join(asked, ","), ",") {
		tag = strings.TrimSpace(tag)
		if weak {
			tag = strings.TrimPrefix(tag, "W/")
		}
		if tag == "*" || strings.Trim(tag, `"`) == d.String() {
			return true
		}
	}
	return false
}
