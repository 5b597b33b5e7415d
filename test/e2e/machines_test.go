package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/rbac"
)

// operator reaches into the database of a running registry.
type operator struct {
	t        *testing.T
	auth     *auth.Service
	projects *projects.Service
}

func newOperator(t *testing.T, b backends) operator {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{URL: b.database})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	users, err := auth.NewService(db, auth.Options{Issuer: "test", Service: "test"})
	must(t, err)
	return operator{t: t, auth: users, projects: projects.NewService(db, projects.Options{})}
}

func (o operator) id(slug string) uuid.UUID {
	o.t.Helper()
	p, err := o.projects.Resolve(o.t.Context(), slug)
	must(o.t, err)
	return p.ID
}

func (o operator) robot(slug string, grants auth.Grants) (string, auth.Token) {
	o.t.Helper()
	secret, token, err := o.auth.CreateRobot(o.t.Context(), auth.NewRobot{ProjectID: o.id(slug), Name: "ci", Grants: &grants, CreatedBy: "test"})
	must(o.t, err)
	return secret, token
}

// runner may pull from one repository of a project.
func (o operator) runner(slug, path string) string {
	o.t.Helper()
	secret, token, err := o.auth.CreateRunner(o.t.Context(), auth.NewRunner{ProjectID: o.id(slug), Name: "runner", CreatedBy: "test"})
	must(o.t, err)
	_, err = o.projects.GrantRunner(o.t.Context(), nil, o.id(slug), token.ID, []string{path}, "test")
	must(o.t, err)
	return secret
}

// machine is what a client does for a token: an error is the client's refusal.
type machine struct {
	push func(token, layout, reference string) error
	pull func(token, reference string) error
}

// machines are the clients that run here, each with its own way to a token.
func (r *registry) machines(t *testing.T) map[string]machine {
	t.Helper()
	attempt := func(p program, args ...string) error {
		_, complaints, err := p.try(nil, args...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, complaints)
		}
		return nil
	}
	return map[string]machine{
		"crane": {
			push: func(token, layout, reference string) error {
				return attempt(r.crane(t, token), "push", layout, r.host+"/"+reference)
			},
			pull: func(token, reference string) error {
				return attempt(r.crane(t, token), "pull", "--format=oci", r.host+"/"+reference, t.TempDir()+"/pulled")
			},
		},
		"skopeo": {
			push: func(token, layout, reference string) error {
				return attempt(r.skopeo(t, token), "copy", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+r.host+"/"+reference)
			},
			pull: func(token, reference string) error {
				return attempt(r.skopeo(t, token), "copy", "--src-tls-verify=false", "docker://"+r.host+"/"+reference, "oci:"+t.TempDir()+"/pulled:latest")
			},
		},
		"regctl": {
			push: func(token, layout, reference string) error {
				return attempt(r.regctl(t, token), "image", "copy", "ocidir://"+layout+":latest", r.host+"/"+reference)
			},
			pull: func(token, reference string) error {
				return attempt(r.regctl(t, token), "image", "copy", r.host+"/"+reference, "ocidir://"+t.TempDir()+"/pulled:latest")
			},
		},
		"oras": {
			push: func(token, _, reference string) error {
				repo, tag, _ := strings.Cut(reference, ":")
				store := memory.New()
				d := pack(t, store, "application/vnd.example", nil, content(1000))
				must(t, store.Tag(t.Context(), d, tag))
				_, err := oras.Copy(t.Context(), store, tag, r.oras(t, repo, token), tag, oras.DefaultCopyOptions)
				return err
			},
			pull: func(token, reference string) error {
				repo, tag, _ := strings.Cut(reference, ":")
				_, err := oras.Copy(t.Context(), r.oras(t, repo, token), tag, memory.New(), tag, oras.DefaultCopyOptions)
				return err
			},
		},
	}
}

// TestMachines pushes with robots and pulls with a runner, by each client that runs here: it does what its token may, and
// says that it may not do the rest.
func TestMachines(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		r.admin(t).pushImage("ci/app", "one", content(1000))
		o := newOperator(t, b)
		whole, _ := o.robot("ci", auth.Grants{Actions: []rbac.Action{rbac.Pull, rbac.Push}})
		pushes, _ := o.robot("ci", auth.Grants{Actions: []rbac.Action{rbac.Push}, Repositories: []string{"app/**"}, Tags: []string{"v*"}})
		stale, revoked := o.robot("ci", auth.Grants{Actions: []rbac.Action{rbac.Pull, rbac.Push}})
		must(t, o.auth.RevokeToken(t.Context(), revoked.ID))
		runner := o.runner("ci", "app")
		layout := newLayout(t, newImage(t, "amd64", nil, b.sizes()...))
		for name, client := range r.machines(t) {
			repo := "ci/app/" + name
			for _, attempt := range []struct {
				what string
				err  error
				why  string // of the refusal, in small letters; "" for none. A refused HEAD has no words
			}{
				{"a robot pushes", client.push(whole, layout, repo+":v1"), ""},
				{"a robot pulls", client.pull(whole, repo+":v1"), ""},
				{"a push-only robot pushes", client.push(pushes, layout, repo+":v2"), ""},
				{"a push-only robot pushes another tag", client.push(pushes, layout, repo+":latest"), "latest"},
				{"a push-only robot pushes elsewhere", client.push(pushes, layout, "ci/"+name+":v1"), "denied|403"},
				{"a push-only robot pulls", client.pull(pushes, repo+":v1"), "denied"},
				{"a runner pulls", client.pull(runner, "ci/app:one"), ""},
				{"a runner pulls what is not granted", client.pull(runner, repo+":v1"), "name.unknown|not found"},
				{"a runner pushes", client.push(runner, layout, "ci/app:two"), "denied"},
				{"a revoked robot pulls", client.pull(stale, repo+":v1"), "unauthorized"},
				{"a revoked robot pushes", client.push(stale, layout, repo+":v1"), "unauthorized"},
				{"nobody pulls", client.pull("", repo+":v1"), "unauthorized"},
			} {
				switch {
				case attempt.why == "" && attempt.err != nil:
					t.Errorf("%s, %s: %v", name, attempt.what, attempt.err)
				case attempt.why != "" && attempt.err == nil:
					t.Errorf("%s, %s: not refused", name, attempt.what)
				case attempt.why != "" && !regexp.MustCompile(attempt.why).MatchString(strings.ToLower(attempt.err.Error())):
					t.Errorf("%s, %s: refused with %v, want %q", name, attempt.what, attempt.err, attempt.why)
				}
			}
			r.admin(t).wantTags(repo, "v1", "v2")
		}
	})
}
