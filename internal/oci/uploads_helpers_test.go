package oci_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/storage"
)

const (
	// uploadChunk is the chunk size of tests that need several chunks.
	uploadChunk = 64 << 10
	// uploadRepo is where they push to.
	uploadRepo = "demo/app"
	// patience bounds every wait for what must happen. It is shorter than a lease.
	patience = 10 * time.Second
)

// eachUploads runs f on both pairs of backends, and fails where a goroutine outlives it.
func eachUploads(t *testing.T, f func(t *testing.T, env *ocitest.Env)) {
	t.Helper()
	t.Run("sqlite+folder", func(t *testing.T) { withoutLeaks(t, ocitest.Embedded, f) })
	t.Run("postgres+s3", func(t *testing.T) { withoutLeaks(t, ocitest.Servers, f) })
}

// withoutLeaks is f on what open makes. What runs by then is no leak of f.
func withoutLeaks(t *testing.T, open func(testing.TB) *ocitest.Env, f func(t *testing.T, env *ocitest.Env)) {
	t.Helper()
	var before goleak.Option
	t.Cleanup(func() {
		closeIdleConnections(t)
		goleak.VerifyNone(t, before)
	})
	env := open(t)
	before = goleak.IgnoreCurrent()
	f(t, env)
}

func closeIdleConnections(t *testing.T) {
	t.Helper()
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t.Fatal("the default transport is another one")
	}
	transport.CloseIdleConnections()
}

// testClock is real time, moved by the test.
type testClock struct{ offset atomic.Int64 }

func (c *testClock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func (c *testClock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// noise is content that depends on its seed at every byte.
func noise(size int, seed uint64) []byte {
	var key [32]byte
	copy(key[:], fmt.Sprint(seed))
	content := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(content) // never fails
	return content
}

// patch appends and returns the next Location.
func patch(c *ocitest.Client, location string, body []byte, headers ...string) string {
	return c.Want(http.StatusAccepted, http.MethodPatch, location, body, headers...).Header.Get("Location")
}

// put is a PUT with the digest of content; body may be nil.
func put(c *ocitest.Client, location string, content, body []byte, headers ...string) ocitest.Answer {
	return c.Do(http.MethodPut, withDigest(location, content), body, headers...)
}

// span is the Content-Range of so many bytes from an offset.
func span(start, size int) string { return fmt.Sprintf("%d-%d", start, start+size-1) }

// wantStatus checks the answer's status.
func wantStatus(t *testing.T, a ocitest.Answer, status int) {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
}

// wantCode checks the answer's status and error code.
func wantCode(t *testing.T, a ocitest.Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code() != code {
		t.Fatalf("%d %s, want %d %s: %s", a.Status, a.Code(), status, code, a.Body)
	}
}

// wantCommitted asks where a session stands and returns its Location.
func wantCommitted(t *testing.T, c *ocitest.Client, location string, committed int) string {
	t.Helper()
	a := c.Do(http.MethodGet, location, nil)
	wantStatus(t, a, http.StatusNoContent)
	wantRange(t, a, committed)
	return a.Header.Get("Location")
}

// wantRange checks what an answer says of a session.
func wantRange(t *testing.T, a ocitest.Answer, committed int) {
	t.Helper()
	if got, want := a.Header.Get("Range"), fmt.Sprintf("0-%d", max(0, committed-1)); got != want {
		t.Fatalf("Range %q, want %q", got, want)
	}
	if a.Header.Get("Location") == "" {
		t.Fatal("no Location")
	}
}

// wantUnavailable checks a 503 that says when to try again.
func wantUnavailable(t *testing.T, a ocitest.Answer) {
	t.Helper()
	wantCode(t, a, http.StatusServiceUnavailable, "UNAVAILABLE")
	if a.Header.Get("Retry-After") == "" {
		t.Fatal("no Retry-After")
	}
}

// wantBlob reads content back.
func wantBlob(t *testing.T, c *ocitest.Client, content []byte) {
	t.Helper()
	path := "/v2/" + uploadRepo + "/blobs/" + digest.FromBytes(content).String()
	if got := c.Want(http.StatusOK, http.MethodGet, path, nil); !bytes.Equal(got.Body, content) {
		t.Fatalf("a blob of %d bytes came back with %d others", len(content), len(got.Body))
	}
}

// wantNoBlob checks that content is not visible.
func wantNoBlob(t *testing.T, c *ocitest.Client, content []byte) {
	t.Helper()
	c.Want(http.StatusNotFound, http.MethodHead, "/v2/"+uploadRepo+"/blobs/"+digest.FromBytes(content).String(), nil)
}

// sessionID is the ID in a Location.
func sessionID(t *testing.T, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path[strings.LastIndexByte(u.Path, '/')+1:]
}

// rows counts what a query of the form SELECT count(*) finds.
func rows(t *testing.T, env *ocitest.Env, query string, args ...any) (n int64) {
	t.Helper()
	if err := env.DB.QueryRow(t.Context(), database.SQL(query), args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// execute changes the database behind the server's back.
func execute(t *testing.T, env *ocitest.Env, statement string, args ...any) {
	t.Helper()
	if err := env.DB.Gorm().Exec(statement, args...).Error; err != nil {
		t.Fatal(err)
	}
}

// wantObjects tidies up what is due in two hours, and counts the objects that the store still has.
func wantObjects(t *testing.T, env *ocitest.Env, r *ocitest.Replica, clock *testClock, want int) {
	t.Helper()
	clock.Advance(2 * time.Hour)
	tidy(t, env, r)
	if got := objects(t, env); len(got) != want {
		t.Fatalf("the store has %d objects, want %d: %v", len(got), want, got)
	}
}

// tidy expires and removes what is due of uploads. What is linked stays, though no manifest needs it.
func tidy(t *testing.T, env *ocitest.Env, r *ocitest.Replica) {
	t.Helper()
	execute(t, env, `UPDATE repository_blobs SET keep_until = ?`, time.Now().AddDate(1, 0, 0).UnixMicro())
	if err := r.Uploads.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Collector.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// objects lists the store, around today.
func objects(t *testing.T, env *ocitest.Env) (keys []string) {
	t.Helper()
	for day := -1; day < 10; day++ {
		prefix := time.Now().UTC().AddDate(0, 0, day).Format(time.DateOnly) + "/"
		err := env.Store.List(t.Context(), prefix, func(o storage.Object) error {
			keys = append(keys, o.Key)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(keys)
	return keys
}

// eventually waits for what another goroutine or replica is about to do.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// withDigest is where a PUT of content goes.
func withDigest(location string, content []byte) string {
	return ocitest.Query(location, "digest", digest.FromBytes(content).String())
}
