package oci_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// anyone is a client without an account, which may push to a repository.
func anyone(r *ocitest.Replica, repo string) *ocitest.Client {
	nobody := r.Client.Nobody()
	return nobody.Bearer(nobody.Token("repository:" + repo + ":pull,push"))
}

// TestProjectCreationsAreCounted: those of one address and of one user within a day, however many come at once.
func TestProjectCreationsAreCounted(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		r := env.Replica(t, ocitest.Options{Clock: clock.Now, Counts: limits.Server{AddressCreations: 3, UserCreations: 2, Projects: 10}})
		nobody := anyone(r, "first/app")
		var group sync.WaitGroup
		for range 12 { // the first layers of one project count once
			group.Go(func() { nobody.Push("first/app", noise(100, 1)) })
		}
		group.Wait()
		start := func(c *ocitest.Client, name string) ocitest.Answer {
			if c == nobody {
				c = anyone(r, name+"/app")
			}
			return c.Do(http.MethodPost, "/v2/"+name+"/app/blobs/uploads/", nil)
		}
		var mu sync.Mutex
		statuses := map[int]int{}
		for i := range 10 {
			group.Go(func() {
				status := start(nobody, fmt.Sprintf("other-%d", i)).Status
				mu.Lock()
				defer mu.Unlock()
				statuses[status]++
			})
		}
		group.Wait()
		if statuses[http.StatusAccepted] != 2 || statuses[http.StatusTooManyRequests] != 8 {
			t.Errorf("statuses %v, want 2 created and 8 refused", statuses)
		}
		refused := start(nobody, "one-more")
		wantCode(t, refused, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		if !strings.Contains(string(refused.Body), "there are 3, and 3 are allowed") {
			t.Errorf("%s", refused.Body)
		}
		if refused.Header.Get("Retry-After") == "" || refused.Header.Get("Retry-After") == "1" {
			t.Errorf("Retry-After %q", refused.Header.Get("Retry-After"))
		}
		if got := start(nobody, "first").Status; got != http.StatusAccepted {
			t.Errorf("a project that is there: %d", got)
		}
		for i, want := range []int{http.StatusAccepted, http.StatusAccepted, http.StatusTooManyRequests} {
			if got := start(r.Client, fmt.Sprintf("of-user-%d", i)).Status; got != want {
				t.Errorf("project %d of a user: %d, want %d", i, got, want)
			}
		}
		clock.Advance(25 * time.Hour)
		if got := start(r.Client, "next-day").Status; got != http.StatusAccepted {
			t.Errorf("a day later: %d", got)
		}
	})
}

// TestTagsAndOpenUploadsAreCounted: only what is new counts, and nobody is kept out by what others have.
func TestTagsAndOpenUploadsAreCounted(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{Counts: limits.Server{Tags: 2, Uploads: 2}})
		c := r.Client
		body, _ := c.Image("demo/app", "v1", []byte("layer"))
		put := func(tag string) ocitest.Answer {
			return c.Do(http.MethodPut, manifestURL("demo/app", tag), body, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
		}
		for _, tag := range []string{"v2", "v1", "v2"} {
			if got := put(tag); got.Status != http.StatusCreated {
				t.Errorf("tag %s: %d %s", tag, got.Status, got.Body)
			}
		}
		wantFull(t, put("v3"), 2)
		c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", "v2"), nil)
		if got := put("v3"); got.Status != http.StatusCreated {
			t.Errorf("after a tag was deleted: %d %s", got.Status, got.Body)
		}

		first := patch(c, c.Start("demo/app"), noise(100, 1))
		patch(c, c.Start("demo/app"), noise(100, 2))
		wantFull(t, c.Do(http.MethodPatch, c.Start("demo/app"), noise(100, 3)), 2)
		whole := noise(50, 4) // in one request, it is never open
		c.Want(http.StatusCreated, http.MethodPost, uploadsOfDemo+"?digest="+digest.FromBytes(whole).String(), whole)
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE status = 'open'`); n != 2 {
			t.Errorf("%d sessions are open", n)
		}
		other := anyone(r, "unclaimed/app")
		patch(other, other.Start("unclaimed/app"), noise(100, 5)) // somebody else
		patch(c, first, noise(100, 6))                            // what has begun goes on
	})
}

// TestAnonymousPushersAreReported: by network and by project, with what was refused.
func TestAnonymousPushersAreReported(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{Counts: limits.Server{AddressCreations: 1}})
		nobody := anyone(r, "demo/app")
		nobody.Image("demo/app", "v1", noise(5000, 1))
		wantCode(t, anyone(r, "more/app").Do(http.MethodPost, "/v2/more/app/blobs/uploads/", nil), http.StatusTooManyRequests, "TOOMANYREQUESTS")
		r.Client.Image("owned/app", "v1", noise(7000, 2))
		for range 2 { // the second finds nothing to write
			if err := r.Activity.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		store := &limits.Store{DB: env.DB, Clock: time.Now}
		networks, projects, err := store.TopPushers(t.Context(), time.Now(), 10)
		if err != nil || len(networks) != 1 || len(projects) == 0 {
			t.Fatalf("%+v, %+v, %v", networks, projects, err)
		}
		one := networks[0]
		if one.Network != "127.0.0.1" || one.Bytes < 5000 || one.Bytes >= 7000 || one.Pushes != 1 || one.Refused != 1 || one.Created != 1 {
			t.Errorf("%+v", one)
		}
		if top := projects[0]; top.Slug != "demo" || top.Bytes != one.Bytes || top.Pushes != 1 {
			t.Errorf("%+v", top)
		}
	})
}
