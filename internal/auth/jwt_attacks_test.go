package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/berthregistry/berth/internal/database/dbtest"
)

// attack is a token that was changed or made up.
type attack struct {
	name   string
	header func(h map[string]any)   // changes the header
	claims func(c jwt.MapClaims)    // changes the payload
	method jwt.SigningMethod        // nil: EdDSA
	key    func(own signingKey) any // nil: the server's own
	edit   func(raw string) string  // changes the signed text
}

// TestOnlyOurOwnTokensAreAccepted signs most attacks with the server's own key, so that nothing but the change that is
// named can be the reason for refusing them.
func TestOnlyOurOwnTokensAreAccepted(t *testing.T) {
	strangerPublic, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwk := map[string]any{
		"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(strangerPublic),
	}
	by := func(key any) func(signingKey) any { return func(signingKey) any { return key } }
	set := func(name string, value any) func(map[string]any) { return func(h map[string]any) { h[name] = value } }
	claim := func(name string, value any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = value } }
	nearFuture := newClock().Now().Add(time.Minute).Unix() // within the token's life
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }

	attacks := []attack{
		{name: "alg none", method: jwt.SigningMethodNone, key: by(jwt.UnsafeAllowNoneSignatureType)},
		{name: "alg none, no signature", edit: func(raw string) string {
			parts := strings.Split(raw, ".")
			header := strings.Replace(string(decoded(t, parts[0])), "EdDSA", "none", 1)
			return encoded(header) + "." + parts[1] + "."
		}},
		{name: "alg NONE", edit: func(raw string) string {
			parts := strings.Split(raw, ".")
			return encoded(strings.Replace(string(decoded(t, parts[0])), "EdDSA", "NONE", 1)) + "." + parts[1] + "."
		}},
		{name: "HMAC with the public key", method: jwt.SigningMethodHS256, key: func(own signingKey) any { return []byte(own.public()) }},
		{name: "HMAC with the seed", method: jwt.SigningMethodHS256, key: func(own signingKey) any { return own.secret }},
		{name: "RSA", method: jwt.SigningMethodRS256, key: by(rsaKey)},
		{name: "another key", key: by(stranger)},
		{name: "embedded jwk", header: set("jwk", jwk), key: by(stranger)},
		{name: "embedded jwk instead of kid", key: by(stranger), header: func(h map[string]any) { delete(h, "kid"); h["jwk"] = jwk }},
		{name: "own key and jwk", header: set("jwk", jwk)},
		{name: "jku", header: set("jku", "https://evil.example/keys")},
		{name: "x5u", header: set("x5u", "https://evil.example/cert")},
		{name: "crit", header: set("crit", []string{"exp"})},
		{name: "crit, unknown", header: func(h map[string]any) { h["crit"] = []string{"b64"}; h["b64"] = false }},
		{name: "unknown kid", header: set("kid", randomText(kidBytes)), key: by(stranger)},
		{name: "unknown kid, own key", header: set("kid", randomText(kidBytes))},
		{name: "no kid", header: func(h map[string]any) { delete(h, "kid") }},
		{name: "empty kid", header: set("kid", "")},
		{name: "kid that is a path", header: set("kid", "../../dev/null")},
		{name: "kid that is SQL", header: set("kid", "x' UNION SELECT 'AAAA")},
		{name: "kid that is a number", header: set("kid", 7)},
		{name: "no typ", header: func(h map[string]any) { delete(h, "typ") }},
		{name: "another typ", header: set("typ", "JWT")},
		{name: "zip", header: set("zip", "DEF")},

		{name: "no iss", claims: without("iss")},
		{name: "wrong iss", claims: claim("iss", "https://evil.example")},
		{name: "iss in other case", claims: claim("iss", strings.ToUpper(testIssuer))},
		{name: "no aud", claims: without("aud")},
		{name: "wrong aud", claims: claim("aud", "other.example.dev")},
		{name: "empty aud", claims: claim("aud", []string{})},
		{name: "no exp", claims: without("exp")},
		{name: "past exp", claims: func(c jwt.MapClaims) { c["exp"] = c["iat"] }},
		{name: "exp that is text", claims: claim("exp", "tomorrow")},
		{name: "exp null", claims: claim("exp", nil)},
		{name: "no iat", claims: without("iat")},
		{name: "future iat", claims: claim("iat", nearFuture)},
		{name: "iat after exp", claims: func(c jwt.MapClaims) { c["iat"] = c["exp"] }},
		{name: "no nbf", claims: without("nbf")},
		{name: "future nbf", claims: claim("nbf", nearFuture)},
		{name: "no credential", claims: without("berth_token")},
		{name: "another credential", claims: claim("berth_token", newID().String())},
		{name: "nil credential", claims: claim("berth_token", "00000000-0000-0000-0000-000000000000")},
		{name: "credential that is none", claims: claim("berth_token", "me")},
		{name: "another subject", claims: claim("sub", "user:"+newID().String())},
		{name: "anonymous with a credential", claims: claim("sub", "anonymous")},
		{name: "no subject", claims: without("sub")},
		{name: "access that is none", claims: claim("access", "all")},

		{name: "changed payload", edit: func(raw string) string {
			parts := strings.Split(raw, ".")
			payload := strings.Replace(string(decoded(t, parts[1])), `"pull"`, `"*"`, 1)
			return parts[0] + "." + encoded(payload) + "." + parts[2]
		}},
		{name: "no signature", edit: func(raw string) string { return raw[:strings.LastIndex(raw, ".")+1] }},
		{name: "two parts", edit: func(raw string) string { return raw[:strings.LastIndex(raw, ".")] }},
		{name: "four parts", edit: func(raw string) string { return raw + ".e30" }},
		{name: "trailing dot", edit: func(raw string) string { return raw + "." }},
		{name: "trailing space", edit: func(raw string) string { return raw + " " }},
		{name: "trailing line break", edit: func(raw string) string { return raw + "\n" }},
		{name: "line break within", edit: func(raw string) string { return raw[:len(raw)-9] + "\n" + raw[len(raw)-9:] }},
		{name: "padding", edit: func(raw string) string { return raw + "==" }},
		{name: "loose bits", edit: looseBits},
		{name: "leading space", edit: func(raw string) string { return " " + raw }},
		{name: "the scheme again", edit: func(raw string) string { return "Bearer " + raw }},
		{name: "two tokens", edit: func(raw string) string { return raw + "," + raw }},
		{name: "JSON after the payload", edit: func(raw string) string {
			parts := strings.Split(raw, ".")
			return parts[0] + "." + encoded(string(decoded(t, parts[1]))+"{}") + "." + parts[2]
		}},
		{name: "empty", edit: func(string) string { return "" }},
		{name: "dots", edit: func(string) string { return ".." }},
		{name: "JSON serialization", edit: func(raw string) string { return `{"payload":"` + raw + `"}` }},
		{name: "a registry token", edit: func(string) string { return newSecret(personalPrefix) }},
	}
	each(t, func(t *testing.T, f *fixture) {
		raw, _ := f.bearer()
		own, err := f.signingKey(t.Context(), purposeToken)
		f.must(err)
		if forged := (attack{}).forge(t, raw, own); forged == raw {
			t.Error("the control token is not a new one")
		} else if _, err := f.VerifyJWT(t.Context(), forged); err != nil {
			t.Fatalf("the control token is refused: %v", err)
		}
		for _, a := range attacks {
			t.Run(a.name, func(t *testing.T) {
				if _, err := f.VerifyJWT(t.Context(), a.forge(t, raw, own)); !errors.Is(err, ErrInvalidToken) {
					t.Errorf("error %v", err)
				}
			})
		}
	})
}

// forge makes the attack's token out of a good one. Without changes it is a good one too.
func (a attack) forge(t *testing.T, raw string, own signingKey) string {
	t.Helper()
	claims := mapClaims(t, raw)
	claims["jti"] = "forged"
	if a.claims != nil {
		a.claims(claims)
	}
	method, key := jwt.SigningMethod(jwt.SigningMethodEdDSA), any(own.private())
	if a.method != nil {
		method = a.method
	}
	if a.key != nil {
		key = a.key(own)
	}
	token := jwt.NewWithClaims(method, claims)
	maps.Copy(token.Header, map[string]any{"typ": tokenType, "kid": own.kid})
	if a.header != nil {
		a.header(token.Header)
	}
	forged, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	if a.edit != nil {
		return a.edit(forged)
	}
	return forged
}

// looseBits changes the bits of the last character that belong to no byte.
func looseBits(raw string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	return raw[:len(raw)-1] + string(alphabet[last^1])
}

// A token that signs an upload, or any other text under the upload key, is no bearer token.
func TestAKeyOfAnotherPurposeSignsNoBearerToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		raw, _ := f.bearer()
		upload, err := f.signingKey(t.Context(), purposeUpload)
		f.must(err)
		for name, a := range map[string]attack{
			"as a seed": {},
			"as HMAC":   {method: jwt.SigningMethodHS256, key: func(own signingKey) any { return own.secret }},
		} {
			if _, err := f.VerifyJWT(t.Context(), a.forge(t, raw, upload)); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAHugeTokenIsRefusedBeforeItIsParsed(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		raw, _ := f.bearer()
		own, err := f.signingKey(t.Context(), purposeToken)
		f.must(err)
		huge := attack{claims: func(c jwt.MapClaims) { c["padding"] = strings.Repeat("x", maxToken) }}.forge(t, raw, own)
		if trips := f.trips(func() {
			if _, err := f.VerifyJWT(t.Context(), huge); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("error %v", err)
			}
		}); trips != 0 {
			t.Errorf("%d round trips", trips)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = f.VerifyJWT(t.Context(), strings.Repeat("a.", 1<<20)) }); n > 20 {
			t.Errorf("%v allocations", n)
		}
	})
}

// A token of another server that shares the database's keys, or of this one under its old name, is not for this one.
func TestTokensOfAnotherServiceOrIssuer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, c := f.bearer()
		for name, o := range map[string]Options{
			"issuer":  {Clock: f.clock.Now, Issuer: "https://other.example.dev", Service: testService},
			"service": {Clock: f.clock.Now, Issuer: testIssuer, Service: "other.example.dev"},
		} {
			other, err := NewService(f.db, o)
			f.must(err)
			raw, _, _, err := other.IssueJWT(t.Context(), c, pushApp)
			f.must(err)
			if _, err := f.VerifyJWT(t.Context(), raw); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func FuzzVerifyJWT(f *testing.F) {
	server := newFixture(f, dbtest.SQLite(f))
	good, _, _, err := server.IssueJWT(f.Context(), Credential{Principal: Anonymous()}, pushApp)
	server.must(err)
	f.Add("..")
	f.Add(good)
	f.Add(good + "\r")
	f.Add(encoded(`{"alg":"none","typ":"berth-registry+jwt","kid":""}`) + "." + encoded(`{}`) + ".")
	f.Add(encoded(`{"alg":"EdDSA","typ":"berth-registry+jwt","kid":"x"}`) + "." + encoded(`{"exp":1e99,"aud":[1]}`) + ".AAAA")
	f.Add(encoded(`{"alg":"EdDSA","typ":["berth-registry+jwt"],"kid":{}}`) + "." + encoded(`[]`) + ".AAAA")
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := server.VerifyJWT(t.Context(), raw); raw != good && !errors.Is(err, ErrInvalidToken) {
			t.Errorf("%q: %v", raw, err)
		}
	})
}
