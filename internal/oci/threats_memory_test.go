package oci_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
)

// stalled is a body that yields zeros and then nothing, until the test lets it break.
type stalled struct {
	left    int
	stalls  func()
	release <-chan struct{}
}

func (s *stalled) Read(p []byte) (int, error) {
	if s.left == 0 {
		s.stalls()
		<-s.release
		return 0, io.ErrUnexpectedEOF
	}
	n := min(len(p), s.left)
	s.left -= n
	return n, nil
}

// unread is an answer whose client takes nothing of its body, until the test lets it go away.
type unread struct {
	*httptest.ResponseRecorder
	stalls  func()
	release <-chan struct{}
}

var errGone = errors.New("the client has gone")

func (u *unread) Write([]byte) (int, error) {
	u.stalls()
	<-u.release
	return 0, errGone
}

// crowd is requests that stall.
type crowd struct {
	r       *ocitest.Replica
	release chan struct{}
	group   sync.WaitGroup
}

func newCrowd(t testing.TB, r *ocitest.Replica) *crowd {
	c := &crowd{r: r, release: make(chan struct{})}
	t.Cleanup(c.leave)
	return c
}

// leave ends them all. It may be called again.
func (c *crowd) leave() {
	select {
	case <-c.release:
	default:
		close(c.release)
	}
	c.group.Wait()
}

// put sends a manifest that is never complete, from an address, and returns what tells how that went: true once it
// stalls, false once it was refused.
func (c *crowd) put(t testing.TB, client *ocitest.Client, path, from string) <-chan bool {
	went := make(chan bool, 2)
	body := &stalled{left: 4<<20 - 1, stalls: func() { went <- true }, release: c.release}
	request := client.Request(t.Context(), http.MethodPut, path, body, "Content-Type", v1.MediaTypeImageIndex)
	request.RemoteAddr = from
	c.group.Go(func() {
		answer := httptest.NewRecorder()
		c.r.Handler.ServeHTTP(answer, request)
		c.refused(t, answer)
		went <- false
	})
	return went
}

// get asks for what it does not read then, and tells whether it stalls.
func (c *crowd) get(t testing.TB, client *ocitest.Client, path string) bool {
	went := make(chan bool, 2)
	answer := &unread{httptest.NewRecorder(), sync.OnceFunc(func() { went <- true }), c.release}
	request := client.Request(t.Context(), http.MethodGet, path, http.NoBody)
	c.group.Go(func() {
		c.r.Handler.ServeHTTP(answer, request)
		went <- false
	})
	return <-went && answer.Code == http.StatusOK
}

func (c *crowd) refused(t testing.TB, answer *httptest.ResponseRecorder) {
	select {
	case <-c.release: // it ended because the test did
	default:
		if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" {
			t.Errorf("refused with %d %v: %s", answer.Code, answer.Header(), answer.Body)
		}
	}
}

// from sends a request to the plane from an address.
func (c *crowd) from(request *http.Request, address string) ocitest.Answer {
	answer := httptest.NewRecorder()
	request.RemoteAddr = address
	c.r.Handler.ServeHTTP(answer, request)
	return ocitest.Answer{Status: answer.Code, Header: answer.Header(), Body: answer.Body.Bytes()}
}

// padded is an index of nearly so many bytes.
func padded(t testing.TB, size int, seed string) []byte {
	return index(v1.MediaTypeImageIndex).with("annotations", map[string]string{"padding": seed + strings.Repeat("x", size)}).bytes(t)
}

// TestThreat16StalledManifests: whoever begins many manifests and does not send their ends is in nobody's way but their
// own.
func TestThreat16StalledManifests(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{})
		anyone := r.Client.Bearer(r.Client.Nobody().Token("repository:nobodys/app:pull,push"))
		c := newCrowd(t, r)
		var went []<-chan bool
		for i := range 34 {
			went = append(went, c.put(t, anyone, manifestURL("nobodys/app", fmt.Sprint("v", i)), "192.0.2.1:1000"))
		}
		stalls := 0
		for _, w := range went {
			if <-w {
				stalls++
			}
		}
		for stalls < 5 && <-c.put(t, anyone, manifestURL("nobodys/app", "more"), "192.0.2.1:1000") {
			stalls++ // some of the others may have waited for one another
		}
		if stalls != 4 {
			t.Errorf("%d manifests of one client are held, want 4", stalls)
		}
		body := padded(t, 4_000_000, "")
		for who, tt := range map[string]struct {
			c      *ocitest.Client
			repo   string
			from   string
			status int
		}{
			"another client":         {anyone, "nobodys/app", "192.0.2.2:1000", http.StatusCreated},
			"a user at that address": {r.Client, "demo/app", "192.0.2.1:1000", http.StatusCreated},
			"the client itself":      {anyone, "nobodys/app", "192.0.2.1:1001", http.StatusServiceUnavailable},
		} {
			request := tt.c.Request(t.Context(), http.MethodPut, manifestURL(tt.repo, "large"), strings.NewReader(string(body)), "Content-Type", v1.MediaTypeImageIndex)
			if a := c.from(request, tt.from); a.Status != tt.status {
				t.Errorf("%s: %d %s", who, a.Status, a.Body)
			}
		}
		c.leave()
		again := newCrowd(t, r)
		if !<-again.put(t, anyone, manifestURL("nobodys/app", "again"), "192.0.2.1:1000") {
			t.Error("the memory was not given back")
		}
	})
}

// TestThreat16UnreadAnswers: whoever asks for many large answers and does not read them gets no more of them for a while,
// but small ones; others get theirs.
func TestThreat16UnreadAnswers(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		r := env.Replica(t, ocitest.Options{CallerMemory: 1}) // as little as is possible
		w := &tenants{tb: t, env: env, r: r, admin: r.Client}
		w.mia = w.person("mia")
		subject := digest.FromString("subject")
		referrer := index(v1.MediaTypeImageIndex).with("annotations", map[string]string{"padding": strings.Repeat("x", 3_900_000)}).
			with("subject", v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: subject, Size: 7})
		large := w.mia.PutManifest("mine/app", "large", v1.MediaTypeImageIndex, referrer.bytes(t))
		small := w.mia.PutManifest("mine/small", "small", v1.MediaTypeImageIndex, index(v1.MediaTypeImageIndex).bytes(t))
		for page := range 16 {
			var query strings.Builder
			for i := range 64 {
				fmt.Fprintf(&query, "&tag=%0120d", 64*page+i)
			}
			w.mia.Want(http.StatusCreated, http.MethodPut, manifestURL("mine/tags", small.String())+"?"+query.String()[1:],
				index(v1.MediaTypeImageIndex).bytes(t), "Content-Type", v1.MediaTypeImageIndex)
		}
		reader := w.member("mine", rbac.RoleViewer)
		for name, path := range map[string]string{
			"referrers": "/v2/mine/app/referrers/" + subject.String(), "manifest": manifestURL("mine/app", large.String()), "tags": "/v2/mine/tags/tags/list",
		} {
			t.Run(name, func(t *testing.T) {
				c := newCrowd(t, r)
				held := 0
				for held < 64 && c.get(t, w.mia.Client, path) {
					held++
				}
				if held == 0 || held == 64 {
					t.Errorf("%d answers are held", held)
				}
				a := w.mia.Want(http.StatusServiceUnavailable, http.MethodGet, path, nil)
				refused(t, a, http.StatusServiceUnavailable, "UNAVAILABLE")
				headers(t, a, "Retry-After", "1", "Link", "")
				w.mia.Want(http.StatusOK, http.MethodHead, manifestURL("mine/app", "large"), nil)
				w.mia.Want(http.StatusOK, http.MethodGet, manifestURL("mine/small", "small"), nil)
				w.mia.Want(http.StatusOK, http.MethodGet, "/v2/mine/small/tags/list", nil)
				w.mia.Want(http.StatusOK, http.MethodGet, "/v2/mine/small/referrers/"+subject.String(), nil)
				reader.Want(http.StatusOK, http.MethodGet, path, nil)
				c.leave()
				w.mia.Want(http.StatusOK, http.MethodGet, path, nil)
			})
		}
	})
}
