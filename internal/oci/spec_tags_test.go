package oci_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// TestSpecEnd7b: tags as parameters, all or none.
func TestSpecEnd7b(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		body := index(v1.MediaTypeImageIndex).bytes(t)
		for _, d := range []digest.Digest{digest.FromBytes(body), digest.SHA512.FromBytes(body)} {
			for reference, want := range map[string]string{
				d.String() + "?tag=1.2.3&tag=1.2&tag=1&tag=latest": "1.2.3, 1.2, 1, latest",
				d.String() + "?tag=once&tag=once":                  "once",
				d.String():                                         "",
			} {
				a := c.Want(http.StatusCreated, http.MethodPut, manifestURL("demo/app", reference), body, "Content-Type", v1.MediaTypeImageIndex)
				headers(t, a, "Oci-Tag", want, "Docker-Content-Digest", d.String(), "Location", manifestURL("demo/app", d.String()))
				for tag := range strings.SplitSeq(want, ", ") {
					if tag != "" {
						headers(t, c.Want(http.StatusOK, http.MethodHead, manifestURL("demo/app", tag), nil), "Docker-Content-Digest", d.String())
					}
				}
			}
		}
		a := c.Want(http.StatusCreated, http.MethodPut, manifestURL("demo/app", "path?tag=two&tag=path"), body, "Content-Type", v1.MediaTypeImageIndex)
		headers(t, a, "Oci-Tag", "path, two")
		want := []string{"1", "1.2", "1.2.3", "latest", "once", "path", "two"}
		if got := tagList(t, c.Do(http.MethodGet, "/v2/demo/app/tags/list", nil)); !slices.Equal(got, want) {
			t.Errorf("tags %s", got)
		}
	})
}

// TestSpecEnd7bFailures: a bad tag or too many of them store nothing.
func TestSpecEnd7bFailures(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		body := index(v1.MediaTypeImageIndex).bytes(t)
		put := func(tags ...string) ocitest.Answer {
			path := manifestURL("demo/app", digest.FromBytes(body).String()) + "?" + url.Values{"tag": tags}.Encode()
			return c.Do(http.MethodPut, path, body, "Content-Type", v1.MediaTypeImageIndex)
		}
		for _, bad := range []string{"", ".a", "-a", "a b", "a/b", "a:b", "ä", "a\n", "a\x00", strings.Repeat("t", 129), digest.FromBytes(body).String()} {
			refused(t, put("good", bad), http.StatusBadRequest, "MANIFEST_INVALID")
		}
		many := make([]string, 65)
		for i := range many {
			many[i] = "t" + strconv.Itoa(i)
		}
		refused(t, put(many...), http.StatusRequestURITooLong, "MANIFEST_INVALID")
		if n := count(t, env, `SELECT count(*) FROM manifests`) + count(t, env, `SELECT count(*) FROM projects`); n != 0 {
			t.Errorf("%d rows were made", n)
		}
		if a := put(many[:64]...); a.Status != http.StatusCreated || len(strings.Split(a.Header.Get("Oci-Tag"), ", ")) != 64 {
			t.Errorf("64 tags: %d %v", a.Status, a.Header)
		}
	})
}

// TestSpecEnd8 is the section "Listing Tags": order, pages, and their limits.
func TestSpecEnd8(t *testing.T) {
	names := []string{"v1.10", "v1.9", "V2", "a", "B", "b", "_", "0", "latest", "v1-rc", "v1_rc", "v1.0", "Z", "z"}
	sorted := slices.Sorted(slices.Values(names))
	const list = "/v2/demo/app/tags/list"
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{TagsPage: 10}).Client
		body := index(v1.MediaTypeImageIndex).bytes(t)
		for _, name := range names {
			c.PutManifest("demo/app", name, v1.MediaTypeImageIndex, body)
		}
		for query, want := range map[string][]string{
			"":                                 sorted[:10],
			"?n=3":                             sorted[:3],
			"?n=14":                            sorted[:10],
			"?n=2147483648":                    sorted[:10],
			"?n=18446744073709551615":          sorted[:10],
			"?n=":                              sorted[:10],
			"?n=3&last=B":                      sorted[2:5],
			"?last=_":                          sorted[5:],
			"?last=" + sorted[3] + "&n=10":     sorted[4:],
			"?last=between&n=2":                sorted[7:9],
			"?last=zz":                         {},
			"?last=z&n=5":                      {},
			"?n=0":                             {},
			"?n=0&last=B":                      {},
			"?last=" + url.QueryEscape("~/:%"): {},
		} {
			a := c.Do(http.MethodGet, list+query, nil)
			if got := tagList(t, a); !slices.Equal(got, want) {
				t.Errorf("%q: %s, want %s", query, got, want)
			}
			more := len(want) > 0 && want[len(want)-1] != sorted[len(sorted)-1]
			if more != (a.Header.Get("Link") != "") {
				t.Errorf("%q: Link %q", query, a.Header.Get("Link"))
			}
			headers(t, a, "Content-Type", "application/json", "Content-Length", strconv.Itoa(len(a.Body)))
		}
		for _, n := range []string{"-1", "abc", "1.5", "0x10", "1e3", "%2B1", "99999999999999999999999", " 1"} {
			refused(t, c.Do(http.MethodGet, list+"?n="+url.QueryEscape(n), nil), http.StatusBadRequest, "UNSUPPORTED")
		}
		for _, last := range []string{"%00", "a%00", "%ff", "%c3"} {
			refused(t, c.Do(http.MethodGet, list+"?last="+last, nil), http.StatusBadRequest, "UNSUPPORTED")
		}
		for _, n := range []int{1, 2, 5, 7, 14} {
			var walked []string
			for next, pages := fmt.Sprintf("%s?n=%d", list, n), 0; next != "" && pages < 20; pages++ {
				a := c.Do(http.MethodGet, next, nil)
				walked = append(walked, tagList(t, a)...)
				next = nextPage(t, a)
			}
			if !slices.Equal(walked, sorted) {
				t.Errorf("pages of %d: %s", n, walked)
			}
		}
	})
}

// TestSpecEnd8Repositories: a repository without tags has an empty list, one that does not exist has none.
func TestSpecEnd8Repositories(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		_, d := pushed(t, c, "demo/app", "", "untagged")
		c.Push("demo/blobs", []byte("only a blob"))
		for _, repo := range []string{"demo/app", "demo/blobs"} {
			a := c.Want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/tags/list", nil)
			if got, want := string(a.Body), `{"name":"`+repo+`","tags":[]}`; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		for _, repo := range []string{"demo", "demo/absent", "demo/app/sub", "nothing", "nothing/app"} {
			refused(t, c.Do(http.MethodGet, "/v2/"+repo+"/tags/list", nil), http.StatusNotFound, "NAME_UNKNOWN")
			refused(t, c.Do(http.MethodGet, "/v2/"+repo+"/tags/list?n=0", nil), http.StatusNotFound, "NAME_UNKNOWN")
		}
		c.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", d.String()), nil)
	})
}
