package oci_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestThreat21TwoPutsAtOnce has two clients finish one session with contents of their own: one of them wins, whole.
func TestThreat21TwoPutsAtOnce(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		p := newPair(t, env)
		for round := range 8 {
			size := []int{100, 5 * uploadChunk / 2}[round%2]
			contents := [][]byte{noise(size, uint64(2*round)), noise(size, uint64(2*round+1))}
			clients := []*ocitest.Client{p.c, []*ocitest.Client{p.c, p.other}[round/2%2]}
			location := p.c.Start(uploadRepo)
			statuses := runTogether(t, 2, func(i int) int {
				return send(clients[i], http.MethodPut, withDigest(location, contents[i]), contents[i]).Status
			})
			won := -1
			for i, status := range statuses {
				switch status {
				case http.StatusCreated:
					if won >= 0 {
						t.Fatalf("round %d: both contents were accepted", round)
					}
					won = i
				case 0, // stopped while it was sending
					http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusServiceUnavailable:
				default:
					t.Errorf("round %d: status %d", round, status)
				}
			}
			if won < 0 {
				t.Fatalf("round %d: nobody won: %v", round, statuses)
			}
			wantBlob(t, p.c, contents[won])
			wantNoBlob(t, p.c, contents[1-won])
		}
	})
}

// TestUploadSamePutAtOnce has clients finish one session with the same content: all succeed, or are told to look again.
func TestUploadSamePutAtOnce(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		p := newPair(t, env)
		content := noise(5*uploadChunk/2, 1)
		location := patch(p.c, p.start, content)
		runTogether(t, 6, func(i int) int {
			c := []*ocitest.Client{p.c, p.other}[i%2]
			for {
				switch a := send(c, http.MethodPut, withDigest(location, content), nil); a.Status {
				case http.StatusCreated:
					return a.Status
				case http.StatusRequestedRangeNotSatisfiable, http.StatusServiceUnavailable: // another one took over
				default:
					t.Errorf("client %d: status %d: %s", i, a.Status, a.Body)
					return a.Status
				}
			}
		})
		p.wantOnly(content)
	})
}

// TestUploadSameBodyAtOnce has clients send one session's whole content at once, as a client does that gave up waiting and
// tries again: each is told that it is there or to try again, none that its session is gone.
func TestUploadSameBodyAtOnce(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		p := newPair(t, env)
		for round := range 12 {
			content := noise([]int{100, 5 * uploadChunk / 2}[round%2], uint64(round))
			clients := []*ocitest.Client{p.c, []*ocitest.Client{p.c, p.other}[round/2%2]}
			location := p.c.Start(uploadRepo)
			statuses := runTogether(t, 6, func(i int) int {
				a := send(clients[i%2], http.MethodPut, withDigest(location, content), content)
				switch a.Status {
				case 0, // stopped while it was sending
					http.StatusCreated, http.StatusRequestedRangeNotSatisfiable, http.StatusServiceUnavailable:
				default:
					t.Errorf("round %d, client %d: status %d: %s", round, i, a.Status, a.Body)
				}
				return a.Status
			})
			if !slices.Contains(statuses, http.StatusCreated) {
				t.Errorf("round %d: nobody finished: %v", round, statuses)
			}
			wantStatus(t, put(p.c, location, content, content), http.StatusCreated)
			wantBlob(t, p.c, content)
		}
	})
}

// TestThreat21PatchesAtOnce has writers append to one session from the same place: what is kept is one writer's, whole.
func TestThreat21PatchesAtOnce(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		p := newPair(t, env)
		for round := range 8 {
			prefix := noise(10, uint64(round))
			location := patch(p.c, p.c.Start(uploadRepo), prefix)
			contents := make([][]byte, 4)
			statuses := runTogether(t, len(contents), func(i int) int {
				c := []*ocitest.Client{p.c, p.other}[i%2]
				body := noise([]int{100, 5 * uploadChunk / 2}[round%2]+i, uint64(100*round+i))
				contents[i] = append(append([]byte{}, prefix...), body...)
				var headers []string
				if round/2%2 == 0 {
					headers = []string{"Content-Range", span(len(prefix), len(body))}
				}
				a := send(c, http.MethodPatch, location, body, headers...)
				switch a.Status {
				case 0, // stopped while it was sending
					http.StatusAccepted, http.StatusRequestedRangeNotSatisfiable, http.StatusServiceUnavailable:
				default:
					t.Errorf("round %d: status %d: %s", round, a.Status, a.Body)
				}
				return a.Status
			})
			kept := stored(t, env, location)
			whole := slices.ContainsFunc(contents, func(content []byte) bool { return bytes.Equal(content, kept) })
			part := slices.ContainsFunc(contents, func(content []byte) bool { return bytes.HasPrefix(content, kept) })
			if accepted := slices.Contains(statuses, http.StatusAccepted); !part || accepted && !whole {
				t.Fatalf("round %d: %d bytes are kept, and the answers were %v", round, len(kept), statuses)
			}
			wantStatus(t, put(p.c, location, kept, nil), http.StatusCreated)
			wantBlob(t, p.c, kept)
		}
	})
}

// stored is what a session's chunks hold.
func stored(t *testing.T, env *ocitest.Env, location string) (content []byte) {
	t.Helper()
	found, err := env.DB.Query(t.Context(),
		database.SQL(`SELECT object_key FROM chunks WHERE owner_id = $1 ORDER BY start`), sessionID(t, location))
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var key string
		if err := found.Scan(&key); err != nil {
			t.Fatal(err)
		}
		object, err := env.Store.Open(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		part, err := io.ReadAll(object)
		if err := errors.Join(err, object.Close()); err != nil {
			t.Fatal(err)
		}
		content = append(content, part...)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return content
}

// runTogether runs f n times at once and returns what each gave.
func runTogether(t *testing.T, n int, f func(i int) int) []int {
	t.Helper()
	closeIdleConnections(t)
	defer closeIdleConnections(t) // those of requests that were stopped
	results := make([]int, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { results[i] = f(i) })
	}
	group.Wait()
	return results
}
