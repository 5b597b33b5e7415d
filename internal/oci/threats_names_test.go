package oci_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
)

// TestThreat09ExistenceTold: to those who may not see a project, every answer about it is, to the byte, the answer about
// one that does not exist. That a push may make a project, and so tells whether its name is free, cannot be hidden, nor
// that the token endpoint grants such a push.
func TestThreat09ExistenceTold(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		blob := w.mia.Push("mine/app", []byte("hidden"))
		_, m := pushed(t, w.mia.Client, "mine/app", "v1", "hidden")
		for who, c := range map[string]*ocitest.Client{
			"nobody": w.admin.Nobody(), "anonymous": w.anyone("mine/app", "none/app"), "narrow": w.admin.Bearer(w.admin.Nobody().Token()),
			"stranger": w.otto.Client, "robot": w.robot("ours", rbac.RoleDeveloper), "runner": w.runner("ours", true),
			"a narrow user": w.otto.Bearer(w.otto.Token()), "a granted user": w.otto.Bearer(w.otto.Token("repository:mine/app:pull,push", "repository:none/app:pull,push")),
		} {
			for _, names := range [][2]string{{"mine/app", "none/app"}, {w.id("mine").String() + "/app", uuid.Must(uuid.NewV7()).String() + "/app"}} {
				there := append(reads(names[0], "v1", m, blob), removals(names[0], "v1", m, blob)...)
				absent := append(reads(names[1], "v1", m, blob), removals(names[1], "v1", m, blob)...)
				for i, a := range there {
					if push := a.method == http.MethodHead || a.name == "upload status"; push && who == "anonymous" && names[1] == "none/app" {
						continue // the token endpoint has granted the push that creates it
					}
					got, want := whole(a.by(c), names[0], "<name>"), whole(absent[i].by(c), names[1], "<name>")
					if got != want || strings.HasPrefix(got, "OK") {
						t.Errorf("%s, %s: got %s\nfor what does not exist %s", who, a.name, got, want)
					}
				}
			}
		}
		// In a project that the caller may read, content of other projects is as absent as any.
		foreign := w.otto.Push("ours/app", []byte("foreign"))
		absent := digest.FromString("absent")
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
			got := whole(w.mia.Do(method, blobURL("mine/app", foreign), nil))
			if want := whole(w.mia.Do(method, blobURL("mine/app", absent), nil)); got != want {
				t.Errorf("%s: got %s, for what does not exist %s", method, got, want)
			}
		}
	})
}

// TestThreat11SpoofedHeaders: what a client says of itself is nowhere in an answer. Locations are relative and the realm
// is the configured one.
func TestThreat11SpoofedHeaders(t *testing.T) {
	spoofed := []string{
		"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "gopher", "X-Forwarded-For", "203.0.113.66", "X-Forwarded-Port", "6666",
		"X-Forwarded-Prefix", "/evil", "Forwarded", "host=evil.example;proto=gopher;for=203.0.113.66", "X-Real-Ip", "203.0.113.66",
		"X-Original-Url", "/evil", "X-Rewrite-Url", "/evil", "X-Http-Method-Override", "DELETE",
	}
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{TagsPage: 1, ReferrersPage: 1})
		c := r.Client
		_, m := pushed(t, c, "demo/app", "v1", "spoofed")
		pushed(t, c, "demo/app", "v2", "spoofed")
		blob := c.Push("demo/app", []byte("spoofed"))
		send := func(client *ocitest.Client, a attempt) ocitest.Answer {
			req := client.Request(t.Context(), a.method, a.path, strings.NewReader(string(a.body)), append(a.headers, spoofed...)...)
			req.Host = "evil.example:6666"
			got, err := client.Send(req)
			if err != nil {
				t.Fatal(err)
			}
			text := whole(got)
			for _, bad := range []string{"evil", "gopher", "203.0.113.66", "6666"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s: %s", a.name, text)
				}
			}
			if location := got.Header.Get("Location"); location != "" && !strings.HasPrefix(location, "/v2/demo/") {
				t.Errorf("%s: Location %s", a.name, location)
			}
			return got
		}
		location := send(c, attempt{name: "begin", method: http.MethodPost, path: "/v2/demo/app/blobs/uploads/"}).Header.Get("Location")
		attempts := append(reads("demo/app", "v1", m, blob), writes("demo/app", location, location, []byte("spoofed"))...)
		for _, a := range append(attempts,
			attempt{name: "mount", method: http.MethodPost, path: "/v2/demo/b/blobs/uploads/?from=demo/app&mount=" + blob.String()},
			attempt{name: "pages", method: http.MethodGet, path: "/v2/demo/app/tags/list?n=1"},
			attempt{name: "unknown", method: http.MethodGet, path: "/v2/demo/app/nothing"},
			attempt{name: "wrong method", method: http.MethodPost, path: "/v2/"},
		) {
			send(c, a)
			if got := send(c.Nobody(), a); got.Status == http.StatusUnauthorized &&
				!strings.HasPrefix(got.Header.Get("WWW-Authenticate"), fmt.Sprintf(`Bearer realm="%s/auth/token",service="berth-test"`, r.URL)) {
				t.Errorf("%s: challenge %s", a.name, got.Header.Get("WWW-Authenticate"))
			}
		}
		c.Want(http.StatusOK, http.MethodHead, manifestURL("demo/app", "v1"), nil)
	})
}

// TestThreat12PathTricks: a path means one repository or none, whatever its escapes, dots and slashes.
func TestThreat12PathTricks(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		blob := w.mia.Push("mine/app", []byte("target"))
		_, m := pushed(t, w.mia.Client, "mine/app", "v1", "target")
		for _, path := range []string{
			"/v2/ours/../mine/app/manifests/v1", "/v2/ours/%2e%2e/mine/app/manifests/v1", "/v2/ours/..%2fmine%2fapp/manifests/v1",
			"/v2/mine%2fapp/manifests/v1", "/v2/mine/app%2fmanifests/v1", "/v2/mine/app/manifests%2fv1", "/v2//mine/app/manifests/v1",
			"/v2/mine//app/manifests/v1", "/v2/mine/app//manifests/v1", "/v2/mine/./app/manifests/v1", "/v2/mine/app/manifests/v1/",
			"/v2/mine/app/manifests/%76%31", "/v2/mine/app/manifests/v1%00", "/v2/mine/app/manifests/v1%0a", "/v2/mine/app/manifests/..%2fv1",
			`/v2/mine\app/manifests/v1`, "/v2/mine%5capp/manifests/v1", "/v2/MINE/app/manifests/v1", "/v2/mine/app;x=y/manifests/v1",
			"/v2/mine/app/manifests/v1%3Fn=1", "/v2/mine/%C0%AE%C0%AE/app/manifests/v1", "/%76%32/mine/app/manifests/v1x",
			"/v2/mine/app/blobs/../manifests/v1", "/v2/mine/app/blobs/" + blob.String() + "/../" + blob.String(),
			"/v2/" + strings.Repeat("a/", 128) + "app/manifests/v1", "/v2/" + strings.Repeat("a", 256) + "/manifests/v1",
		} {
			for _, c := range []*ocitest.Client{w.mia.Client, w.otto.Client, w.admin} {
				if a := c.Do(http.MethodGet, path, nil); a.Status != http.StatusNotFound && a.Status != http.StatusBadRequest || a.Code() == "" && !strings.HasPrefix(path, "/%") {
					t.Errorf("%s: %d %s", path, a.Status, a.Body)
				}
			}
		}
		colon := strings.Replace(m.String(), ":", "%3A", 1)
		w.mia.Want(http.StatusOK, http.MethodGet, manifestURL("mine/app", colon), nil)
		refused(t, w.otto.Do(http.MethodGet, manifestURL("mine/app", colon), nil), http.StatusNotFound, "NAME_UNKNOWN")
	})
}

// TestThreat12NamesLikeEndpoints: repositories are told apart that are named as endpoints are.
func TestThreat12NamesLikeEndpoints(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		longest := "demo/" + strings.Repeat("a", 250)
		for _, repo := range []string{
			"demo", "demo/blobs", "demo/blobs/uploads", "demo/manifests", "demo/manifests/v1", "demo/tags/list", "demo/referrers", "demo/v2", longest,
		} {
			body, d := pushed(t, c, repo, "v1", repo)
			blob := c.Push(repo, []byte(repo))
			if got := c.Want(http.StatusOK, http.MethodGet, manifestURL(repo, "v1"), nil); !bytes.Equal(got.Body, body) {
				t.Errorf("%s: another manifest", repo)
			}
			if got := c.Want(http.StatusOK, http.MethodGet, blobURL(repo, blob), nil); string(got.Body) != repo {
				t.Errorf("%s: another blob", repo)
			}
			if got := tagList(t, c.Do(http.MethodGet, "/v2/"+repo+"/tags/list", nil)); len(got) != 1 {
				t.Errorf("%s: tags %s", repo, got)
			}
			referrers(t, c.Do(http.MethodGet, "/v2/"+repo+"/referrers/"+d.String(), nil))
			c.PutManifest(repo, "manifests", v1.MediaTypeImageManifest, body)
			c.Want(http.StatusAccepted, http.MethodDelete, manifestURL(repo, "manifests"), nil)
		}
		refused(t, c.Do(http.MethodPost, "/v2/"+longest+"b/blobs/uploads/", nil), http.StatusBadRequest, "NAME_INVALID")
	})
}
