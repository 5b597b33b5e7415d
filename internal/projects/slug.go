package projects

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

const (
	minSlug = 2
	maxSlug = 64
)

// slugForm is one component of a repository name, as the Distribution Specification defines it.
var slugForm = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)

// reservedSlugs are kept for the server: words that are, or may become, the first segment of a path of its own; words of
// the registry API's paths, which would make a repository's URL hard to read; and names that people would take for the
// server's operator.
var reservedSlugs = []string{
	// paths
	"api", "app", "assets", "auth", "debug", "docs", "download", "favicon.ico", "healthz", "install", "login", "logout",
	"metrics", "oauth", "oauth2", "openapi", "readyz", "robots.txt", "settings", "signup", "static", "status", "token",
	"v1", "v2", "v3", "well-known",
	// the registry API
	"blobs", "catalog", "manifests", "referrers", "tags", "uploads",
	// operators
	"admin", "administrator", "anonymous", "berth", "library", "official", "root", "support", "system",
}

// ValidSlug checks the name of a project: one component of a repository name, 2 to 64 characters long, not shaped like a
// UUID, not reserved for the server. Errors: ErrSlugInvalid, ErrSlugReserved.
func ValidSlug(slug string) error {
	switch {
	case len(slug) < minSlug || len(slug) > maxSlug:
		return fmt.Errorf("%w: it must be %d to %d characters long", ErrSlugInvalid, minSlug, maxSlug)
	case !slugForm.MatchString(slug):
		return fmt.Errorf("%w: it must be lower-case letters and digits, with single separators between them", ErrSlugInvalid)
	case uuidShaped(slug):
		return fmt.Errorf("%w: it looks like an identifier", ErrSlugInvalid)
	case slices.Contains(reservedSlugs, slug):
		return fmt.Errorf("%w: %q belongs to the server", ErrSlugReserved, slug)
	}
	return nil
}

// uuidShaped reports whether text has the form of a UUID, 8-4-4-4-12 hexadecimal digits. 32 digits without dashes have
// not: Resolve takes no such identifier, and it is how people write 128 random bits.
func uuidShaped(text string) bool {
	_, err := uuid.Parse(text)
	return err == nil && len(text) == len(uuid.Nil.String())
}

// projectID is the identifier that a segment spells in its canonical form.
func projectID(segment string) (uuid.UUID, bool) {
	id, err := uuid.Parse(segment)
	return id, err == nil && id != uuid.Nil && id.String() == segment
}

// RandomSlug reports whether a name can hold 100 random bits, so that nobody guesses or squats it. It looks for one part
// between separators that is long enough for its alphabet (31 digits, 25 hexadecimal digits, or 20 letters and digits)
// and has at least 6 different characters, which fewer than one in a million of such random parts lack.
func RandomSlug(slug string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(slug, func(r rune) bool { return r == '.' || r == '_' || r == '-' }), randomPart)
}

const differentCharacters = 6

func randomPart(part string) bool {
	need := 20 // of an alphabet of 32: 5 bits each
	switch {
	case strings.Trim(part, "0123456789") == "":
		need = 31 // 3.3 bits each
	case strings.Trim(part, "0123456789abcdef") == "":
		need = 25 // 4 bits each
	}
	seen := map[rune]struct{}{}
	for _, r := range part {
		seen[r] = struct{}{}
	}
	return len(part) >= need && len(seen) >= differentCharacters
}
