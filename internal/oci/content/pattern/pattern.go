// Package pattern is how rules name repositories and tags: * is anything but a slash, ? one such character, and ** between
// slashes any number of components. Databases match such a pattern, too: as a regular expression.
package pattern

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MaxLength bounds a pattern, in bytes.
const MaxLength = 255

// All is the pattern that everything matches.
const All = "**"

// Pattern is one that was checked. The zero Pattern matches nothing.
type Pattern struct {
	text       string
	expression string
	compiled   *regexp.Regexp
}

// Parse checks a pattern. Errors say what is wrong with it, in words for whoever wrote it.
func Parse(text string) (Pattern, error) {
	switch {
	case text == "":
		return Pattern{}, errors.New("is an empty pattern")
	case len(text) > MaxLength:
		return Pattern{}, fmt.Errorf("is longer than %d characters", MaxLength)
	case strings.ContainsFunc(text, func(r rune) bool { return !allowed(r) }):
		return Pattern{}, errors.New("has something else than letters, digits and . _ - / * ?")
	}
	expression := translate(text)
	compiled, err := regexp.Compile(expression)
	if err != nil {
		return Pattern{}, fmt.Errorf("is not a pattern: %w", err)
	}
	return Pattern{text: text, expression: expression, compiled: compiled}, nil
}

// ParseTags is Parse for a pattern of tags. It also refuses what no tag can match, as a tag has no slash and begins with a
// letter, a digit or _: such a rule would be about nothing.
func ParseTags(text string) (Pattern, error) {
	p, err := Parse(text)
	if err != nil {
		return Pattern{}, err
	}
	components := slices.DeleteFunc(strings.Split(text, "/"), func(c string) bool { return c == All })
	switch {
	case len(components) > 1:
		return Pattern{}, errors.New("matches no tag: tags have no slash")
	case len(components) == 1 && (components[0] == "" || strings.ContainsRune(".-", rune(components[0][0]))):
		return Pattern{}, errors.New("matches no tag: tags begin with a letter, a digit or _")
	}
	return p, nil
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Expression is the regular expression that matches the same texts, in the syntax that Go and PostgreSQL share.
func (p Pattern) Expression() string { return p.expression }

// Match tells whether the whole of a text matches.
func (p Pattern) Match(text string) bool { return p.compiled != nil && p.compiled.MatchString(text) }

func allowed(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-/*?", r)
}

// translate makes an expression of a pattern, component by component. A ** takes the slash beside it with it, so that it
// can stand for no component at all.
func translate(text string) string {
	var out strings.Builder
	out.WriteString("^")
	components := strings.Split(text, "/")
	slash := false // one is due before the next component
	for i, component := range components {
		switch last := i == len(components)-1; {
		case component != "**":
			if slash {
				out.WriteString("/")
			}
			translateComponent(&out, component)
			slash = true
		case last && i == 0:
			out.WriteString(".*")
		case last && slash:
			out.WriteString("(/.*)?")
		case last:
			out.WriteString(".*")
		case slash:
			out.WriteString("(/.*)?")
		default:
			out.WriteString("(.*/)?")
			slash = false
		}
	}
	out.WriteString("$")
	return out.String()
}

func translateComponent(out *strings.Builder, component string) {
	for i, r := range component {
		switch {
		case r == '*' && i > 0 && component[i-1] == '*': // as one
		case r == '*':
			out.WriteString("[^/]*")
		case r == '?':
			out.WriteString("[^/]")
		case r == '.':
			out.WriteString(`\.`)
		default:
			out.WriteRune(r)
		}
	}
}
