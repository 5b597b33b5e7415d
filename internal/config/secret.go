package config

import (
	"log/slog"
	"net/url"
	"regexp"
	"strings"
)

const mask = "REDACTED"

// Secret is a text that must never be printed: fmt and slog show that it is set, not what it is. Convert it with
// string(s) or call Reveal to use it.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SecretURL is a URL that may carry a password or keys. fmt and slog show it without them; Reveal returns all of it.
type SecretURL string

// Reveal returns the URL with its secrets.
func (u SecretURL) Reveal() string { return string(u) }

// String returns the URL with its secrets masked.
func (u SecretURL) String() string { return redactURL(string(u)) }

// GoString returns the URL with its secrets masked.
func (u SecretURL) GoString() string { return u.String() }

// LogValue returns the URL with its secrets masked.
func (u SecretURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText returns the URL with its secrets masked.
func (u SecretURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// secretParam matches the names of query parameters whose values are secrets.
var secretParam = regexp.MustCompile(`(?i)pass|secret|token|key|credential|signature`)

// redactURL masks the password and the secret parameters of a URL. What cannot be parsed is masked as a whole behind
// its scheme, for nobody knows where its secrets are.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		if scheme, _, ok := strings.Cut(raw, ":"); ok {
			return scheme + ":" + mask
		}
		return mask
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), mask)
	}
	if u.RawQuery == "" {
		return u.String()
	}
	pairs := strings.Split(u.RawQuery, "&")
	for i, pair := range pairs {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err != nil || secretParam.MatchString(plain) {
			pairs[i] = name + "=" + mask
		}
	}
	u.RawQuery = strings.Join(pairs, "&")
	return u.String()
}
