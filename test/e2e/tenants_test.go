package e2e

import (
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/client"
)

// TestFromAPushWithoutAnAccountToATenant is the first story of Berth: somebody pushes without an account, claims what they pushed,
// gives their pipeline and their machines tokens, and from then on nobody else gets in.
func TestFromAPushWithoutAnAccountToATenant(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		layout := newLayout(t, newImage(t, "amd64", nil, b.sizes()...))

		pushWithoutAnAccount(t, r, layout)
		owner := claimed(t, r)
		robot := newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush})
		same(t, blobsOf(t, layout), r.nobody(t).basic(robot.Secret).readBack("demo/app", "one"))
		r.crane(t, robot.Secret).run("push", layout, r.host+"/demo/app:two")
		r.skopeo(t, robot.Secret).copy("oci:"+layout+":latest", "docker://"+r.host+"/demo/secret/app:two", "--preserve-digests")

		nobodyGetsIn(t, r, layout)
		runnerOfTheServer(t, r, owner, blobsOf(t, layout))
		runnerOfTheProject(t, r, owner, blobsOf(t, layout))
	})
}

// pushWithoutAnAccount pushes demo/app:one, and sees on the wire that it says where to claim the project.
func pushWithoutAnAccount(t *testing.T, r *registry, layout string) {
	t.Helper()
	_, wire, err := r.program(t, "crane", "", "-v").try(nil, "push", layout, r.host+"/demo/app:one")
	if err != nil {
		t.Fatalf("crane push without an account: %v\n%s", err, wire)
	}
	const warning = `Warning: 299 - "the project demo belongs to nobody yet`
	if !strings.Contains(wire, warning) || !strings.Contains(wire, "POST http://"+r.host+"/api/v1/projects/demo/claim") {
		t.Errorf("no answer has the header %s\n%s", warning, wire)
	}
	r.crane(t, "").refused("unauthorized", "manifest", r.host+"/demo/app:one")
}

// claimed signs in, claims demo and gives the API as its owner. A second claim comes too late.
func claimed(t *testing.T, r *registry) *client.ClientWithResponses {
	t.Helper()
	owner := r.api(t, r.signIn(t, "ada@example.org"))
	claim, err := owner.ClaimProjectWithResponse(t.Context(), "demo", client.ClaimRequest{})
	must(t, err)
	project, pushed := claim.JSON200.Project, claim.JSON200.Pushed
	if project.State != client.Active || project.Role == nil || *project.Role != client.Owner {
		t.Errorf("claimed %+v", project)
	}
	if len(pushed) != 1 || pushed[0].Path != "app" || pushed[0].Tags != 1 || pushed[0].Manifests != 1 || pushed[0].Bytes == 0 {
		t.Errorf("the claim tells of %+v, want one image of app", pushed)
	}
	_, err = r.api(t, r.signIn(t, "eve@example.org")).ClaimProjectWithResponse(t.Context(), "demo", client.ClaimRequest{})
	wantProblem(t, "not-found", err) // by now it is as private as any
	return owner
}

// nobodyGetsIn tries what worked before the claim.
func nobodyGetsIn(t *testing.T, r *registry, layout string) {
	t.Helper()
	crane := r.crane(t, "")
	crane.refused("unauthorized", "push", layout, r.host+"/demo/app:three")
	crane.refused("unauthorized", "pull", r.host+"/demo/app:one", filepath.Join(t.TempDir(), "pulled"))
	r.skopeo(t, "").refused("", "copy", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+r.host+"/demo/app:three")
	r.admin(t).wantTags("demo/app", "one", "two")
}

// runnerOfTheServer grants a runner one repository of demo, and takes that back.
func runnerOfTheServer(t *testing.T, r *registry, owner *client.ClientWithResponses, blobs map[string]int64) {
	t.Helper()
	created, err := r.api(t, adminToken).CreateServerRunnerWithResponse(t.Context(), nil, client.ServerRunnerCreate{Name: "rack"})
	must(t, err)
	id, crane := created.JSON201.Runner.ID, r.crane(t, created.JSON201.Secret)
	wantNoPull(t, r, crane, "demo/app:one")

	_, err = owner.GrantRunnerWithResponse(t.Context(), "demo", id, client.RunnerGrant{Repositories: &[]string{"app"}})
	must(t, err)
	wantPull(t, r, crane, "demo/app:one", blobs)
	wantNoPull(t, r, crane, "demo/secret/app:two")
	crane.refused("", "tag", r.host+"/demo/app:one", "three")
	crane.refused("", "delete", r.host+"/demo/app:one")
	r.admin(t).wantTags("demo/app", "one", "two")

	_, err = owner.RemoveRunnerWithResponse(t.Context(), "demo", id)
	must(t, err)
	wantNoPull(t, r, crane, "demo/app:one")
}

// runnerOfTheProject makes one that may pull everything of demo, and revokes it.
func runnerOfTheProject(t *testing.T, r *registry, owner *client.ClientWithResponses, blobs map[string]int64) {
	t.Helper()
	created, err := owner.CreateRunnerWithResponse(t.Context(), "demo", nil, client.RunnerCreate{Name: "own"})
	must(t, err)
	crane := r.crane(t, created.JSON201.Secret)
	wantPull(t, r, crane, "demo/app:one", blobs)
	wantPull(t, r, crane, "demo/secret/app:two", blobs)
	crane.refused("", "tag", r.host+"/demo/app:one", "three")

	_, err = owner.RemoveRunnerWithResponse(t.Context(), "demo", created.JSON201.Runner.ID)
	must(t, err)
	wantNoPull(t, r, crane, "demo/app:one")
}

// wantPull pulls an image with crane and compares it with what was pushed.
func wantPull(t *testing.T, r *registry, crane program, image string, blobs map[string]int64) {
	t.Helper()
	pulled := filepath.Join(t.TempDir(), "pulled")
	crane.run("pull", "--format=oci", r.host+"/"+image, pulled)
	same(t, blobs, blobsOf(t, pulled))
}

// wantNoPull fails the test unless an image is kept from a client. It is there, for the admin.
func wantNoPull(t *testing.T, r *registry, crane program, image string) {
	t.Helper()
	r.crane(t, adminToken).run("digest", r.host+"/"+image)
	for _, args := range [][]string{{"manifest", r.host + "/" + image}, {"pull", r.host + "/" + image, filepath.Join(t.TempDir(), "pulled")}} {
		if out, _, err := crane.try(nil, args...); err == nil {
			t.Errorf("crane %s works: %s", strings.Join(args, " "), out)
		}
	}
}

// TestRunnersPullUnclaimedImagesByDigest has an admin vouch for one digest's repository of a project that belongs to nobody: what a tag
// names there, anybody may change.
func TestRunnersPullUnclaimedImagesByDigest(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		image := newImage(t, "amd64", nil, b.sizes()...)
		layout, digest := newLayout(t, image), digestOf(t, image)
		for _, repo := range []string{"nobodys/app", "nobodys/other"} {
			r.crane(t, "").run("push", layout, r.host+"/"+repo+":one")
		}
		admin, user := r.api(t, adminToken), r.api(t, r.signIn(t, "ada@example.org"))
		created, err := admin.CreateServerRunnerWithResponse(t.Context(), nil, client.ServerRunnerCreate{Name: "rack"})
		must(t, err)
		id, crane := created.JSON201.Runner.ID, r.crane(t, created.JSON201.Secret)

		grant := client.RunnerGrant{Repositories: &[]string{"app"}}
		_, err = user.GrantRunnerWithResponse(t.Context(), "nobodys", id, grant)
		wantProblem(t, "forbidden", err)
		wantNoPull(t, r, crane, "nobodys/app@"+digest)
		_, err = admin.GrantRunnerWithResponse(t.Context(), "nobodys", id, grant)
		must(t, err)
		wantPull(t, r, crane, "nobodys/app@"+digest, blobsOf(t, layout))
		wantNoPull(t, r, crane, "nobodys/app:one")
		wantNoPull(t, r, crane, "nobodys/other@"+digest)

		_, err = user.ClaimProjectWithResponse(t.Context(), "nobodys", client.ClaimRequest{})
		must(t, err)
		wantNoPull(t, r, crane, "nobodys/app@"+digest)
	})
}

// TestClaimsCanDiscard claims a project without what strangers may have planted there.
func TestClaimsCanDiscard(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		layout := newLayout(t, newImage(t, "amd64", nil, b.sizes()...))
		r.crane(t, "").run("push", layout, r.host+"/planted/app:one")
		secret := r.signIn(t, "ada@example.org")
		claim, err := r.api(t, secret).ClaimProjectWithResponse(t.Context(), "planted", client.ClaimRequest{DiscardContent: new(true)})
		must(t, err)
		if len(claim.JSON200.Pushed) != 1 {
			t.Errorf("the claim tells of %+v", claim.JSON200.Pushed)
		}
		r.admin(t).want(http.StatusNotFound, http.MethodGet, "/v2/planted/app/manifests/one", nil)
		for _, d := range slices.Sorted(maps.Keys(blobsOf(t, layout))) {
			r.admin(t).want(http.StatusNotFound, http.MethodHead, "/v2/planted/app/blobs/"+d, nil)
		}
		robot := newRobot(t, r.api(t, secret), "planted", client.RobotCreate{Actions: pullAndPush})
		r.crane(t, robot.Secret).run("push", layout, r.host+"/planted/app:mine")
		same(t, blobsOf(t, layout), r.admin(t).readBack("planted/app", "mine"))
		if diff := cmp.Diff([]string{"mine"}, r.admin(t).tags("planted/app")); diff != "" {
			t.Errorf("tags: -want +got\n%s", diff)
		}
	})
}
