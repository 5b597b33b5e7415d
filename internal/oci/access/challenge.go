package access

import (
	"errors"
	"strings"
)

// ErrChallenge is returned for a WWW-Authenticate value that does not follow RFC 9110.
var ErrChallenge = errors.New("access: malformed challenge")

// The error codes of RFC 6750, section 3.1, that a challenge can carry.
const (
	errorInvalidToken      = "invalid_token"
	errorInsufficientScope = "insufficient_scope"
)

// Challenge is the content of one WWW-Authenticate header.
type Challenge struct {
	Scheme           string // Bearer or Basic
	Realm            string
	Service          string
	Scope            string // several are joined by spaces
	Error            string // a code of RFC 6750; empty where no credential was presented
	ErrorDescription string
}

// String writes the header's value; parameters that are empty are left out, but for the realm.
func (c Challenge) String() string {
	var b strings.Builder
	b.WriteString(c.Scheme + " realm=")
	quote(&b, c.Realm)
	for _, p := range c.optional() {
		if *p.value != "" {
			b.WriteString("," + p.name + "=")
			quote(&b, *p.value)
		}
	}
	return b.String()
}

// ParseChallenge reads the value of a WWW-Authenticate header that holds one challenge. Parameters that it does not
// know are passed over, of repeated ones the first counts. It returns ErrChallenge for anything malformed.
func ParseChallenge(value string) (Challenge, error) {
	scheme, rest, _ := strings.Cut(value, " ")
	if !isToken(scheme) {
		return Challenge{}, ErrChallenge
	}
	c := Challenge{Scheme: scheme}
	seen := make(map[string]bool)
	for rest = strings.TrimLeft(rest, " \t"); rest != ""; {
		name, text, remaining, ok := cutParameter(rest)
		if !ok {
			return Challenge{}, ErrChallenge
		}
		if !seen[name] {
			c.set(name, text)
		}
		seen[name], rest = true, remaining
	}
	return c, nil
}

type parameter struct {
	name  string
	value *string
}

func (c *Challenge) optional() []parameter {
	return []parameter{
		{"service", &c.Service},
		{"scope", &c.Scope},
		{"error", &c.Error},
		{"error_description", &c.ErrorDescription},
	}
}

func (c *Challenge) set(name, text string) {
	for _, p := range append(c.optional(), parameter{"realm", &c.Realm}) {
		if p.name == name {
			*p.value = text
		}
	}
}

// quote writes a quoted-string of RFC 9110, section 5.6.4. What no header may carry becomes a question mark.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// cutParameter takes name=value off the front, with the comma after it. The name is returned in lower case.
func cutParameter(s string) (name, value, rest string, ok bool) {
	name, rest, ok = strings.Cut(s, "=")
	name = strings.TrimRight(name, " \t")
	if !ok || !isToken(name) {
		return "", "", "", false
	}
	rest = strings.TrimLeft(rest, " \t")
	if strings.HasPrefix(rest, `"`) {
		value, rest, ok = unquote(rest[1:])
	} else {
		end := strings.IndexAny(rest, " \t,")
		if end < 0 {
			end = len(rest)
		}
		value, rest = rest[:end], rest[end:]
		ok = isToken(value)
	}
	if !ok {
		return "", "", "", false
	}
	rest, ok = cutComma(rest)
	return strings.ToLower(name), value, rest, ok
}

// unquote reads up to the closing quote; the opening one is gone already.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// cutComma takes the comma between two parameters away; nothing may follow the last one.
func cutComma(s string) (rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	if s == "" {
		return "", true
	}
	rest, ok = strings.CutPrefix(s, ",")
	rest = strings.TrimLeft(rest, " \t")
	return rest, ok && rest != ""
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && consistsOf(s, "!#$%&'*+-.^_`|~")
}
