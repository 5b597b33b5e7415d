package oci_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
)

// few are limits that a test reaches at once. What they take away comes back within a minute.
var few = ratelimit.Limits{
	Token: ratelimit.Limit{PerMinute: 4, Burst: 4},
	Read:  ratelimit.Limit{PerMinute: 5, Burst: 5},
	Write: ratelimit.Limit{PerMinute: 2, Burst: 2},
	Login: ratelimit.Limit{PerMinute: 2, Burst: 2},
}

// limitedTenants are tenants, and a second replica that has limits and a clock of its own for them.
func limitedTenants(t *testing.T, limits ratelimit.Limits, dryRun bool) (w *tenants, strict *ocitest.Replica, pass func(time.Duration)) {
	t.Helper()
	env := ocitest.Embedded(t)
	w = &tenants{tb: t, env: env, r: env.Replica(t, ocitest.Options{CacheTTL: unremembered})}
	w.admin = w.r.Client
	w.mia, w.otto = w.person("mia"), w.person("otto")
	w.mia.Push("mine/app", []byte("Mia's layer"))
	w.otto.Push("ours/app", []byte("Otto's layer"))
	now := time.Unix(1_700_000_000, 0)
	limiter, err := ratelimit.New(ratelimit.Config{Limits: limits, Keys: 10_000, DryRun: dryRun, Clock: func() time.Time { return now }})
	w.must(err)
	strict = env.Replica(t, ocitest.Options{CacheTTL: unremembered, Limits: limiter})
	return w, strict, func(d time.Duration) { now = now.Add(d) }
}

var (
	miasLayer  = "/v2/mine/app/blobs/" + digest.FromString("Mia's layer").String()
	ottosLayer = "/v2/ours/app/blobs/" + digest.FromString("Otto's layer").String()
)

// limited checks an answer that says: later.
func limited(t *testing.T, a ocitest.Answer, retryAfter string) {
	t.Helper()
	refused(t, a, http.StatusTooManyRequests, "TOOMANYREQUESTS")
	if got := a.Header.Get("Retry-After"); got != retryAfter {
		t.Errorf("Retry-After %q, want %q", got, retryAfter)
	}
}

// from makes headers of a request of another client; the engine of the tests trusts every proxy.
func from(address string) []string { return []string{"X-Forwarded-For", address} }

func TestUsersHaveLimitsOfTheirOwn(t *testing.T) {
	t.Parallel()
	w, strict, pass := limitedTenants(t, few, false)
	mia, otto := w.mia.At(strict), w.otto.At(strict)
	for i := range 5 { // by whatever token, and from whatever address
		client := mia
		if i%2 == 0 {
			client = mia.Bearer(w.mia.Token("repository:mine/app:pull")).At(strict)
		}
		client.Want(http.StatusOK, http.MethodGet, miasLayer, nil, from(fmt.Sprintf("192.0.2.%d", i))...)
	}
	limited(t, mia.Do(http.MethodGet, miasLayer, nil), "12")
	if a := mia.Do(http.MethodHead, miasLayer, nil); a.Status != http.StatusTooManyRequests || len(a.Body) != 0 {
		t.Errorf("HEAD: %d %q", a.Status, a.Body)
	}
	mia.Want(http.StatusAccepted, http.MethodPost, "/v2/mine/app/blobs/uploads/", nil) // another class
	otto.Want(http.StatusOK, http.MethodGet, ottosLayer, nil)
	pass(12 * time.Second)
	mia.Want(http.StatusOK, http.MethodGet, miasLayer, nil)
	limited(t, mia.Do(http.MethodGet, miasLayer, nil), "12")
}

func TestRobotsShareTheirProjectsLimitAndRunnersDoNot(t *testing.T) {
	t.Parallel()
	w, strict, _ := limitedTenants(t, few, false)
	one, two := w.robot("mine", rbac.RoleDeveloper).At(strict), w.robot("mine", rbac.RoleDeveloper).At(strict)
	for range 5 {
		one.Want(http.StatusOK, http.MethodGet, miasLayer, nil)
	}
	limited(t, two.Do(http.MethodGet, miasLayer, nil), "12")
	w.robot("ours", rbac.RoleDeveloper).At(strict).Want(http.StatusOK, http.MethodGet, ottosLayer, nil)
	w.mia.At(strict).Want(http.StatusOK, http.MethodGet, miasLayer, nil)
	for range 2 {
		runner := w.runner("mine", true).At(strict)
		for range 5 {
			runner.Want(http.StatusOK, http.MethodGet, miasLayer, nil)
		}
		limited(t, runner.Do(http.MethodGet, miasLayer, nil), "12")
	}
}

func TestAnUploadThatHasBegunIsNeverLimited(t *testing.T) {
	t.Parallel()
	w, strict, _ := limitedTenants(t, few, false)
	mia := w.mia.At(strict)
	location, other := mia.Start("mine/app"), mia.Start("mine/app")
	limited(t, mia.Do(http.MethodPost, "/v2/mine/app/blobs/uploads/", nil), "30")
	limited(t, mia.Do(http.MethodDelete, miasLayer, nil), "30")
	for i := range 12 { // until the address may not log in any more
		mia.As("a-secret-that-is-wrong-"+fmt.Sprint(i)).At(strict).Do(http.MethodGet, "/v2/", nil)
	}
	limited(t, mia.Do(http.MethodGet, miasLayer, nil), "6")
	var content strings.Builder
	for i := range 20 {
		chunk := fmt.Sprintf("chunk %d;", i)
		content.WriteString(chunk)
		location = mia.Want(http.StatusAccepted, http.MethodPatch, location, []byte(chunk)).Header.Get("Location")
		mia.Want(http.StatusNoContent, http.MethodGet, location, nil)
	}
	d := digest.FromString(content.String())
	mia.Want(http.StatusCreated, http.MethodPut, ocitest.Query(location, "digest", d.String()), nil)
	mia.Want(http.StatusNoContent, http.MethodDelete, other, nil)
	refused(t, mia.As("a-secret-that-is-wrong").At(strict).Do(http.MethodPatch, other, []byte("x")), http.StatusUnauthorized, "UNAUTHORIZED")
}

// TestAPathIsNoUpload: what is only written like a request of an upload session is limited, whoever sends it, and so are
// log-ins by it. One session's state is none for another.
func TestAPathIsNoUpload(t *testing.T) {
	t.Parallel()
	w, strict, _ := limitedTenants(t, few, false)
	mia := w.mia.At(strict)
	location := mia.Start("mine/app") // one of two writes
	_, state, _ := strings.Cut(location, "?")
	forged := "/v2/mine/app/blobs/uploads/" + uuid.Must(uuid.NewV7()).String()
	refused(t, mia.Do(http.MethodPatch, forged+"?"+state, []byte("x")), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	limited(t, mia.Do(http.MethodPatch, forged, []byte("x")), "30")
	limited(t, mia.Do(http.MethodPut, forged+"?_state=nonsense", nil), "30")
	for range 5 {
		refused(t, mia.Do(http.MethodGet, forged, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	}
	limited(t, mia.Do(http.MethodGet, forged, nil), "12")
	for i := range 10 {
		wrong := w.admin.As(fmt.Sprintf("a-secret-that-is-wrong-%d", i)).At(strict)
		if a := wrong.Do(http.MethodDelete, forged, nil, from("192.0.2.1")...); a.Status != http.StatusUnauthorized && a.Status != http.StatusTooManyRequests {
			t.Errorf("%d: %d %s", i, a.Status, a.Body)
		}
	}
	limited(t, w.admin.As("one-more").At(strict).Do(http.MethodPatch, forged, nil, from("192.0.2.1")...), "6")
	mia.Want(http.StatusAccepted, http.MethodPatch, location, []byte("x"))
}

func TestAnonymousClientsAreTheirAddresses(t *testing.T) {
	t.Parallel()
	w, strict, _ := limitedTenants(t, few, false)
	nobody := w.admin.Nobody().At(strict)
	for range 20 { // challenges are free
		refused(t, nobody.Do(http.MethodGet, miasLayer, nil), http.StatusUnauthorized, "UNAUTHORIZED")
	}
	anyone := w.anyone("free/app").At(strict)
	for i, tt := range []struct {
		address string
		limited bool
	}{
		{"192.0.2.1", false}, {"::ffff:192.0.2.1", false}, {"192.0.2.1", true}, {"192.0.2.2", false},
		{"2001:db8::1", false}, {"2001:db8::2", false}, {"2001:db8::3", true}, {"2001:db8:0:1::3", false},
		{"nonsense", false}, {"192.0.2.1, also nonsense", false}, {"1.2.3", true}, // all are the address of the connection
	} {
		a := anyone.Do(http.MethodPost, "/v2/free/app/blobs/uploads/", nil, from(tt.address)...)
		if (a.Status == http.StatusTooManyRequests) != tt.limited {
			t.Errorf("%d: %s: status %d, want limited: %t", i, tt.address, a.Status, tt.limited)
		}
	}
	// A token that is no good is the address too.
	broken := w.admin.Bearer("broken").At(strict)
	for range 5 {
		refused(t, broken.Do(http.MethodGet, miasLayer, nil, from("192.0.2.7")...), http.StatusUnauthorized, "UNAUTHORIZED")
	}
	limited(t, broken.Do(http.MethodGet, miasLayer, nil, from("192.0.2.7")...), "12")
}

func TestTokenRequestsAreLimited(t *testing.T) {
	t.Parallel()
	w, strict, _ := limitedTenants(t, few, false)
	nobody, mia := w.admin.Nobody().At(strict), w.mia.At(strict)
	for range 4 {
		nobody.Want(http.StatusOK, http.MethodGet, "/auth/token", nil)
		mia.Want(http.StatusOK, http.MethodGet, "/auth/token", nil)
	}
	limited(t, nobody.Do(http.MethodGet, "/auth/token", nil), "15")
	nobody.Want(http.StatusOK, http.MethodGet, "/auth/token", nil, from("192.0.2.1")...)
	limited(t, mia.Do(http.MethodGet, "/auth/token", nil, from("192.0.2.1")...), "15")
	form := func(secret string) []byte {
		return []byte(url.Values{"grant_type": {"password"}, "username": {"any"}, "password": {secret}}.Encode())
	}
	secret, _, err := w.r.Auth.CreateToken(t.Context(), auth.NewToken{Email: w.mia.user.Email, Name: "another"})
	w.must(err)
	limited(t, nobody.Do(http.MethodPost, "/auth/token", form(secret), "Content-Type", "application/x-www-form-urlencoded"), "15")
	w.otto.At(strict).Want(http.StatusOK, http.MethodGet, "/auth/token", nil)
}

func TestLogInsThatFailAreLimited(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"registry": "/v2/", "token endpoint": "/auth/token"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := few
			limits.Token, limits.Read = ratelimit.Limit{}, ratelimit.Limit{}
			w, strict, pass := limitedTenants(t, limits, false)
			try := func(secret, address string) ocitest.Answer {
				return w.admin.As(secret).With(t).At(strict).Do(http.MethodGet, path, nil, from(address)...)
			}
			mia := w.mia.With(t).At(strict)
			for range 20 { // those that succeed are free
				mia.Want(http.StatusOK, http.MethodGet, path, nil, from("192.0.2.1")...)
			}
			for range 2 {
				refused(t, try("one-and-the-same-secret", "192.0.2.1"), http.StatusUnauthorized, "UNAUTHORIZED")
			}
			limited(t, try("one-and-the-same-secret", "192.0.2.1"), "30")
			limited(t, try("one-and-the-same-secret", "192.0.2.2"), "30") // wherever from
			mia.Want(http.StatusOK, http.MethodGet, path, nil, from("192.0.2.1")...)
			for i := range 8 {
				refused(t, try(fmt.Sprintf("another-wrong-secret-%d", i), "192.0.2.1"), http.StatusUnauthorized, "UNAUTHORIZED")
			}
			limited(t, try("yet-another-wrong-secret", "192.0.2.1"), "6")
			limited(t, mia.Do(http.MethodGet, path, nil, from("192.0.2.1")...), "6") // a right one would tell
			mia.Want(http.StatusOK, http.MethodGet, path, nil, from("192.0.2.2")...)
			pass(6 * time.Second)
			mia.Want(http.StatusOK, http.MethodGet, path, nil, from("192.0.2.1")...)
		})
	}
}

func TestADryRunRefusesNothing(t *testing.T) {
	t.Parallel()
	w, strict, _ := limitedTenants(t, few, true)
	for i := range 30 {
		w.mia.At(strict).Want(http.StatusOK, http.MethodGet, miasLayer, nil)
		w.mia.At(strict).Want(http.StatusOK, http.MethodGet, "/auth/token", nil)
		refused(t, w.admin.As(fmt.Sprintf("a-secret-that-is-wrong-%d", i)).At(strict).Do(http.MethodGet, "/v2/", nil),
			http.StatusUnauthorized, "UNAUTHORIZED")
	}
}
