package access

import "strings"

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
	b.WriteString(c.Scheme + " realm=" + Quote(c.Realm))
	for _, p := range c.optional() {
		if *p.value != "" {
			b.WriteString("," + p.name + "=" + Quote(*p.value))
		}
	}
	return b.String()
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

// Quote writes a quoted-string of RFC 9110, section 5.6.4. What no header may carry becomes a question mark.
func Quote(s string) string {
	var b strings.Builder
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
	return b.String()
}
