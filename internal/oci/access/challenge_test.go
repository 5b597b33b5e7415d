package access

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChallengeString(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   Challenge
		want string
	}{
		"bare": {
			Challenge{Scheme: "Bearer", Realm: "https://r.example/auth/token", Service: "r.example"},
			`Bearer realm="https://r.example/auth/token",service="r.example"`,
		},
		"everything": {
			Challenge{Scheme: "Bearer", Realm: "R", Service: "S", Scope: "a b", Error: "invalid_token", ErrorDescription: "no, no"},
			`Bearer realm="R",service="S",scope="a b",error="invalid_token",error_description="no, no"`,
		},
		"quoted":             {Challenge{Scheme: "Basic", Realm: `a"b\c`}, `Basic realm="a\"b\\c"`},
		"no header injected": {Challenge{Scheme: "Basic", Realm: "a\r\nb\x00é"}, `Basic realm="a??b???"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.in.String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestParseChallenge(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want Challenge
	}{
		"scheme only":          {"Basic", Challenge{Scheme: "Basic"}},
		"spaces":               {`Bearer  realm = "r" , service="s"`, Challenge{Scheme: "Bearer", Realm: "r", Service: "s"}},
		"tokens as values":     {`Bearer realm=r,error=invalid_token`, Challenge{Scheme: "Bearer", Realm: "r", Error: "invalid_token"}},
		"names ignore case":    {`Bearer REALM="r"`, Challenge{Scheme: "Bearer", Realm: "r"}},
		"the first one counts": {`Bearer realm="r",realm="x"`, Challenge{Scheme: "Bearer", Realm: "r"}},
		"unknown parameters":   {`Bearer charset="UTF-8",realm="r"`, Challenge{Scheme: "Bearer", Realm: "r"}},
		"comma in quotes":      {`Bearer scope="repository:a:pull,push",realm="r"`, Challenge{Scheme: "Bearer", Realm: "r", Scope: "repository:a:pull,push"}},
		"escapes":              {`Bearer realm="a\"b\\c\d"`, Challenge{Scheme: "Bearer", Realm: `a"b\cd`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseChallenge(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestParseChallengeRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", " Bearer", "Bearer realm", `Bearer realm="r`, `Bearer realm="r\`, `Bearer realm="r" x`, `Bearer realm="r",`,
		`Bearer ="r"`, `Bearer realm=`, `Bearer realm=a/b`, `Be(arer realm="r"`, "B\x10 realm=r",
	} {
		if got, err := parseChallenge(in); err == nil {
			t.Errorf("%q was read as %+v", in, got)
		}
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add("Bearer", "https://r.example/auth/token", "r", "repository:a:pull", "invalid_token", `say "no"`)
	f.Fuzz(func(t *testing.T, scheme, realm, service, scope, code, description string) {
		if !isToken(scheme) {
			return
		}
		in := Challenge{scheme, realm, service, scope, code, description}
		text := in.String()
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q cannot be a header", text)
		}
		out, err := parseChallenge(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if out.String() != text {
			t.Errorf("%q became %q", text, out.String())
		}
	})
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(`Bearer realm="r", service = s ,scope="a \"b"`)
	f.Add(`Basic`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseChallenge(text)
		if err != nil {
			return
		}
		if again, err := parseChallenge(c.String()); err != nil || again.String() != c.String() {
			t.Errorf("%q became %q, then %q (%v)", text, c, again, err)
		}
	})
}
