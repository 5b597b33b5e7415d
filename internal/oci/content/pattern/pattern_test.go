package pattern

import (
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func parse(t interface{ Fatalf(string, ...any) }, text string) Pattern {
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return p
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"**", "", true},
		{"**", "app/web", true},
		{"*", "app", true},
		{"*", "app/web", false},
		{"app/**", "app", true},
		{"app/**", "app/web/x", true},
		{"app/**", "apple", false},
		{"**/web", "web", true},
		{"**/web", "app/x/web", true},
		{"**/web", "appweb", false},
		{"app/**/web", "app/web", true},
		{"app/**/web", "app/a/b/web", true},
		{"app/**/web", "appweb", false},
		{"v?.*", "v1.2", true},
		{"v?.*", "v1x2", false},
		{"release-*", "release-1", true},
		{"release-*", "prerelease-1", false},
	} {
		if got := parse(t, c.pattern).Match(c.text); got != c.want {
			t.Errorf("%q and %q: %t", c.pattern, c.text, got)
		}
	}
	if (Pattern{}).Match("") {
		t.Error("the zero pattern matches")
	}
}

// TestParseTags refuses nothing that a tag could match.
func TestParseTags(t *testing.T) {
	t.Parallel()
	tags := []string{"v1", "latest", "_", "a.b-c", "0", "x"}
	for text, want := range map[string]bool{
		"**": true, "*": true, "v*": true, "**/v1": true, "v1/**": true, "**/v1/**": true, "**/**": true, "_*": true, "?": true, "*.b-c": true, "***": true,
		"a/b": false, "app/*": false, "/v1": false, "v1/": false, "/": false, "**/": false, "a/**/b": false, "*/*": false,
		".hidden": false, "-rf": false, "**/.x": false, "-*": false, "": false, "v1:": false,
	} {
		_, err := ParseTags(text)
		if (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
		loose, looseErr := Parse(text)
		if found := looseErr == nil && slices.ContainsFunc(tags, loose.Match); found != want {
			t.Errorf("%q matches a tag: %t", text, found)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "[a]", "{a,b}", `a\b`, "a+", "(a)", "a|b", "\x00", "ü", strings.Repeat("a", MaxLength+1)} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// draw gives a pattern and a text of few letters, so that they often match.
func draw(r *rapid.T) (pattern, text string) {
	piece := rapid.SampledFrom([]string{"a", "b", ".", "-", "*", "?", "a*", "*b"})
	component := rapid.OneOf(rapid.Just("**"), rapid.Map(rapid.SliceOfN(piece, 1, 3), func(p []string) string { return strings.Join(p, "") }))
	name := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ".", "-"}), 1, 3), func(p []string) string { return strings.Join(p, "") })
	components := slices.CompactFunc(rapid.SliceOfN(component, 1, 4).Draw(r, "pattern"), func(a, b string) bool { return a == "**" && b == "**" }) // ** twice is ** once here, as not everywhere
	pattern = strings.Join(components, "/")
	return pattern, strings.Join(rapid.SliceOfN(name, 0, 4).Draw(r, "text"), "/")
}

// TestMatchesAsGrantsDo: a pattern means to a rule what it means to the grants of a token.
func TestMatchesAsGrantsDo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		pattern, text := draw(r)
		want, err := doublestar.Match(pattern, text)
		if err != nil {
			r.Fatal(err)
		}
		if before, found := strings.CutSuffix(pattern, "*/**"); found && !want {
			// doublestar lets a last ** stand for nothing, but not where the * before it would have to do so, too.
			want = doublestar.MatchUnvalidated(before+"*", text)
		}
		if got := parse(r, pattern).Match(text); got != want && text != "" { // which is no path that a grant could name
			r.Fatalf("%q and %q: %t, want %t (%s)", pattern, text, got, want, translate(pattern))
		}
	})
}

var matches = database.SQL(`SELECT 1 WHERE {text:$1} {matches} {text:$2}`)

// TestDatabasesMatchAlike: and what it means in Go, it means in a statement.
func TestDatabasesMatchAlike(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		rapid.Check(t, func(r *rapid.T) {
			pattern, text := draw(r)
			p := parse(r, pattern)
			var one int
			err := db.QueryRow(t.Context(), matches, text, p.Expression()).Scan(&one)
			if err != nil && err != database.ErrNoRows { //nolint:errorlint // as QueryRow documents it
				r.Fatal(err)
			}
			if got := err == nil; got != p.Match(text) {
				r.Fatalf("%q and %q: %t in the database", pattern, text, got)
			}
		})
	})
}
