package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/rbac"
)

const aDigest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" // of "foo"

// TestThreat10ClaimRace: of 50 who claim at once one wins, and is the only member.
func TestThreat10ClaimRace(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		r, other := env.Serve(t), env.Serve(t)
		people := make([]apitest.Person, 50)
		for i := range people {
			people[i] = env.Person(t, uuid.NewString())
		}
		env.Unclaimed(t, "wanted")
		answers := atOnce(len(people), func(i int) apitest.Answer {
			c := r.As(t, people[i].Secret)
			if i%2 == 1 {
				c = c.At(other)
			}
			return c.Do("POST", "/projects/wanted/claim", map[string]any{})
		})
		winner := -1
		for i, answer := range answers {
			switch answer.Status {
			case http.StatusOK:
				if winner >= 0 {
					t.Errorf("%d and %d have won", winner, i)
				}
				winner = i
			case http.StatusConflict, http.StatusNotFound:
			default:
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		}
		if winner < 0 {
			t.Fatal("nobody has won")
		}
		members := r.As(t, people[winner].Secret).Want(http.StatusOK, "GET", "/projects/wanted/members", nil).Items(t)
		if len(members) != 1 || !strings.Contains(identity(members[0]), people[winner].ID.String()) {
			t.Errorf("members %v", members)
		}
	})
}

// TestClaimModes: in the mode admin only admins claim, for somebody; they can in either.
func TestClaimModes(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		open, strict := env.Serve(t), env.Serve(t, func(c *config.Config) { c.Unclaimed.ClaimMode = "admin" })
		ada := env.Person(t, "ada")
		for _, slug := range []string{"one", "two", "three"} {
			env.Unclaimed(t, slug)
		}
		forOther := map[string]any{"owner": strings.ToUpper(ada.Email)}
		strict.As(t, ada.Secret).Want(http.StatusForbidden, "POST", "/projects/one/claim", map[string]any{})
		strict.As(t, ada.Secret).Want(http.StatusForbidden, "POST", "/projects/one/claim", forOther)
		open.As(t, ada.Secret).Want(http.StatusForbidden, "POST", "/projects/one/claim", forOther)
		if answer := strict.Admin(t).Want(http.StatusUnprocessableEntity, "POST", "/projects/one/claim", map[string]any{"owner": "none@example.dev"}); answer.Pointers()[0] != "/owner" {
			t.Errorf("%s", answer.Body)
		}
		strict.Admin(t).Want(http.StatusOK, "POST", "/projects/one/claim", forOther)
		open.Admin(t).Want(http.StatusOK, "POST", "/projects/two/claim", forOther)
		open.As(t, ada.Secret).Want(http.StatusOK, "POST", "/projects/three/claim", map[string]any{})
		if n := len(open.As(t, ada.Secret).Want(http.StatusOK, "GET", "/projects", nil).Items(t)); n != 3 {
			t.Errorf("%d projects", n)
		}
	})
}

// TestThreat03And10ClaimCutsThePast: what was begun or granted before a claim is worth nothing after it.
func TestThreat03And10ClaimCutsThePast(t *testing.T) {
	t.Parallel()
	for name, discard := range map[string]bool{"keep": false, "discard": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apitest.Each(t, func(t *testing.T, env *apitest.Env) {
				t.Parallel()
				claimCutsThePast(t, env, discard)
			})
		})
	}
}

func claimCutsThePast(t *testing.T, env *apitest.Env, discard bool) {
	t.Helper()
	r, ada := env.Serve(t), env.Person(t, "ada")
	nobody := r.As(t, r.Bearer(t, "", "repository:demo/app:pull,push"))
	session := nobody.Want(http.StatusAccepted, "POST", "/v2/demo/app/blobs/uploads/", nil).Header.Get("Location")
	pushed := nobody.Want(http.StatusAccepted, "POST", "/v2/demo/app/blobs/uploads/", nil).Header.Get("Location")
	nobody.Want(http.StatusCreated, "PUT", pushed+"&digest="+aDigest, "foo", "Content-Type", "application/octet-stream")
	index := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	manifest := nobody.Want(http.StatusCreated, "PUT", "/v2/demo/app/manifests/v1", index, "Content-Type", "application/vnd.oci.image.index.v1+json")
	warned := nobody.Do("PUT", "/v2/demo/app/manifests/v2", bytes.Clone(index), "Content-Type", "application/vnd.oci.image.index.v1+json")
	if warning := warned.Header.Get("Warning"); !strings.Contains(warning, "/api/v1/projects/demo/claim") {
		t.Errorf("Warning: %q", warning)
	}
	project, err := env.Projects.Get(t.Context(), "demo")
	apitest.Check(t, err)
	runner, key := env.Runner(t, uuid.Nil)
	_, err = env.Projects.GrantRunner(t.Context(), nil, project.ID, key.ID, nil, "test")
	apitest.Check(t, err)
	byDigest := "/v2/demo/app/manifests/" + manifest.Header.Get("Docker-Content-Digest")
	r.As(t, r.Bearer(t, runner, "repository:demo/app:pull")).Want(http.StatusOK, "GET", byDigest, nil)

	claimed := r.As(t, ada.Secret).Want(http.StatusOK, "POST", "/projects/demo/claim", map[string]any{"discard_content": discard})
	if !bytes.Contains(claimed.Body, []byte(`"path":"app"`)) || !bytes.Contains(claimed.Body, []byte(`"tags":2`)) {
		t.Errorf("the claim tells of %s", claimed.Body)
	}

	for what, answer := range map[string]apitest.Answer{
		"finish an upload":         nobody.Do("PUT", session+"&digest="+aDigest, "foo", "Content-Type", "application/octet-stream"),
		"look at it":               nobody.Do("GET", session, nil),
		"begin another":            nobody.Do("POST", "/v2/demo/app/blobs/uploads/", nil),
		"put a manifest":           nobody.Do("PUT", "/v2/demo/app/manifests/v3", index, "Content-Type", "application/vnd.oci.image.index.v1+json"),
		"begin without credential": r.As(t, "").Do("POST", "/v2/demo/app/blobs/uploads/", nil),
		"begin with a new token":   r.As(t, r.Bearer(t, "", "repository:demo/app:pull,push")).Do("POST", "/v2/demo/app/blobs/uploads/", nil),
		"pull as a former runner":  r.As(t, r.Bearer(t, runner, "repository:demo/app:pull")).Do("GET", byDigest, nil),
	} {
		if answer.Status != http.StatusUnauthorized && answer.Status != http.StatusNotFound {
			t.Errorf("%s: %d %s", what, answer.Status, answer.Body)
		}
	}
	owner := r.As(t, r.Bearer(t, ada.Secret, "repository:demo/app:pull,push"))
	want := http.StatusOK
	if discard {
		want = http.StatusNotFound
	}
	owner.Want(want, "GET", byDigest, nil)
	owner.Want(want, "HEAD", "/v2/demo/app/blobs/"+aDigest, nil)
	runners := r.As(t, ada.Secret).Want(http.StatusOK, "GET", "/projects/demo/runners", nil).Items(t)
	if len(runners) != 0 {
		t.Errorf("runners %v", runners)
	}
}

// TestThreat03RightsEndOnOtherReplicas: another replica forgets a role and a token within 5 s, and takes no write
// meanwhile.
func TestThreat03RightsEndOnOtherReplicas(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		here, there := env.Serve(t), env.Serve(t)
		ada, bob, eve := env.Person(t, "ada"), env.Person(t, "bob"), env.Person(t, "eve")
		p := env.Project(t, "demo", ada)
		env.Member(t, p.ID, bob, rbac.RoleOwner)
		env.Member(t, p.ID, eve, rbac.RoleOwner)
		rename := map[string]any{"description": "mine"}
		for _, person := range []apitest.Person{bob, eve} { // so that the other replica remembers them
			there.As(t, person.Secret).Want(http.StatusOK, "GET", "/projects/demo/members", nil)
		}
		here.As(t, ada.Secret).Want(http.StatusNoContent, "DELETE", "/projects/demo/members/"+bob.ID.String(), nil)
		token := here.As(t, eve.Secret).Want(http.StatusOK, "GET", "/tokens", nil).Items(t)[0]["id"]
		here.As(t, eve.Secret).Want(http.StatusNoContent, "DELETE", fmt.Sprint("/tokens/", token), nil)
		here.As(t, bob.Secret).Want(http.StatusNotFound, "GET", "/projects/demo", nil)
		here.As(t, eve.Secret).Want(http.StatusUnauthorized, "GET", "/projects/demo", nil)

		there.As(t, bob.Secret).Want(http.StatusForbidden, "PATCH", "/projects/demo", rename)
		there.As(t, eve.Secret).Want(http.StatusUnauthorized, "PATCH", "/projects/demo", rename)
		there.As(t, eve.Secret).Want(http.StatusUnauthorized, "POST", "/tokens", map[string]any{"name": "again"})
		env.ForgetAll()
		there.As(t, bob.Secret).Want(http.StatusNotFound, "GET", "/projects/demo", nil)
		there.As(t, eve.Secret).Want(http.StatusUnauthorized, "GET", "/projects/demo", nil)
	})
}
