package oci_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
)

// reads are the ways to read content of a repository that has it.
func reads(repo, tag string, manifest, blob digest.Digest) []attempt {
	base := "/v2/" + repo
	return []attempt{
		{name: "manifest by tag", method: http.MethodGet, path: base + "/manifests/" + tag},
		{name: "manifest by digest", method: http.MethodGet, path: base + "/manifests/" + manifest.String()},
		{name: "manifest head", method: http.MethodHead, path: base + "/manifests/" + tag},
		{name: "manifest head by digest", method: http.MethodHead, path: base + "/manifests/" + manifest.String()},
		{name: "conditional", method: http.MethodGet, path: base + "/manifests/" + tag, headers: []string{"If-None-Match", "*"}},
		{name: "blob", method: http.MethodGet, path: base + "/blobs/" + blob.String()},
		{name: "blob head", method: http.MethodHead, path: base + "/blobs/" + blob.String()},
		{name: "range", method: http.MethodGet, path: base + "/blobs/" + blob.String(), headers: []string{"Range", "bytes=0-0"}},
		{name: "range out of it", method: http.MethodGet, path: base + "/blobs/" + blob.String(), headers: []string{"Range", "bytes=99999-"}},
		{name: "tags", method: http.MethodGet, path: base + "/tags/list"},
		{name: "no tags", method: http.MethodGet, path: base + "/tags/list?n=0"},
		{name: "referrers", method: http.MethodGet, path: base + "/referrers/" + manifest.String()},
		{name: "upload status", method: http.MethodGet, path: base + "/blobs/uploads/" + someSession},
	}
}

// removals are the ways to delete.
func removals(repo, tag string, manifest, blob digest.Digest) []attempt {
	return []attempt{
		{name: "delete tag", method: http.MethodDelete, path: manifestURL(repo, tag)},
		{name: "delete manifest", method: http.MethodDelete, path: manifestURL(repo, manifest.String())},
		{name: "delete blob", method: http.MethodDelete, path: blobURL(repo, blob)},
	}
}

// TestThreat01MountOfForeignContent: what the caller may not pull is not linked, and the answer is that for what does
// not exist.
func TestThreat01MountOfForeignContent(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		secret := []byte("a secret layer")
		d := w.otto.Push("ours/app", secret)
		w.admin.Nobody().As(ocitest.AdminToken).Push("unclaimed-by-admin/app", secret)
		w.anyone("unclaimed/app").Push("unclaimed/app", secret)
		absent := digest.FromString("absent")
		for who, c := range map[string]*ocitest.Client{
			"owner":                       w.mia.Client,
			"developer":                   w.member("mine", rbac.RoleDeveloper).Client,
			"robot":                       w.robot("mine", rbac.RoleDeveloper),
			"with a token that claims it": w.forced(w.credential(w.mia), "mine/app", "ours/app", "unclaimed/app"),
		} {
			for _, from := range []string{"ours/app", w.id("ours").String() + "/app", "unclaimed/app", "unclaimed-by-admin/app", ""} {
				a := mount(c, "mine/app", d, from)
				session(t, a, "mine/app")
				reference := mount(c, "mine/app", absent, "nothing/app")
				if len(a.Header) != len(reference.Header) {
					t.Errorf("%s from %q: %v, of what does not exist %v", who, from, a.Header, reference.Header)
				}
			}
		}
		anyone := w.anyone("unclaimed/app", "unclaimed/other", "ours/app")
		for _, from := range []string{"ours/app", "unclaimed/app", ""} {
			session(t, mount(anyone, "unclaimed/other", d, from), "unclaimed/other")
		}
		refused(t, w.mia.Do(http.MethodGet, blobURL("mine/app", d), nil), http.StatusNotFound, "BLOB_UNKNOWN")
		if n := count(t, w.env, `SELECT count(*) FROM repository_blobs WHERE digest = ?`, d.String()); n != 3 {
			t.Errorf("%d links, want those of the three pushes", n)
		}
	})
}

func (w *tenants) credential(p person) auth.Credential {
	w.tb.Helper()
	c, err := w.r.Auth.Lookup(w.tb.Context(), p.token.ID)
	w.must(err)
	return c
}

// TestThreat02ForeignSessions: a session answers to nobody but its principal, in its repository, and every other answer
// is that for a session which never was.
func TestThreat02ForeignSessions(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		location := w.mia.Start("mine/app")
		begun := w.mia.Want(http.StatusAccepted, http.MethodPatch, w.mia.Start("mine/app"), []byte("some bytes")).Header.Get("Location")
		d := digest.FromString("some bytes").String()
		for who, c := range map[string]*ocitest.Client{
			"admin": w.admin, "owner": w.member("mine", rbac.RoleOwner).Client, "robot": w.robot("mine", rbac.RoleDeveloper),
		} {
			for _, target := range []string{location, begun} {
				path, query, _ := strings.Cut(target, "?")
				never := "/v2/mine/app/blobs/uploads/" + someSession + "?" + query
				for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete} {
					suffix, body := "", []byte("other")
					if method == http.MethodPut {
						suffix, body = "&digest="+d, nil
					}
					if method == http.MethodGet || method == http.MethodDelete {
						body = nil
					}
					a := c.Do(method, target+suffix, body)
					refused(t, a, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
					if got, want := whole(a), whole(c.Do(method, never+suffix, body)); got != want {
						t.Errorf("%s %s: %s, of one that never was %s", who, method, got, want)
					}
					refused(t, c.Do(method, path+"?digest="+d, body), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
				}
			}
		}
		moved := strings.Replace(begun, "/v2/mine/app/", "/v2/mine/other/", 1)
		refused(t, w.mia.Do(http.MethodPut, ocitest.Query(moved, "digest", d), nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		for _, target := range []string{location, begun} {
			w.mia.Want(http.StatusNoContent, http.MethodGet, target, nil)
		}
		w.mia.Want(http.StatusCreated, http.MethodPut, ocitest.Query(begun, "digest", d), nil)
	})
}

// TestThreat04PrivateContentReadAnonymously: no verb and no path shows a private image to nobody, or to a stranger.
func TestThreat04PrivateContentReadAnonymously(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		blob := w.mia.Push("mine/app", []byte("private"))
		_, m := pushed(t, w.mia.Client, "mine/app", "v1", "private")
		anonymous, err := w.r.Auth.VerifyJWT(t.Context(), w.admin.Nobody().Token())
		w.must(err)
		for _, repo := range []string{"mine/app", w.id("mine").String() + "/app"} {
			for who, tt := range map[string]struct {
				c      *ocitest.Client
				status int
			}{
				"nobody":                   {w.admin.Nobody(), http.StatusUnauthorized},
				"an anonymous token":       {w.anyone(repo), http.StatusUnauthorized},
				"one that claims it":       {w.forced(anonymous.Credential, repo), http.StatusUnauthorized},
				"a stranger":               {w.otto.Client, http.StatusNotFound},
				"a stranger's robot":       {w.robot("ours", rbac.RoleDeveloper), http.StatusNotFound},
				"a stranger's runner":      {w.runner("ours", true), http.StatusNotFound},
				"a runner without a grant": {w.runner("mine", false), http.StatusNotFound},
			} {
				for _, a := range append(reads(repo, "v1", m, blob), removals(repo, "v1", m, blob)...) {
					got := a.by(tt.c)
					if got.Status != tt.status || strings.Contains(whole(got), "private") || got.Header.Get("Docker-Content-Digest") != "" {
						t.Errorf("%s, %s of %s: %d %s", who, a.name, repo, got.Status, got.Body)
					}
				}
			}
		}
		runner := w.runner("mine", true)
		for _, a := range reads("mine/app", "v1", m, blob)[:9] {
			if got := a.by(runner); got.Status >= 400 && got.Status != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("a runner with a grant, %s: %d", a.name, got.Status)
			}
		}
		for who, c := range map[string]*ocitest.Client{"Otto": w.otto.Client, "a runner": w.runner("mine", true), "a robot": w.robot("ours", rbac.RoleViewer)} {
			for _, name := range repositories(t, c.Do(http.MethodGet, "/v2/_catalog", nil)) {
				if strings.HasPrefix(name, "mine") {
					t.Errorf("the catalog tells %s of %s", who, name)
				}
			}
		}
	})
}

// TestThreat05ScopeLostInTheExchange: a bearer token does what it was asked for, on each repository by itself, and no
// more, whoever asked for it.
func TestThreat05ScopeLostInTheExchange(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		blob := w.mia.Push("mine/app", []byte("scopes"))
		_, m := pushed(t, w.mia.Client, "mine/app", "v1", "scopes")
		body := index(v1.MediaTypeImageIndex).bytes(t)
		c := w.mia.Bearer(w.mia.Token("repository:mine/app:pull", "repository:mine/other:push,delete repository:ours/app:*"))
		for _, a := range reads("mine/app", "v1", m, blob)[:8] {
			if got := a.by(c); got.Status >= 400 {
				t.Errorf("%s: %d", a.name, got.Status)
			}
		}
		writes := []attempt{
			{name: "manifest", method: http.MethodPut, path: manifestURL("mine/app", "v2"), body: body, headers: []string{"Content-Type", v1.MediaTypeImageIndex}},
			{name: "upload", method: http.MethodPost, path: "/v2/mine/app/blobs/uploads/"},
			{name: "whole", method: http.MethodPost, path: "/v2/mine/app/blobs/uploads/?digest=" + blob.String(), body: []byte("scopes")},
		}
		for _, a := range append(writes, removals("mine/app", "v1", m, blob)...) {
			got := a.by(c)
			refused(t, got, http.StatusUnauthorized, "UNAUTHORIZED")
			want := fmt.Sprintf(`scope="repository:mine/app:%s"`, map[bool]string{true: "delete", false: "pull,push"}[a.method == http.MethodDelete])
			if challenge := got.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, want) {
				t.Errorf("%s: challenge %s", a.name, challenge)
			}
		}
		for _, a := range reads("mine/other", "v1", m, blob)[:1] {
			refused(t, a.by(c), http.StatusUnauthorized, "UNAUTHORIZED")
		}
		if got := c.Do(http.MethodGet, "/v2/ours/app/tags/list", nil); got.Status < 400 {
			t.Errorf("another's repository: %d %s", got.Status, got.Body)
		}
		byID := "/v2/" + w.id("mine").String() + "/app/tags/list"
		refused(t, c.Do(http.MethodGet, byID, nil), http.StatusUnauthorized, "UNAUTHORIZED")
		session(t, c.Do(http.MethodPost, "/v2/mine/other/blobs/uploads/", nil), "mine/other")
		robot := w.robot("mine", rbac.RoleViewer)
		refused(t, w.admin.Bearer(robot.Token("repository:mine/app:*")).Do(http.MethodPost, "/v2/mine/app/blobs/uploads/", nil),
			http.StatusForbidden, "DENIED")
	})
}

// TestThreat07TagsWithoutTheRight: setting a tag takes a push, by every way, and removing one takes the right to delete.
func TestThreat07TagsWithoutTheRight(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		blob := w.mia.Push("mine/app", []byte("protected"))
		_, m := pushed(t, w.mia.Client, "mine/app", "v1", "protected")
		evil := index(v1.MediaTypeImageIndex).bytes(t)
		pushes := []attempt{}
		for name, reference := range map[string]string{"by tag": "v1", "by ?tag=": digest.FromBytes(evil).String() + "?tag=v1", "both": "v2?tag=v1"} {
			pushes = append(pushes, attempt{
				name: name, method: http.MethodPut, path: manifestURL("mine/app", reference), body: evil,
				headers: []string{"Content-Type", v1.MediaTypeImageIndex},
			})
		}
		deletes := removals("mine/app", "v1", m, blob)
		for who, tt := range map[string]struct {
			c            *ocitest.Client
			push, remove int
		}{
			"viewer":          {w.member("mine", rbac.RoleViewer).Client, 403, 403},
			"pulling robot":   {w.robot("mine", rbac.RoleViewer), 403, 403},
			"granted runner":  {w.runner("mine", true), 403, 403},
			"stranger":        {w.otto.Client, 404, 404},
			"strange robot":   {w.robot("ours", rbac.RoleDeveloper), 404, 404},
			"anonymous":       {w.anyone("mine/app"), 401, 401},
			"nobody":          {w.admin.Nobody(), 401, 401},
			"narrow bearer":   {w.mia.Bearer(w.mia.Token("repository:mine/app:pull")), 401, 401},
			"developer":       {w.member("mine", rbac.RoleDeveloper).Client, 0, 403},
			"pushing robot":   {w.robot("mine", rbac.RoleDeveloper), 0, 403},
			"pushing bearer":  {w.mia.Bearer(w.mia.Token("repository:mine/app:pull,push")), 0, 401},
			"deleting bearer": {w.mia.Bearer(w.mia.Token("repository:mine/app:delete")), 401, 0},
		} {
			attempts := deletes
			if tt.push != 0 {
				attempts = append(slices.Clone(pushes), deletes...)
			}
			for _, a := range attempts {
				want := tt.remove
				if a.method == http.MethodPut {
					want = tt.push
				}
				if want == 0 {
					continue
				}
				if got := a.by(tt.c); got.Status != want {
					t.Errorf("%s, %s: %d %s, want %d", who, a.name, got.Status, got.Body, want)
				}
			}
			headers(t, w.mia.Want(http.StatusOK, http.MethodHead, manifestURL("mine/app", "v1"), nil), "Docker-Content-Digest", m.String())
			w.mia.Want(http.StatusOK, http.MethodHead, blobURL("mine/app", blob), nil)
		}
		maintainer := w.member("mine", rbac.RoleMaintainer)
		for _, a := range deletes {
			if got := a.by(maintainer.Client); got.Status != http.StatusAccepted {
				t.Errorf("maintainer, %s: %d %s", a.name, got.Status, got.Body)
			}
		}
	})
}
