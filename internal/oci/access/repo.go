package access

import (
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/oci/ocipath"
)

// Repo names a repository as the client did.
type Repo struct {
	Segment string // the first segment: a project's slug or identifier
	Path    string // the rest, below the project; may be empty
}

// ParseRepo splits a repository name. The error is that of ocipath.ParseName.
func ParseRepo(name string) (Repo, error) {
	segment, path, err := ocipath.ParseName(name)
	return Repo{Segment: segment, Path: path}, err
}

// Name returns the full name, as asked.
func (r Repo) Name() string {
	if r.Path == "" {
		return r.Segment
	}
	return r.Segment + "/" + r.Path
}

// byID tells whether the project is named by its identifier. Such a project is never created by a push.
func (r Repo) byID() bool {
	if len(r.Segment) != 36 {
		return false
	}
	_, err := uuid.Parse(r.Segment)
	return err == nil
}
