package oci_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// pair is two replicas on one Env, and a session that both know.
type pair struct {
	t        *testing.T
	env      *ocitest.Env
	clock    *testClock
	replica  *ocitest.Replica
	c, other *ocitest.Client
	start    string
}

func newPair(t *testing.T, env *ocitest.Env) *pair {
	t.Helper()
	p := &pair{t: t, env: env, clock: &testClock{}}
	opts := ocitest.Options{ChunkSize: uploadChunk, Clock: p.clock.Now}
	p.replica = env.Replica(t, opts)
	p.c, p.other = p.replica.Client, p.replica.Client.At(env.Replica(t, opts))
	p.start = p.c.Start(uploadRepo)
	wantCommitted(t, p.c, p.start, 0) // from here on a request's first look at the database is for the session
	wantCommitted(t, p.other, p.start, 0)
	return p
}

const (
	// hangFed is what a PATCH that stalls has sent, and hangKept what is committed of it: a chunk closes when more
	// follows, and what follows is read by twice the size of a chunk.
	hangFed  = 9 * uploadChunk / 2
	hangKept = 3 * uploadChunk
)

// hang sends the beginning of content in a PATCH that then stalls.
func (p *pair) hang(content []byte, headers ...string) *flow {
	p.t.Helper()
	f := startFlow(p.t, p.c, http.MethodPatch, p.start, len(content), headers...)
	f.feed(content[:hangFed])
	eventually(p.t, "chunks are committed", func() bool { return p.committed() == hangKept })
	return f
}

// committed is what the session's row says.
func (p *pair) committed() int64 {
	return rows(p.t, p.env, `SELECT coalesce(max(committed_offset), 0) FROM upload_sessions`)
}

// expireLease makes the lease of the writer that stalls run out.
func (p *pair) expireLease() {
	p.t.Helper()
	execute(p.t, p.env, `UPDATE upload_sessions SET lease_until = 1 WHERE lease_until > 1`)
}

// wantOnly checks that the finished content is all that there is.
func (p *pair) wantOnly(content []byte) {
	p.t.Helper()
	wantBlob(p.t, p.other, content)
	if n := rows(p.t, p.env, `SELECT count(*) FROM blobs`); n != 1 {
		p.t.Errorf("%d blobs, want one", n)
	}
	chunks := (len(content) + uploadChunk - 1) / uploadChunk
	if n := rows(p.t, p.env, `SELECT count(*) FROM chunks`); n != int64(chunks) {
		p.t.Errorf("%d chunks have a row, want %d", n, chunks)
	}
	wantObjects(p.t, p.env, p.replica, p.clock, chunks)
	wantBlob(p.t, p.c, content)
}

// wantStopped checks the answer to a request that another one has overtaken: the session is elsewhere, or gone already.
func wantStopped(t *testing.T, a ocitest.Answer) {
	t.Helper()
	if a.Status != http.StatusRequestedRangeNotSatisfiable && a.Status != http.StatusNotFound {
		t.Errorf("a request that was overtaken was answered %d: %s", a.Status, a.Body)
	}
}

// TestUploadSameReplica lets a second request for a session stop the first one, which hangs.
func TestUploadSameReplica(t *testing.T) {
	mine, yours := noise(11*uploadChunk/2, 1), noise(4*uploadChunk+7, 2)
	for name, second := range map[string]func(p *pair) []byte{
		"goes on": func(p *pair) []byte {
			rest := yours[hangKept:]
			location := patch(p.c, p.start, rest, "Content-Range", span(hangKept, len(rest)))
			content := append(append([]byte{}, mine[:hangKept]...), rest...)
			wantStatus(p.t, put(p.c, location, content, nil), http.StatusCreated)
			return content
		},
		"begins again": func(p *pair) []byte {
			location := patch(p.c, p.start, yours)
			wantStatus(p.t, put(p.c, location, yours, nil), http.StatusCreated)
			return yours
		},
		"finishes with all": func(p *pair) []byte {
			wantStatus(p.t, put(p.c, p.start, yours, yours), http.StatusCreated)
			return yours
		},
		"finishes as it is": func(p *pair) []byte {
			wantStatus(p.t, put(p.c, p.start, mine[:hangKept], nil), http.StatusCreated)
			return mine[:hangKept]
		},
		"hangs in turn": func(p *pair) []byte {
			between := startFlow(p.t, p.c, http.MethodPatch, p.start, len(yours))
			eventually(p.t, "the second stops the first", func() bool {
				return rows(p.t, p.env, `SELECT count(*) FROM upload_sessions WHERE lease_until = 0`) == 1
			})
			wantStatus(p.t, put(p.c, p.start, yours, yours), http.StatusCreated)
			wantStopped(p.t, between.answer())
			return yours
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachUploads(t, func(t *testing.T, env *ocitest.Env) {
				for _, headers := range [][]string{nil, {"Content-Range", span(0, len(mine))}} {
					t.Run("", func(t *testing.T) {
						p := newPair(t, env)
						execute(t, env, `DELETE FROM upload_sessions`)
						stale := p.hang(mine, headers...)
						content := second(p)
						wantStopped(t, stale.answer())
						wantBlob(t, p.c, content)
					})
				}
			})
		})
	}
}

// TestUploadOtherReplica makes a second request wait while a writer on another replica is alive, then go on, and keeps
// the first from committing anything more.
func TestUploadOtherReplica(t *testing.T) {
	mine, yours := noise(13*uploadChunk/2, 1), noise(3*uploadChunk+7, 2)
	for name, headers := range map[string][]string{"plain": nil, "ranged": {"Content-Range", span(0, len(mine))}} {
		t.Run(name, func(t *testing.T) {
			eachUploads(t, func(t *testing.T, env *ocitest.Env) {
				p := newPair(t, env)
				stale := p.hang(mine, headers...)
				trips := env.DB.Trips()
				f := startFlow(t, p.other, http.MethodPut, withDigest(p.start, yours), len(yours))
				go func() {
					f.feed(yours)
					f.end()
				}()
				eventually(t, "the second request looks at the session again", func() bool { return env.DB.Trips() >= trips+2 })
				stale.feed(mine[hangFed : len(mine)-1]) // the first is alive, and commits
				// Then it stalls again: the sixth chunk is full, but nothing that follows it was read.
				eventually(t, "more chunks are committed", func() bool { return p.committed() == 5*uploadChunk })
				if !f.waiting() {
					t.Fatalf("the second request did not wait: %v", f.answer())
				}
				p.expireLease()
				wantStatus(t, f.answer(), http.StatusCreated)
				stale.feed(mine[len(mine)-1:])
				stale.end()
				wantCode(t, stale.answer(), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
				p.wantOnly(yours)
			})
		})
	}
}

// TestUploadOtherReplicaGivesBack lets a waiting request go on as soon as the writer on another replica has ended, and
// tells it the true offset where it comes too late.
func TestUploadOtherReplicaGivesBack(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		p := newPair(t, env)
		content := noise(11*uploadChunk/2, 1)
		first := p.hang(content)
		rest := content[hangKept:]
		f := startFlow(t, p.other, http.MethodPatch, p.start, len(rest), "Content-Range", span(hangKept, len(rest)))
		go func() {
			f.feed(rest)
			f.end()
		}()
		first.feed(content[hangFed:])
		first.end()
		wantStatus(t, first.answer(), http.StatusAccepted)
		a := f.answer()
		wantStatus(t, a, http.StatusRequestedRangeNotSatisfiable)
		wantRange(t, a, len(content))
		wantStatus(t, put(p.other, a.Header.Get("Location"), content, nil), http.StatusCreated)
		p.wantOnly(content)
	})
}

// TestUploadCompleteBodyIsNotStopped lets a request that has sent its whole body end by itself, and leaves its
// connection fit for the next one.
func TestUploadCompleteBodyIsNotStopped(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		store, wrap := newTricky()
		c := env.Replica(t, ocitest.Options{ChunkSize: uploadChunk, Store: wrap}).Client
		content := noise(uploadChunk/2, 1)
		for _, step := range []string{stepWrite, stepCommit} {
			location := c.Start(uploadRepo)
			blocked, unblock := make(chan struct{}), make(chan struct{})
			release := sync.OnceFunc(func() { close(unblock) })
			t.Cleanup(release)
			store.reset(func(s string, n int) error {
				if s == step && n == 1 {
					close(blocked)
					<-unblock
				}
				return nil
			})
			conn := sendHead(t, c, http.MethodPatch, location, content, len(content))
			<-blocked
			second := startFlow(t, c, http.MethodPut, withDigest(location, content), 0)
			for range 20 { // time for it to come in
				c.Want(http.StatusNoContent, http.MethodGet, location, nil)
			}
			release()

			answers := bufio.NewReader(conn)
			wantAnswer(t, answers, http.StatusAccepted)
			if err := c.Request(t.Context(), http.MethodGet, "/v2/", nil).Write(conn); err != nil {
				t.Fatal(err)
			}
			wantAnswer(t, answers, http.StatusOK)
			wantStatus(t, second.answer(), http.StatusCreated)
			wantBlob(t, c, content)
			_ = conn.Close()
		}
	})
}

// wantAnswer reads the next answer of a connection.
func wantAnswer(t *testing.T, answers *bufio.Reader, status int) {
	t.Helper()
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", resp.StatusCode, status, body)
	}
}

// TestUploadCancelStopsWriter ends a session under a writer that is running, on the same replica and on another.
func TestUploadCancelStopsWriter(t *testing.T) {
	eachUploads(t, func(t *testing.T, env *ocitest.Env) {
		p := newPair(t, env)
		content := noise(13*uploadChunk/2, 1)
		for _, canceller := range []*ocitest.Client{p.c, p.other} {
			execute(t, env, `DELETE FROM upload_sessions`)
			p.start = p.c.Start(uploadRepo)
			f := p.hang(content)
			canceller.Want(http.StatusNoContent, http.MethodDelete, p.start, nil)
			f.feed(content[hangFed:])
			f.end()
			wantStopped(t, f.answer())
			wantCode(t, p.c.Do(http.MethodGet, p.start, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
			wantCode(t, put(p.other, p.start, content, content), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
			if n := rows(t, env, `SELECT count(*) FROM chunks`); n != 0 {
				t.Errorf("%d chunks have a row", n)
			}
		}
		wantObjects(t, env, p.replica, p.clock, 0)
	})
}
