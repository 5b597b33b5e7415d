package projects

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestValidSlugs(t *testing.T) {
	for _, slug := range []string{
		"ab", "a1", "00", "demo", "my-app", "my--app", "my---app", "a.b", "a_b", "a__b", "a-b_c.d__e", strings.Repeat("a", 64),
		"0192f0c1d2e37a4b8c5d6e7f80910111",     // 128 random bits in hexadecimal
		"0192f0c1-d2e3-7a4b-8c5d-6e7f8091011",  // a digit short of a UUID
		"x192f0c1-d2e3-7a4b-8c5d-6e7f80910111", // no hexadecimal digit
		"apis", "v22", "docs2", "my-admin",
	} {
		if err := ValidSlug(slug); err != nil {
			t.Errorf("%q: %v", slug, err)
		}
	}
}

func TestInvalidSlugs(t *testing.T) {
	for _, slug := range []string{
		"", "a", strings.Repeat("a", 65), strings.Repeat("a", 1<<20), "Demo", "DEMO", "a b", "a/b", "a..b", "a___b", "a._b", "a.-b",
		"-ab", "ab-", ".ab", "ab.", "_ab", "ab_", "a_-b", "..", "ä1", "ab\n", "\nab", "ab\x00", "a%2fb", "a:b", "a@b", "_catalog",
		".well-known", "0192f0c1-d2e3-7a4b-8c5d-6e7f80910111", "00000000-0000-0000-0000-000000000000", "ab�",
	} {
		if err := ValidSlug(slug); !errors.Is(err, ErrSlugInvalid) {
			t.Errorf("%.80q: %v", slug, err)
		}
	}
}

func TestReservedSlugs(t *testing.T) {
	for _, slug := range []string{
		"v2", "api", "auth", "admin", "healthz", "readyz", "metrics", "login", "static", "docs", "library", "debug", "token", "berth",
		"blobs", "manifests", "tags", "referrers", "uploads",
	} {
		if err := ValidSlug(slug); !errors.Is(err, ErrSlugReserved) {
			t.Errorf("%q: %v", slug, err)
		}
	}
	for _, slug := range reservedSlugs {
		if !slugForm.MatchString(slug) {
			t.Errorf("%q is no slug anyway", slug)
		}
	}
}

// repositoryName is the Distribution Specification's expression.
var repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func TestSlugsAreRepositoryNamesAndNoIdentifiers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slug := rapid.OneOf(
			rapid.StringMatching(`[a-zA-Z0-9._/-]{0,70}`), rapid.StringMatching(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), rapid.String(),
		).Draw(t, "slug")
		if err := ValidSlug(slug); errors.Is(err, ErrSlugInvalid) {
			return
		}
		if !repositoryName.MatchString(slug) || strings.Contains(slug, "/") {
			t.Errorf("%q is no component of a repository name", slug)
		}
		if _, ok := projectID(slug); ok {
			t.Errorf("%q is an identifier", slug)
		}
	})
}

func TestOnlyTheCanonicalFormIsAnIdentifier(t *testing.T) {
	id := uuid.Must(uuid.NewV7())
	if got, ok := projectID(id.String()); !ok || got != id {
		t.Error(got, ok)
	}
	for _, text := range []string{
		"", strings.ToUpper(id.String()), "{" + id.String() + "}", "urn:uuid:" + id.String(), hex.EncodeToString(id[:]),
		uuid.Nil.String(), id.String() + " ",
	} {
		if _, ok := projectID(text); ok {
			t.Errorf("%q is taken for an identifier", text)
		}
	}
}

func TestRandomSlugs(t *testing.T) {
	for range 1000 {
		b := make([]byte, 16)
		_, _ = rand.Read(b)
		for _, text := range []string{
			hex.EncodeToString(b), hex.EncodeToString(b)[:25],
			strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)),
			strings.ToLower(base32.StdEncoding.EncodeToString(b)[:20]),
		} {
			for _, slug := range []string{text, "ci-" + text, "ci." + text + "_x"} {
				if !RandomSlug(slug) {
					t.Errorf("%q does not count as random", slug)
				}
			}
		}
	}
	for _, slug := range []string{
		"", "demo", "my-favourite-project-of-all-times", "a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p", strings.Repeat("a", 64), strings.Repeat("ab", 30),
		"0123456789abcdef01234567", "012345678901234567890123456789", "abcdefghij1234567xy", "202401021504052024010215040512",
	} {
		if RandomSlug(slug) {
			t.Errorf("%q counts as random", slug)
		}
	}
}

func FuzzValidSlug(f *testing.F) {
	for _, seed := range []string{"demo", "a--b", "a___b", "0192f0c1-d2e3-7a4b-8c5d-6e7f80910111", "v2", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, slug string) {
		if ValidSlug(slug) == nil && (len(slug) < 2 || len(slug) > 64 || !repositoryName.MatchString(slug) || uuidShaped(slug)) {
			t.Errorf("%q is accepted", slug)
		}
		RandomSlug(slug)
	})
}
