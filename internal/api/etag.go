package api

import (
	"regexp"
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
	match := entityTag.FindStringSubmatch(*header)
	if match == nil {
		return 0, otherVersion
	}
	version, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil || version < 1 {
		return 0, otherVersion
	}
	return version, nil
}

// entityTag is a strong entity tag of ours.
var entityTag = regexp.MustCompile(`^"([0-9]+)"$`)

var otherVersion = problem.VersionMismatch.With("If-Match is not the entity tag of this.")
