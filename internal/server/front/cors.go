package front

import (
	"net/http"
	"slices"
	"strings"
)

// What browsers may send and see. Credentials stay off: callers send an Authorization header of their own, and no
// cookie ever counts, so no page can act with somebody's login.
var (
	corsMethods = strings.Join([]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	}, ", ")
	corsRequestHeaders = strings.Join([]string{
		"Accept", "Authorization", "Content-Range", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Range", requestIDHeader,
	}, ", ")
	corsExposed = strings.Join([]string{
		"Accept-Ranges", "Content-Length", "Content-Range", "Docker-Content-Digest", "Docker-Distribution-Api-Version",
		"Docker-Upload-UUID", "ETag", "Idempotency-Replayed", "Link", "Location", "OCI-Chunk-Max-Length", "OCI-Chunk-Min-Length",
		"OCI-Filters-Applied", "OCI-Subject", "OCI-Tag", "Range", "Retry-After", "Warning", "WWW-Authenticate", requestIDHeader,
	}, ", ")
)

// corsMaxAge is how long a browser may remember a preflight, in seconds; browsers cap it themselves.
const corsMaxAge = "7200"

// cors lets pages of the listed origins use the APIs. Without origins it does nothing at all.
type cors struct{ origins []string }

// answered decorates the response and says whether the request was a preflight that is thereby answered. It comes
// before authentication: a preflight carries no credentials.
func (c cors) answered(w http.ResponseWriter, r *http.Request) bool {
	if !c.decorate(w, r) || r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", corsMethods)
	header.Set("Access-Control-Allow-Headers", corsRequestHeaders)
	header.Set("Access-Control-Max-Age", corsMaxAge)
	header.Add("Vary", "Access-Control-Request-Method")
	header.Add("Vary", "Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// decorate adds what every answer to an allowed origin says, and tells whether the origin is allowed.
func (c cors) decorate(w http.ResponseWriter, r *http.Request) bool {
	if len(c.origins) == 0 || !isAPI(r.URL.Path) {
		return false
	}
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(c.origins, origin) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", corsExposed)
	return true
}
