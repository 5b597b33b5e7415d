package oci_test

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestUploadStart shows what a POST answers, and that it writes nothing but the project.
func TestUploadStart(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		c.Start(uploadRepo) // makes the project
		commits := env.DB.Commits()
		a := c.Want(http.StatusAccepted, http.MethodPost, "/v2/"+uploadRepo+"/blobs/uploads/", nil)
		if got := env.DB.Commits() - commits; got != 0 {
			t.Errorf("POST committed %d times", got)
		}
		location := a.Header.Get("Location")
		if !strings.HasPrefix(location, "/v2/"+uploadRepo+"/blobs/uploads/"+a.Header.Get("Docker-Upload-Uuid")+"?_state=") {
			t.Errorf("Location is %s", location)
		}
		if got := a.Header.Get("Range"); got != "0-0" {
			t.Errorf("Range is %q", got)
		}
		least := map[string]string{"sqlite+folder": "", "postgres+s3": "5242880"}[env.Name]
		if got := a.Header.Get("OCI-Chunk-Min-Length"); got != least {
			t.Errorf("OCI-Chunk-Min-Length is %q, want %q", got, least)
		}
		if n := rows(t, env, `SELECT count(*) FROM upload_sessions`); n != 0 {
			t.Errorf("%d sessions have a row", n)
		}
	})
}

// TestUploadWithoutRow treats a session that exists by its signature alone like any other.
func TestUploadWithoutRow(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		location := c.Start(uploadRepo)
		wantCommitted(t, c, wantCommitted(t, c, location, 0), 0)
		c.Want(http.StatusNoContent, http.MethodDelete, location, nil)
		for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPatch, http.MethodPut} {
			a := c.Do(method, ocitest.Query(location, "digest", digest.FromString("x").String()), []byte("x"))
			wantCode(t, a, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		}
		wantNoBlob(t, c, []byte("x"))
	})
}

// TestUploadLocationQuery lets clients take the Location apart and put it together again in another order.
func TestUploadLocationQuery(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		content := noise(1000, 1)
		reorder := func(location string, first url.Values) string {
			u, err := url.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			u.RawQuery = first.Encode() + "&zz=1&" + u.RawQuery + "&aa=%20"
			return u.String()
		}
		location := patch(c, reorder(c.Start(uploadRepo), url.Values{"x": {"/+&"}}), content)
		d := url.Values{"digest": {digest.FromBytes(content).String()}}
		c.Want(http.StatusCreated, http.MethodPut, reorder(location, d), nil)
		wantBlob(t, c, content)
	})
}

// TestUploadForeignLocation answers one and the same for every session that is not the caller's to use.
func TestUploadForeignLocation(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		c := env.Replica(t, ocitest.Options{Clock: clock.Now}).Client
		mine, other := patch(c, c.Start(uploadRepo), []byte("mine")), c.Start(uploadRepo)
		elsewhere := c.Start("demo/other")
		anonymous := c.Bearer(c.Nobody().Token("repository:open/app:pull,push"))
		nobodys := anonymous.Start("open/app")
		state := func(location string) string { return location[strings.Index(location, "=")+1:] }
		swap := func(location, with string) string { return strings.Replace(location, state(location), with, 1) }
		tampered := []byte(state(mine))
		tampered[10] ^= 1

		var first []byte
		refuse := func(t *testing.T, c *ocitest.Client, location string) {
			t.Helper()
			for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete} {
				a := c.Do(method, ocitest.Query(location, "digest", digest.FromString("mine").String()), []byte("x"))
				wantCode(t, a, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
				if first == nil {
					first = a.Body
				}
				if !bytes.Equal(a.Body, first) {
					t.Errorf("%s: %s differs from %s", method, a.Body, first)
				}
			}
		}
		for name, location := range map[string]string{
			"no state":           strings.TrimSuffix(mine, "?_state="+state(mine)) + "?",
			"empty state":        swap(mine, ""),
			"garbage":            swap(mine, "garbage"),
			"tampered":           swap(mine, string(tampered)),
			"truncated":          swap(mine, state(mine)[:len(state(mine))-4]),
			"unknown key":        swap(mine, swapPart(state(mine), 1, "no-such-key")),
			"other session":      swap(mine, state(other)),
			"other repository":   swap(mine, state(elsewhere)),
			"moved elsewhere":    strings.Replace(mine, uploadRepo, "demo/other", 1),
			"of another account": swap(mine, state(nobodys)),
		} {
			t.Run(name, func(t *testing.T) { refuse(t, c.With(t), location) })
		}
		t.Run("of nobody", func(t *testing.T) { refuse(t, c.With(t), nobodys) })
		wantCommitted(t, c, mine, 4)
		clock.Advance(25 * time.Hour)
		t.Run("expired", func(t *testing.T) { refuse(t, c.With(t), mine) })
	})
}

// swapPart replaces one of the parts between the dots of a state.
func swapPart(state string, i int, with string) string {
	parts := strings.Split(state, ".")
	return strings.Join(slices.Replace(parts, i, i+1, with), ".")
}

// TestUploadEpoch ends the sessions of a project when its epoch rises, as a claim raises it.
func TestUploadEpoch(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		content := noise(100, 1)
		location := patch(c, c.Start(uploadRepo), content)
		execute(t, env, `UPDATE projects SET epoch = epoch + 1`)

		// This replica still has the project in its cache: the commit itself finds out.
		if a := put(c, location, content, nil); a.Status == http.StatusCreated {
			t.Errorf("status %d: %s", a.Status, a.Body)
		}
		fresh := c.At(env.Replica(t, ocitest.Options{}))
		wantCode(t, put(fresh, location, content, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		wantNoBlob(t, fresh, content)
	})
}
