package oci_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
)

// restricted is a robot with grants: with its key, and with a bearer token for all that it may do with some repositories.
func (w *tenants) restricted(slug string, grants auth.Grants, repos ...string) map[string]*ocitest.Client {
	w.tb.Helper()
	secret, _, err := w.r.Auth.CreateRobot(w.tb.Context(), auth.NewRobot{ProjectID: w.id(slug), Name: "ci", Grants: &grants, CreatedBy: "test"})
	w.must(err)
	robot := w.admin.As(secret)
	scopes := make([]string, len(repos))
	for i, repo := range repos {
		scopes[i] = "repository:" + repo + ":pull,push"
	}
	return map[string]*ocitest.Client{"key": robot, "bearer token": robot.Bearer(robot.Token(scopes...))}
}

// TestAPushOnlyRobotPushesAndReadsNothing does what clients do while they push, and then tries to read it.
func TestAPushOnlyRobotPushesAndReadsNothing(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		for how, robot := range w.restricted("mine", auth.Grants{Actions: []rbac.Action{rbac.Push}}, "mine/app", "mine/other") {
			config := []byte(`{"by":"` + how + `"}`)
			d := digest.FromBytes(config)
			robot.Want(http.StatusNotFound, http.MethodHead, blobURL("mine/app", d), nil)
			robot.Want(http.StatusNotFound, http.MethodHead, manifestURL("mine/app", "by-"+strings.Fields(how)[0]), nil)
			robot.Push("mine/app", config)
			robot.Want(http.StatusOK, http.MethodHead, blobURL("mine/app", d), nil)
			body := image(config).bytes(t)
			md := robot.PutManifest("mine/app", "v1", v1.MediaTypeImageManifest, body)
			robot.Want(http.StatusOK, http.MethodHead, manifestURL("mine/app", "v1"), nil)
			robot.Want(http.StatusOK, http.MethodHead, manifestURL("mine/app", md.String()), nil)
			if a := mount(robot, "mine/other", d, ""); a.Status != http.StatusAccepted {
				t.Errorf("%s: a mount from what it may not pull: %d", how, a.Status)
			}
			for _, path := range []string{
				blobURL("mine/app", d), manifestURL("mine/app", "v1"), manifestURL("mine/app", md.String()),
				"/v2/mine/app/tags/list", "/v2/mine/app/referrers/" + md.String(), blobURL("mine/app", digest.FromString("absent")),
			} {
				refused(t, robot.Do(http.MethodGet, path, nil), http.StatusForbidden, "DENIED")
			}
			for _, path := range []string{blobURL("mine/app", d), manifestURL("mine/app", "v1")} {
				refused(t, robot.Do(http.MethodDelete, path, nil), http.StatusForbidden, "DENIED")
			}
			refused(t, robot.Do(http.MethodGet, "/v2/ours/app/tags/list", nil), http.StatusNotFound, "NAME_UNKNOWN")
		}
	})
}

// TestThreat7TagsThatATokenMayNotMove goes for a protected tag through every request that names, moves or hides one.
func TestThreat7TagsThatATokenMayNotMove(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		body, protected := pushed(t, w.mia.Client, "mine/app/web", "stable", "protected")
		grants := auth.Grants{Actions: []rbac.Action{rbac.Pull, rbac.Push}, Repositories: []string{"app/**"}, Tags: []string{"v*"}}
		for how, robot := range w.restricted("mine", grants, "mine/app/web", "mine/else") {
			config := []byte(`{"by":"` + how + `"}`)
			robot.Push("mine/app/web", config)
			other := image(config).bytes(t)
			put := func(path string, content []byte) ocitest.Answer {
				return robot.Do(http.MethodPut, path, content, "Content-Type", v1.MediaTypeImageManifest)
			}
			byDigest := manifestURL("mine/app/web", digest.FromBytes(other).String())
			for name, path := range map[string]string{
				"by tag":                 manifestURL("mine/app/web", "stable"),
				"by tag, beside its own": manifestURL("mine/app/web", "v1") + "?tag=stable",
				"by digest with ?tag=":   byDigest + "?tag=stable",
				"among others":           byDigest + "?tag=v1&tag=v2&tag=stable",
				"a new tag":              manifestURL("mine/app/web", "latest"),
			} {
				a := put(path, other)
				refused(t, a, http.StatusForbidden, "DENIED")
				if tag := map[bool]string{true: "latest", false: "stable"}[name == "a new tag"]; !strings.Contains(string(a.Body), tag) {
					t.Errorf("%s, %s: the answer does not name the tag: %s", how, name, a.Body)
				}
			}
			robot.Want(http.StatusNotFound, http.MethodHead, byDigest, nil) // no refused push left anything
			for name, path := range map[string]string{
				"its own tag": manifestURL("mine/app/web", "v1"), "several": byDigest + "?tag=v1&tag=v2", "no tag": byDigest,
			} {
				if a := put(path, other); a.Status != http.StatusCreated {
					t.Errorf("%s, %s: %d %s", how, name, a.Status, a.Body)
				}
			}
			if a := put(manifestURL("mine/else", "v1"), body); a.Status != http.StatusForbidden {
				t.Errorf("%s, another repository: %d", how, a.Status)
			}
			a := robot.Want(http.StatusOK, http.MethodGet, manifestURL("mine/app/web", "stable"), nil) // pulls are not restricted by tag
			if got := digest.FromBytes(a.Body); got != protected {
				t.Errorf("%s: the tag moved to %s", how, got)
			}
		}
	})
}

// TestThreat7TagsThatATokenMayNotDelete is about personal tokens: no robot deletes.
func TestThreat7TagsThatATokenMayNotDelete(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		_, d := pushed(t, w.mia.Client, "mine/app", "stable", "protected")
		w.mia.Want(http.StatusCreated, http.MethodPut, manifestURL("mine/app", d.String())+"?tag=v1",
			w.mia.Want(http.StatusOK, http.MethodGet, manifestURL("mine/app", "stable"), nil).Body, "Content-Type", v1.MediaTypeImageManifest)
		change(t, w.env, `UPDATE tokens SET grants = ? WHERE id = ?`, `{"actions":["pull","delete"],"tags":["v*"]}`, w.mia.token.ID)

		refused(t, w.mia.Do(http.MethodDelete, manifestURL("mine/app", "stable"), nil), http.StatusForbidden, "DENIED")
		refused(t, w.mia.Do(http.MethodDelete, manifestURL("mine/app", d.String()), nil), http.StatusForbidden, "DENIED") // with all of its tags
		refused(t, w.mia.Do(http.MethodDelete, manifestURL("absent/app", "stable"), nil), http.StatusNotFound, "NAME_UNKNOWN")
		w.mia.Want(http.StatusAccepted, http.MethodDelete, manifestURL("mine/app", "v1"), nil)
		w.mia.Want(http.StatusOK, http.MethodGet, manifestURL("mine/app", "stable"), nil)
	})
}

// TestThreat5AWideBearerTokenGetsNoMoreThanTheGrants holds a bearer token whose scope says everything.
func TestThreat5AWideBearerTokenGetsNoMoreThanTheGrants(t *testing.T) {
	eachTenants(t, func(t *testing.T, w *tenants) {
		_, d := pushed(t, w.mia.Client, "mine/app", "v1", "image")
		grants := auth.Grants{Actions: []rbac.Action{rbac.Pull}, Repositories: []string{"app"}}
		secret, _, err := w.r.Auth.CreateRobot(t.Context(), auth.NewRobot{ProjectID: w.id("mine"), Name: "ci", Grants: &grants, CreatedBy: "test"})
		w.must(err)
		credential, err := w.r.Auth.VerifySecret(t.Context(), secret)
		w.must(err)
		wide := w.forced(credential, "mine/app", "mine/other", "ours/app")
		wide.Want(http.StatusOK, http.MethodGet, manifestURL("mine/app", "v1"), nil)
		refused(t, wide.Do(http.MethodPost, "/v2/mine/app/blobs/uploads/", nil), http.StatusForbidden, "DENIED")
		refused(t, wide.Do(http.MethodDelete, manifestURL("mine/app", d.String()), nil), http.StatusForbidden, "DENIED")
		refused(t, wide.Do(http.MethodGet, manifestURL("mine/other", "v1"), nil), http.StatusForbidden, "DENIED")
		refused(t, wide.Do(http.MethodGet, manifestURL("ours/app", "v1"), nil), http.StatusNotFound, "NAME_UNKNOWN")
	})
}
