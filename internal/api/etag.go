package api

import (
	"strconv"

	"github.com/berthregistry/berth/internal/api/problem"
)

// etag is the entity tag of a version.
func etag(version int64) *string {
	tag := strconv.Quote(strconv.FormatInt(version, 10))
	return &tag
}

// ifMatch reads the version that a change is for; 0 is any. Errors: version-mismatch for what is no entity tag of ours,
// as it cannot match.
func ifMatch(header *string) (int64, error) {
	if header == nil || *header == "*" {
		return 0, nil
	}
	text, err := strconv.Unquote(*header)
	if err != nil {
		return 0, problem.VersionMismatch.With("If-Match is not the entity tag of this.").WithCause(err)
	}
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil || version < 1 {
		return 0, problem.VersionMismatch.With("If-Match is not the entity tag of this.").WithCause(err)
	}
	return version, nil
}
