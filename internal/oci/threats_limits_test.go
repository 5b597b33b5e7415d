package oci_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestThreat15Extremes: numbers, documents and headers that are out of all proportion get a small answer.
func TestThreat15Extremes(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{TagsPage: 2}).Client
		_, d := pushed(t, c, "demo/app", "v1", "extremes")
		for _, n := range []string{"2147483647", "2147483648", "4294967296", "9223372036854775807", "18446744073709551615"} {
			c.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/tags/list?n="+n, nil)
			c.Want(http.StatusOK, http.MethodGet, "/v2/_catalog?n="+n, nil)
			c.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/referrers/"+d.String()+"?n="+n, nil)
		}
		many := make([]v1.Descriptor, 10_001)
		for i := range many {
			many[i] = descriptor(v1.MediaTypeImageManifest, fmt.Append(nil, i))
		}
		self := index(v1.MediaTypeImageIndex, v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: d, Size: 1})
		for name, tt := range map[string]struct {
			contentType string
			body        []byte
			status      int
		}{
			"an index of many":       {v1.MediaTypeImageIndex, index(v1.MediaTypeImageIndex, many...).bytes(t), http.StatusBadRequest},
			"an index of fewer":      {v1.MediaTypeImageIndex, index(v1.MediaTypeImageIndex, many[1:]...).bytes(t), http.StatusCreated},
			"an index of another":    {v1.MediaTypeImageIndex, self.bytes(t), http.StatusCreated},
			"the type of another":    {v1.MediaTypeImageIndex, image([]byte("{}")).bytes(t), http.StatusBadRequest},
			"brackets without end":   {v1.MediaTypeImageIndex, []byte(strings.Repeat("[", 1<<20)), http.StatusBadRequest},
			"objects without end":    {v1.MediaTypeImageIndex, []byte(strings.Repeat(`{"a":`, 1<<19)), http.StatusBadRequest},
			"over four MiB":          {v1.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]` + strings.Repeat(" ", 4<<20) + "}"), http.StatusRequestEntityTooLarge},
			"a key twice":            {v1.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[],"manifests":[]}`), http.StatusBadRequest},
			"a key a thousand times": {v1.MediaTypeImageIndex, []byte(`{"schemaVersion":2` + strings.Repeat(`,"manifests":[]`, 1000) + "}"), http.StatusBadRequest},
		} {
			a := c.Do(http.MethodPut, manifestURL("demo/app", "v2"), tt.body, "Content-Type", tt.contentType)
			if a.Status != tt.status || len(a.Body) > 2000 {
				t.Errorf("%s: %d %.200s", name, a.Status, a.Body)
			}
		}
		for range 50 { // indexes in indexes; a cycle would need a digest of itself
			deeper := index(v1.MediaTypeImageIndex, v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: d, Size: 1}).bytes(t)
			d = c.PutManifest("demo/app", "deep", v1.MediaTypeImageIndex, deeper)
		}
		for _, header := range [][]string{
			{"Range", "bytes=" + strings.Repeat("0-0,", 100_000)}, {"If-None-Match", strings.Repeat(`"x",`, 100_000)}, {"Accept", strings.Repeat("a/b,", 100_000)},
		} {
			c.Want(http.StatusOK, http.MethodGet, blobURL("demo/app", c.Push("demo/app", []byte("small"))), nil, header...)
			c.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", d.String()), nil, header...)
		}
	})
}

// simultaneously runs f some times at once and waits.
func simultaneously(n int, f func(i int)) {
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	wg.Wait()
}

// TestThreat25EqualDigests: many clients push the same bytes to many repositories at once: all succeed, one copy stays,
// and each repository shows it at once on each replica.
func TestThreat25EqualDigests(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		replicas := []*ocitest.Replica{env.Replica(t, ocitest.Options{}), env.Replica(t, ocitest.Options{})}
		content := pattern(200_000, 8)
		d := digest.FromBytes(content)
		simultaneously(12, func(i int) {
			c := replicas[i%2].Client
			repo := fmt.Sprintf("demo%d/app", i%4)
			a, err := c.Send(c.Request(t.Context(), http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), strings.NewReader(string(content))))
			if err != nil || a.Status != http.StatusCreated {
				t.Errorf("push %d: %d %s, %v", i, a.Status, a.Body, err)
				return
			}
			other := replicas[(i+1)%2].Client
			got, err := other.Send(other.Request(t.Context(), http.MethodGet, a.Header.Get("Location"), http.NoBody))
			if err != nil || digest.FromBytes(got.Body) != d {
				t.Errorf("pull %d: %d with %d bytes, %v", i, got.Status, len(got.Body), err)
			}
		})
		if n := count(t, env, `SELECT count(*) FROM blobs WHERE digest = ?`, d.String()); n != 1 {
			t.Errorf("%d blobs", n)
		}
		if n := count(t, env, `SELECT count(*) FROM chunks`); n != 1 {
			t.Errorf("%d chunks have a row", n)
		}
		if n := count(t, env, `SELECT count(*) FROM repository_blobs`); n != 4 {
			t.Errorf("%d links", n)
		}
	})
}

// TestThreat25FirstPushes: the layers of the first image of a new project, and its manifest by several tags.
func TestThreat25FirstPushes(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		replicas := []*ocitest.Replica{env.Replica(t, ocitest.Options{}), env.Replica(t, ocitest.Options{})}
		for name, who := range map[string]func(c *ocitest.Client) *ocitest.Client{
			"signed-in": func(c *ocitest.Client) *ocitest.Client { return c },
			"nobodys": func(c *ocitest.Client) *ocitest.Client {
				return c.Bearer(c.Nobody().Token("repository:nobodys/new/app:pull,push"))
			},
		} {
			clients := []*ocitest.Client{who(replicas[0].Client), who(replicas[1].Client)}
			repo := name + "/new/app"
			body := index(v1.MediaTypeImageIndex).bytes(t)
			simultaneously(20, func(i int) {
				c := clients[i%2]
				layer := fmt.Sprint("layer ", i%10)
				path, headers := "/v2/"+repo+"/blobs/uploads/?digest="+digest.FromString(layer).String(), []string{}
				method, content := http.MethodPost, layer
				if i%5 == 0 {
					method, path, content = http.MethodPut, manifestURL(repo, fmt.Sprint("v", i)), string(body)
					headers = []string{"Content-Type", v1.MediaTypeImageIndex}
				}
				a, err := c.Send(c.Request(t.Context(), method, path, strings.NewReader(content), headers...))
				if err != nil || a.Status != http.StatusCreated {
					t.Errorf("%s, push %d: %d %s, %v", name, i, a.Status, a.Body, err)
				}
			})
			if n := count(t, env, `SELECT count(*) FROM projects WHERE slug = ?`, name); n != 1 {
				t.Errorf("%s: %d projects", name, n)
			}
			tags := tagList(t, replicas[0].Client.Do(http.MethodGet, "/v2/"+repo+"/tags/list", nil))
			if !slices.Equal(tags, []string{"v0", "v10", "v15", "v5"}) {
				t.Errorf("%s: tags %s", name, tags)
			}
		}
	})
}

// TestThreat25TagMoves: while a tag moves between manifests of different types and sizes, every read sees one of them
// whole: its bytes, digest, type and length belong together.
func TestThreat25TagMoves(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		replicas := []*ocitest.Replica{env.Replica(t, ocitest.Options{}), env.Replica(t, ocitest.Options{})}
		c := replicas[0].Client
		types := map[string]string{}
		var bodies [][]byte
		for i := range 6 {
			mediaType := []string{v1.MediaTypeImageIndex, dockerList}[i%2]
			body := index(mediaType).with("annotations", map[string]string{"padding": strings.Repeat("x", i*30_000)}).bytes(t)
			bodies = append(bodies, body)
			types[digest.FromBytes(body).String()] = mediaType
		}
		c.PutManifest("demo/app", "moves", v1.MediaTypeImageIndex, bodies[0])
		simultaneously(8, func(worker int) {
			c := replicas[worker%2].Client
			for round := range 10 {
				if worker < 4 {
					body := bodies[(worker*3+round)%len(bodies)]
					a, err := c.Send(c.Request(t.Context(), http.MethodPut, manifestURL("demo/app", "moves"), strings.NewReader(string(body)),
						"Content-Type", types[digest.FromBytes(body).String()]))
					if err != nil || a.Status != http.StatusCreated {
						t.Errorf("move: %d %s, %v", a.Status, a.Body, err)
					}
					continue
				}
				a, err := c.Send(c.Request(t.Context(), http.MethodGet, manifestURL("demo/app", "moves"), http.NoBody))
				d := digest.FromBytes(a.Body).String()
				if err != nil || a.Status != http.StatusOK || a.Header.Get("Docker-Content-Digest") != d || a.Header.Get("Content-Type") != types[d] ||
					a.Header.Get("Content-Length") != fmt.Sprint(len(a.Body)) {
					t.Errorf("read: %d %v, %v", a.Status, a.Header, err)
				}
			}
		})
		last := c.Want(http.StatusOK, http.MethodHead, manifestURL("demo/app", "moves"), nil).Header.Get("Docker-Content-Digest")
		if n := count(t, env, `SELECT count(*) FROM tag_history WHERE digest = ? AND id = (SELECT max(id) FROM tag_history)`, last); n != 1 {
			t.Errorf("the history does not end with %s", last)
		}
	})
}
