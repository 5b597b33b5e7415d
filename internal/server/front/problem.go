package front

import (
	"net/http"
	"strings"

	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

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
	problem.NotFound.With("There is nothing at this path.").Write(w, r)
}

func answerMethod(w http.ResponseWriter, r *http.Request) {
	if isRegistry(r.URL.Path) {
		ocierr.Write(w, r, ocierr.Unsupported)
		return
	}
	problem.MethodNotAllowed.With("This path does not take the method %s.", cut(r.Method)).Write(w, r)
}

func answerInternal(w http.ResponseWriter, r *http.Request) {
	if isRegistry(r.URL.Path) {
		ocierr.Write(w, r, ocierr.Internal)
		return
	}
	problem.Internal.With("The log has the request ID.").Write(w, r)
}
