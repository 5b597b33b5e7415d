package front

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/berthregistry/berth/internal/oci/ocierr"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// problem is an error outside the registry API (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

func writeProblem(w http.ResponseWriter, r *http.Request, status int, detail string) {
	// Marshalling a struct of texts and numbers cannot fail.
	body, _ := json.Marshal(problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: detail, RequestID: reqlog.ID(r.Context()),
	})
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
	}
}

// within says whether a path is a prefix's own or below it.
func within(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// isRegistry says whether a path belongs to the planes that speak the OCI error envelope.
func isRegistry(path string) bool { return within(path, "/v2") || within(path, "/auth") }

// isAPI says whether a path belongs to a plane that browsers may be let to.
func isAPI(path string) bool { return isRegistry(path) || within(path, "/api/v1") }

func answerUnknown(w http.ResponseWriter, r *http.Request) {
	if isRegistry(r.URL.Path) {
		ocierr.Write(w, r, ocierr.RouteUnknown)
		return
	}
	writeProblem(w, r, http.StatusNotFound, "There is nothing at this path.")
}

func answerMethod(w http.ResponseWriter, r *http.Request) {
	if isRegistry(r.URL.Path) {
		ocierr.Write(w, r, ocierr.Unsupported)
		return
	}
	writeProblem(w, r, http.StatusMethodNotAllowed, "This path does not take the method "+cut(r.Method)+".")
}

func answerInternal(w http.ResponseWriter, r *http.Request) {
	if isRegistry(r.URL.Path) {
		ocierr.Write(w, r, ocierr.Internal)
		return
	}
	writeProblem(w, r, http.StatusInternalServerError, "Something went wrong here; the log has the request ID.")
}
