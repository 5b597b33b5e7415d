package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/rbac"
)

var pushApp = []Access{
	{Type: "repository", Name: "demo/app", Actions: []string{"pull", "push"}},
	{Type: "repository", Name: "demo/other", Actions: []string{"pull"}},
}

// bearer is a token for a new user's credential.
func (f *fixture) bearer() (raw string, c Credential) {
	f.t.Helper()
	_, token := f.token("ada@example.dev")
	c, err := f.Lookup(f.t.Context(), token.ID)
	f.must(err)
	raw, _, _, err = f.IssueJWT(f.t.Context(), c, pushApp)
	f.must(err)
	return raw, c
}

func TestABearerTokenIsItsCredential(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, c := f.bearer()
		raw, issued, expires, err := f.IssueJWT(t.Context(), c, pushApp)
		f.must(err)
		if !issued.Equal(f.clock.Now().Truncate(time.Second)) || !expires.Equal(issued.Add(DefaultTokenTTL)) {
			t.Errorf("issued %s, expires %s", issued, expires)
		}
		for name, r := range map[string]*fixture{"here": f, "there": f.replica()} {
			claims, err := r.VerifyJWT(t.Context(), raw)
			f.must(err)
			if claims.Credential != c || !claims.Expires.Equal(expires) {
				t.Errorf("%s: %+v", name, claims)
			}
			if diff := cmp.Diff(pushApp, claims.Access); diff != "" {
				t.Errorf("%s: -want +got\n%s", name, diff)
			}
		}
	})
}

func TestAnAnonymousBearerToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		raw, _, _, err := f.IssueJWT(t.Context(), Credential{Principal: Anonymous()}, nil)
		f.must(err)
		claims, err := f.VerifyJWT(t.Context(), raw)
		f.must(err)
		if claims.Credential != (Credential{Principal: Anonymous()}) || len(claims.Access) != 0 {
			t.Errorf("%+v", claims)
		}
	})
}

func TestACallerCannotWidenAnothersAccess(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		raw, _ := f.bearer()
		first, err := f.VerifyJWT(t.Context(), raw)
		f.must(err)
		first.Access[1].Actions[0] = "delete"
		first.Access[0].Name = "victim/app"
		second, err := f.VerifyJWT(t.Context(), raw)
		f.must(err)
		if diff := cmp.Diff(pushApp, second.Access); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

func TestABearerTokenIsVerifiedOnceWithinTheCachesLife(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		raw, _ := f.bearer()
		verify := func() {
			_, err := f.VerifyJWT(t.Context(), raw)
			f.must(err)
		}
		verify()
		if n := f.trips(verify); n != 0 {
			t.Errorf("%d round trips when warm", n)
		}
		f.clock.advance(DefaultCacheTTL)
		if n := f.trips(verify); n != 2 { // the key and the credential
			t.Errorf("%d round trips when cold", n)
		}
	})
}

func TestABearerTokenExpiresInTime(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		raw, c := f.bearer()
		_, _, expires, err := f.IssueJWT(t.Context(), c, nil)
		f.must(err)
		f.clock.advance(expires.Sub(f.clock.Now()) - time.Microsecond)
		_, err = f.VerifyJWT(t.Context(), raw)
		f.must(err)
		f.clock.advance(time.Microsecond)
		for name, r := range map[string]*fixture{"warm": f, "cold": f.replica()} {
			if _, err := r.VerifyJWT(t.Context(), raw); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestABearerTokenIsNoBetterThanItsCredential(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		raw, c := f.bearer()
		_, err := f.VerifyJWT(t.Context(), raw)
		f.must(err)
		there := f.replica()
		_, err = there.VerifyJWT(t.Context(), raw)
		f.must(err)
		f.must(f.RevokeToken(t.Context(), c.TokenID))
		refused := func(name string, r *fixture) {
			t.Helper()
			if _, err := r.VerifyJWT(t.Context(), raw); !errors.Is(err, ErrInvalidToken) || !errors.Is(err, ErrInvalidCredential) {
				t.Errorf("%s: %v", name, err)
			}
		}
		refused("at once, here", f)
		f.clock.advance(DefaultCacheTTL)
		refused("within the cache's life, there", there)
	})
}

func TestABearerTokenOutlivesNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.user("ada@example.dev")
		until := f.clock.Now().Add(time.Minute)
		_, token, err := f.CreateToken(t.Context(), NewToken{Email: "ada@example.dev", Name: "short", ExpiresAt: until})
		f.must(err)
		c, err := f.Lookup(t.Context(), token.ID)
		f.must(err)
		_, _, expires, err := f.IssueJWT(t.Context(), c, nil)
		f.must(err)
		if !expires.Equal(until.Truncate(time.Second)) {
			t.Errorf("expires %s, its credential %s", expires, until)
		}
		f.clock.advance(time.Minute - time.Millisecond)
		if _, _, _, err := f.IssueJWT(t.Context(), c, nil); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("with its last millisecond: %v", err)
		}
		f.clock.advance(time.Millisecond)
		if _, _, _, err := f.IssueJWT(t.Context(), c, nil); !errors.Is(err, ErrInvalidCredential) {
			t.Errorf("expired: %v", err)
		}
	})
}

// What cannot be looked up again gets no token: it could not be revoked.
func TestNoTokenWithoutACredential(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, c := range map[string]Credential{
			"user without a token": {Principal: Principal{Kind: rbac.KindUser, ID: newID()}},
			"anonymous with one":   {Principal: Anonymous(), TokenID: newID()},
			"nobody":               {},
		} {
			if _, _, _, err := f.IssueJWT(t.Context(), c, nil); !errors.Is(err, ErrInvalidCredential) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestABearerTokenSurvivesARotation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, c := f.bearer()
		f.clock.advance(DefaultKeyLifetime - time.Second)
		raw, _, _, err := f.IssueJWT(t.Context(), c, nil)
		f.must(err)
		f.clock.advance(DefaultTokenTTL - 2*time.Second)
		raced, _, _, err := f.replica().IssueJWT(t.Context(), c, nil)
		f.must(err)
		if n := f.count(countKeys, string(purposeToken)); n != 2 {
			t.Fatalf("%d keys", n)
		}
		for name, raw := range map[string]string{"old key": raw, "new key, made by another replica": raced} {
			if _, err := f.VerifyJWT(t.Context(), raw); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAClockThatIsALittleBehind(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.clock.advance(skew)
		raw, _ := f.bearer()
		f.clock.advance(-skew)
		if _, err := f.replica().VerifyJWT(t.Context(), raw); err != nil {
			t.Error(err)
		}
		f.clock.advance(-2 * time.Second)
		if _, err := f.replica().VerifyJWT(t.Context(), raw); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("far from the future: %v", err)
		}
	})
}

func TestTooMuchAccessForOneToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, c := f.bearer()
		access := make([]Access, 300)
		for i := range access {
			access[i] = Access{Type: "repository", Name: strings.Repeat("a", 100), Actions: []string{"pull"}}
		}
		if _, _, _, err := f.IssueJWT(t.Context(), c, access); !errors.Is(err, ErrInvalidInput) {
			t.Errorf("error %v", err)
		}
	})
}

func TestOptionsThatCannotWork(t *testing.T) {
	for name, o := range map[string]Options{
		"no issuer":       {Service: "x"},
		"no service":      {Issuer: "x"},
		"no life":         {Issuer: "x", Service: "x", TokenTTL: time.Millisecond},
		"negative life":   {Issuer: "x", Service: "x", TokenTTL: -time.Hour},
		"negative cache":  {Issuer: "x", Service: "x", CacheTTL: -1},
		"keys of no life": {Issuer: "x", Service: "x", KeyLifetime: time.Second},
	} {
		if _, err := NewService(nil, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkVerifyJWT(b *testing.B) {
	dbtest.EachBenchmark(b, func(b *testing.B, db *database.DB) {
		s, err := NewService(db, Options{Issuer: testIssuer, Service: testService})
		if err != nil {
			b.Fatal(err)
		}
		f := &fixture{Service: s, t: b, db: db, clock: newClock()}
		s.passwords.params = cheapArgon
		raw, _ := f.bearer()
		b.Run("warm", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.VerifyJWT(b.Context(), raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("signature", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.parseToken(b.Context(), raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("issue", func(b *testing.B) {
			for b.Loop() {
				if _, _, _, err := s.IssueJWT(b.Context(), Credential{Principal: Anonymous()}, pushApp); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// decoded is one part of a token.
func decoded(t testing.TB, part string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// mapClaims is the payload of a token as attackers change it.
func mapClaims(t testing.TB, raw string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(raw, claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
