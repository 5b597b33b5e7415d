package access

import (
	"errors"
	"strings"
)

// errChallenge is returned for a WWW-Authenticate value that does not follow RFC 9110.
var errChallenge = errors.New("access: malformed challenge")

// parseChallenge reads the value of a WWW-Authenticate header that holds one challenge. Parameters that it does not
// know are passed over, of repeated ones the first counts. It returns errChallenge for anything malformed.
func parseChallenge(value string) (Challenge, error) {
	scheme, rest, _ := strings.Cut(value, " ")
	if !isToken(scheme) {
		return Challenge{}, errChallenge
	}
	c := Challenge{Scheme: scheme}
	seen := make(map[string]bool)
	for rest = strings.TrimLeft(rest, " \t"); rest != ""; {
		name, text, remaining, ok := cutParameter(rest)
		if !ok {
			return Challenge{}, errChallenge
		}
		if !seen[name] {
			c.set(name, text)
		}
		seen[name], rest = true, remaining
	}
	return c, nil
}

func (c *Challenge) set(name, text string) {
	for _, p := range append(c.optional(), parameter{"realm", &c.Realm}) {
		if p.name == name {
			*p.value = text
		}
	}
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
