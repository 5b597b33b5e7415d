package oci_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
)

// writes are a whole push with sessions that were begun before.
func writes(repo, location, begun string, content []byte) []attempt {
	body := []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`)
	d := digest.FromBytes(content).String()
	return []attempt{
		{name: "begin", method: http.MethodPost, path: "/v2/" + repo + "/blobs/uploads/"},
		{name: "whole", method: http.MethodPost, path: "/v2/" + repo + "/blobs/uploads/?digest=" + d, body: content},
		{name: "append to an open session", method: http.MethodPatch, path: location, body: content},
		{name: "finish an open session", method: http.MethodPut, path: location + "&digest=" + d, body: content},
		{name: "append to one with content", method: http.MethodPatch, path: begun, body: content},
		{name: "finish one with content", method: http.MethodPut, path: begun + "&digest=" + d},
		{name: "manifest", method: http.MethodPut, path: manifestURL(repo, "v2"), body: body, headers: []string{"Content-Type", v1.MediaTypeImageIndex}},
	}
}

// TestThreat03FromBefore: tokens and sessions from before a revocation, the loss of a role, a suspension, a deletion or a
// project's new life under the same name are worth nothing, on this replica and on another one.
func TestThreat03FromBefore(t *testing.T) {
	for name, tt := range map[string]struct {
		change string // ? is the project
		status int
		reads  bool // refused as well
	}{
		"revocation": {`UPDATE tokens SET revoked_at = 1 WHERE name = 'test' AND created_by <> ?`, http.StatusUnauthorized, true},
		"lock-out":   {`UPDATE users SET locked_at = 1 WHERE email LIKE 'dev%' AND account_id <> ?`, http.StatusUnauthorized, true},
		"role loss":  {`DELETE FROM members WHERE role = 'developer' AND project_id = ?`, http.StatusNotFound, true},
		"demotion":   {`UPDATE members SET role = 'viewer' WHERE role = 'developer' AND project_id = ?`, http.StatusForbidden, false},
		"suspension": {`UPDATE projects SET state = 'suspended', epoch = epoch + 1 WHERE id = ?`, http.StatusForbidden, true},
		"deletion":   {`UPDATE projects SET state = 'deleted', slug = NULL, epoch = epoch + 1 WHERE id = ?`, 0, true},
		"a new life": {`UPDATE projects SET state = 'deleted', slug = NULL, epoch = epoch + 1 WHERE id = ?`, http.StatusNotFound, true},
	} {
		t.Run(name, func(t *testing.T) {
			eachTenants(t, func(t *testing.T, w *tenants) {
				blob := w.mia.Push("mine/app", []byte("before"))
				_, m := pushed(t, w.mia.Client, "mine/app", "v1", "before")
				dev := w.member("mine", rbac.RoleDeveloper)
				c := w.admin.Bearer(dev.Token("repository:mine/app:pull,push"))
				location, begun := c.Start("mine/app"), c.Start("mine/app")
				begun = c.Want(http.StatusAccepted, http.MethodPatch, begun, []byte("content")).Header.Get("Location")

				old := w.id("mine")
				change(t, w.env, tt.change, old)
				if name == "a new life" {
					w.otto.Push("mine/app", []byte("before"))
				}
				for where, client := range map[string]*ocitest.Client{"here": c, "there": c.At(w.env.Replica(t, ocitest.Options{}))} {
					for _, a := range writes("mine/app", location, begun, []byte("content")) {
						got := a.by(client)
						if tt.status == 0 { // the name is free: a push makes another project
							if strings.Contains(a.name, "session") || strings.Contains(a.name, "one with") {
								refused(t, got, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
							}
							continue
						}
						if got.Status != tt.status {
							t.Errorf("%s, %s: %d %s", where, a.name, got.Status, got.Body)
						}
					}
					for _, a := range reads("mine/app", "v1", m, blob)[:12] {
						if got := a.by(client); tt.reads && got.Status < 400 && (tt.status != 0 || a.name == "manifest by tag") {
							t.Errorf("%s, %s: %d %s", where, a.name, got.Status, got.Body)
						}
					}
				}
				if n := count(t, w.env, `SELECT count(*) FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id
					WHERE r.project_id = ? AND l.digest = ?`, old, digest.FromString("content").String()); n != 0 {
					t.Error("the content is in the project all the same")
				}
			})
		})
	}
}

// TestThreat08ReadFromACache: what was deleted, unlinked or closed to a reader is not shown because it was shown before.
func TestThreat08ReadFromACache(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		large := index(v1.MediaTypeImageIndex).with("annotations", map[string]string{"large": strings.Repeat("x", 200_000)}).bytes(t)
		for _, repo := range []string{"mine/app", "mine/other"} {
			w.mia.PutManifest(repo, "v1", v1.MediaTypeImageIndex, large)
		}
		blob := w.mia.Push("mine/app", []byte("before"))
		m := digest.FromBytes(large)
		viewer := w.member("mine", rbac.RoleViewer)
		other := w.env.Replica(t, ocitest.Options{CacheTTL: unremembered, Store: copies(t)}) // of its disk, too
		clients := []*ocitest.Client{viewer.Client, viewer.At(other)}
		all := func(repo string, want func(status int) bool) {
			t.Helper()
			for _, c := range clients {
				for _, a := range reads(repo, "v1", m, blob)[:8] {
					if strings.Contains(a.path, "/blobs/") && repo != "mine/app" {
						continue
					}
					if got := a.by(c); !want(got.Status) {
						t.Errorf("%s of %s: %d %s", a.name, repo, got.Status, got.Body)
					}
				}
			}
		}
		shown, hidden := func(s int) bool { return s < 400 }, func(s int) bool { return s == http.StatusNotFound }
		all("mine/app", shown)
		all("mine/other", shown)
		for _, a := range removals("mine/app", "v1", m, blob) {
			if got := a.by(w.mia.Client); got.Status != http.StatusAccepted {
				t.Fatalf("%s: %d %s", a.name, got.Status, got.Body)
			}
		}
		all("mine/app", hidden)
		all("mine/other", shown)
		change(t, w.env, `DELETE FROM members WHERE user_id = ?`, viewer.user.ID)
		all("mine/other", hidden)
		clients = []*ocitest.Client{w.mia.Client, w.mia.At(other)}
		all("mine/other", shown)
		change(t, w.env, `UPDATE repositories SET deleted_at = 1 WHERE path = 'other'`)
		all("mine/other", hidden)
	})
}

// TestThreat10ContentBeforeAClaim: a claim ends every token's right to push, and every session, of those who pushed
// before; what they pushed stays, and is the owner's.
func TestThreat10ContentBeforeAClaim(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		pusher := w.anyone("found/app")
		planted := []byte("planted")
		d := pusher.Push("found/app", planted)
		body := image([]byte("{}"), planted).bytes(t)
		pusher.Push("found/app", []byte("{}"))
		m := pusher.PutManifest("found/app", "v1", v1.MediaTypeImageManifest, body)
		location, begun := pusher.Start("found/app"), pusher.Start("found/app")
		begun = pusher.Want(http.StatusAccepted, http.MethodPatch, begun, []byte("content")).Header.Get("Location")
		user := w.otto.Start("found/app")
		refused(t, pusher.Do(http.MethodGet, manifestURL("found/app", "v1"), nil), http.StatusUnauthorized, "UNAUTHORIZED")
		refused(t, w.otto.Do(http.MethodGet, manifestURL("found/app", "v1"), nil), http.StatusNotFound, "NAME_UNKNOWN")

		// Replicas that remember the project from before its claim.
		remembering := w.env.Replica(t, ocitest.Options{})
		pusher.At(remembering).Push("found/app", []byte("the last one"))
		w.claim("found", w.mia)

		for where, c := range map[string]*ocitest.Client{"here": pusher, "remembering": pusher.At(remembering), "new": pusher.At(w.env.Replica(t, ocitest.Options{}))} {
			for _, a := range writes("found/app", location, begun, []byte("content")) {
				got := a.by(c)
				begins := a.name == "begin" && where == "remembering" && got.Status == http.StatusAccepted
				again := got.Status == http.StatusServiceUnavailable && where == "remembering"
				if got.Status != http.StatusUnauthorized && !again && !begins {
					t.Errorf("%s, %s: %d %s", where, a.name, got.Status, got.Body)
				}
			}
		}
		refused(t, w.otto.Do(http.MethodPatch, user, []byte("content")), http.StatusNotFound, "NAME_UNKNOWN")
		if n := count(t, w.env, `SELECT count(*) FROM repository_blobs WHERE digest = ?`, digest.FromString("content").String()); n != 0 {
			t.Error("content came into the project after its claim")
		}
		for _, a := range reads("found/app", "v1", m, d)[:12] {
			if got := a.by(w.mia.Client); got.Status >= 400 && a.name != "range out of it" {
				t.Errorf("the owner, %s: %d %s", a.name, got.Status, got.Body)
			}
			if got := a.by(pusher); got.Status != http.StatusUnauthorized {
				t.Errorf("the pusher, %s: %d %s", a.name, got.Status, got.Body)
			}
		}
		w.mia.Want(http.StatusAccepted, http.MethodDelete, manifestURL("found/app", m.String()), nil)
		w.mia.Want(http.StatusAccepted, http.MethodDelete, blobURL("found/app", d), nil)
	})
}

// TestThreat10SlugLikeAnIdentifier: a name that looks like a project's identifier is that identifier and nothing else.
func TestThreat10SlugLikeAnIdentifier(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		absent, own := uuid.Must(uuid.NewV7()).String(), w.id("mine").String()
		content := []byte("by identifier")
		d := digest.FromBytes(content)
		for _, name := range []string{absent, w.id("ours").String(), uuid.Nil.String(), uuid.NewString()} {
			for _, a := range writes(name+"/app", "/v2/"+name+"/app/blobs/uploads/"+someSession+"?_state=x", "/v2/"+name+"/app/blobs/uploads/"+someSession+"?_state=x", content) {
				refused(t, a.by(w.mia.Client), http.StatusNotFound, "NAME_UNKNOWN")
				if got := a.by(w.anyone(name + "/app")); got.Status != http.StatusUnauthorized {
					t.Errorf("anonymous, %s of %s: %d %s", a.name, name, got.Status, got.Body)
				}
			}
		}
		if got := w.mia.Push(own+"/app", content); got != d {
			t.Fatal(got)
		}
		w.mia.Want(http.StatusOK, http.MethodGet, blobURL("mine/app", d), nil)
		refused(t, w.otto.Do(http.MethodGet, blobURL(own+"/app", d), nil), http.StatusNotFound, "NAME_UNKNOWN")
		if n := count(t, w.env, `SELECT count(*) FROM projects`); n != 2 {
			t.Errorf("%d projects, want Mia's and Otto's", n)
		}
	})
}
