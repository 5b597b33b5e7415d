package oci_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestThreat23StorageFails has storage fail once, at each step of each chunk. The client hears 503, and sends the same
// request again.
func TestThreat23StorageFails(t *testing.T) {
	const chunks = 4
	content := noise(7*uploadChunk/2, 1)
	requests := map[string]func(c *ocitest.Client, location string) ocitest.Answer{
		"PUT": func(c *ocitest.Client, location string) ocitest.Answer { return put(c, location, content, content) },
		"PATCH": func(c *ocitest.Client, location string) ocitest.Answer {
			return c.Do(http.MethodPatch, location, content)
		},
		"POST": func(c *ocitest.Client, _ string) ocitest.Answer {
			return c.Do(http.MethodPost, "/v2/"+uploadRepo+"/blobs/uploads/?digest="+digest.FromBytes(content).String(), content)
		},
	}
	success := map[string]int{"PUT": http.StatusCreated, "PATCH": http.StatusAccepted, "POST": http.StatusCreated}
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		store, wrap := newTricky()
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now, Store: wrap})
		c := r.Client
		for name, send := range requests {
			for _, step := range []string{stepCreate, stepWrite, stepCommit} {
				for _, at := range []int{1, 2, chunks} {
					t.Run(fmt.Sprintf("%s/%s %d", name, step, at), func(t *testing.T) {
						location := c.With(t).Start(uploadRepo)
						store.reset(failOnce(step, at))
						wantUnavailable(t, send(c.With(t), location))
						if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE lease_until > 0`); n != 0 {
							t.Error("a lease is kept")
						}
						if name != "POST" {
							a := c.With(t).Want(http.StatusNoContent, http.MethodGet, location, nil)
							wantRange(t, a, int(rows(t, env, `SELECT coalesce(sum(size), 0) FROM chunks WHERE owner_id = $1`,
								sessionID(t, location))))
						}
						wantStatus(t, send(c.With(t), location), success[name])
						if name == "PATCH" {
							wantStatus(t, put(c.With(t), location, content, nil), http.StatusCreated)
						}
						wantBlob(t, c.With(t), content)
					})
				}
			}
		}
		wantObjects(t, env, r, clock, chunks)
		wantBlob(t, c, content)
	})
}

// TestUploadStorageFailsInAppend has storage fail in a body that continues a session: what was there stays.
func TestUploadStorageFailsInAppend(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		store, wrap := newTricky()
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now, Store: wrap})
		c := r.Client
		content := noise(7*uploadChunk/2, 1)
		for _, headers := range [][]string{nil, {"Content-Range", span(10, len(content)-10)}} {
			location := patch(c, c.Start(uploadRepo), content[:10])
			store.reset(failOnce(stepCommit, 1))
			wantUnavailable(t, put(c, location, content, content[10:], headers...))
			wantCommitted(t, c, location, 10)
			wantStatus(t, put(c, location, content, content[10:], headers...), http.StatusCreated)
			wantBlob(t, c, content)
		}
		wantObjects(t, env, r, clock, 5)
	})
}

// TestUploadStorageFailsInReread has storage fail where a sha512 makes the chunks be read again.
func TestUploadStorageFailsInReread(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		clock := &testClock{}
		store, wrap := newTricky()
		r := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now, Store: wrap})
		c := r.Client
		content := noise(7*uploadChunk/2, 1)
		d := digest.SHA512.FromBytes(content).String()
		location := ocitest.Query(c.Start(uploadRepo), "digest", d)
		for _, at := range []int{1, 4} {
			store.reset(failOnce(stepOpen, at))
			wantUnavailable(t, c.Do(http.MethodPut, location, content))
			if n := rows(t, env, `SELECT count(*) FROM upload_sessions WHERE lease_until > 0`); n != 0 {
				t.Error("the lease is kept")
			}
		}
		c.Want(http.StatusCreated, http.MethodPut, location, content)
		c.Want(http.StatusOK, http.MethodHead, "/v2/"+uploadRepo+"/blobs/"+d, nil)
		wantObjects(t, env, r, clock, 4)
	})
}

// TestUploadZombie blocks a writer in storage until another one has taken its session over: it commits nothing more.
func TestUploadZombie(t *testing.T) {
	mine, yours := noise(7*uploadChunk/2, 1), noise(5*uploadChunk/2, 2)
	for name, blocked := range map[string]int{"in the middle": 3, "at the end": 4} {
		t.Run(name, func(t *testing.T) {
			eachUploads(t, func(t *testing.T, env *ocitest.Env) {
				clock := &testClock{}
				store, wrap := newTricky()
				first := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now, Store: wrap})
				c := first.Client
				other := c.At(env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Clock: clock.Now}))
				location := c.Start(uploadRepo)
				unblock := make(chan struct{})
				release := sync.OnceFunc(func() { close(unblock) })
				t.Cleanup(release)
				store.reset(func(step string, n int) error {
					if step == stepCommit && n == blocked {
						<-unblock
					}
					return nil
				})
				zombie := make(chan ocitest.Answer, 1)
				go func() { zombie <- send(c, http.MethodPut, withDigest(location, mine), mine) }()
				committed := func() int64 {
					return rows(t, env, `SELECT coalesce(max(committed_offset), 0) FROM upload_sessions`)
				}
				eventually(t, "the writer blocks", func() bool {
					return committed() == int64(blocked-1)*uploadChunk && store.count(stepCommit) >= blocked
				})
				execute(t, env, `UPDATE upload_sessions SET lease_until = 1 WHERE lease_until > 1`)

				a := other.Do(http.MethodPatch, location, yours)
				wantStatus(t, a, http.StatusAccepted)
				release()
				late := <-zombie
				wantStatus(t, late, http.StatusRequestedRangeNotSatisfiable)
				wantRange(t, late, len(yours)) // not what it had itself
				wantStatus(t, put(c, late.Header.Get("Location"), yours, nil), http.StatusCreated)
				wantBlob(t, other, yours)
				wantNoBlob(t, other, mine)
				wantObjects(t, env, first, clock, 3)
			})
		})
	}
}
