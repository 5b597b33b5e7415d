package e2e

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// newHTTPClient is a client of the test's own, which may look at what it sends and gets.
func newHTTPClient(t *testing.T, watch func(*http.Request, *http.Response)) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: watched{transport, watch}}
}

type watched struct {
	http.RoundTripper
	watch func(*http.Request, *http.Response)
}

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.RoundTripper.RoundTrip(request)
	if err == nil && w.watch != nil {
		w.watch(request, response)
	}
	return response, err
}

func reference(t *testing.T, r *registry, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.host + "/" + text)
	must(t, err)
	return ref
}

func TestGoContainerRegistry(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		var mounted atomic.Int64
		client := newHTTPClient(t, func(request *http.Request, response *http.Response) {
			if request.URL.Query().Get("mount") != "" && response.StatusCode == http.StatusCreated {
				mounted.Add(1)
			}
		})
		options := []remote.Option{
			remote.WithContext(t.Context()), remote.WithTransport(client.Transport),
			remote.WithAuth(&authn.Basic{Username: "any", Password: adminToken}),
		}
		image := newImage(t, "amd64", nil, b.sizes()...)
		must(t, remote.Write(reference(t, r, "ggcr/app:one"), image, options...))
		pulled, err := remote.Image(reference(t, r, "ggcr/app:one"), options...)
		must(t, err)
		sameImage(t, image, pulled)

		must(t, remote.Write(reference(t, r, "ggcr/copy:one"), pulled, options...))
		if got, want := mounted.Load(), int64(len(b.sizes())+1); got != want {
			t.Errorf("%d blobs were mounted, want %d: the layers and the config", got, want)
		}
		same(t, r.admin(t).readBack("ggcr/app", "one"), r.admin(t).readBack("ggcr/copy", digestOf(t, image)))

		index := newIndex(t, b.sizes()...)
		must(t, remote.WriteIndex(reference(t, r, "ggcr/many:one"), index, options...))
		same(t, blobsOf(t, newLayout(t, index)), r.admin(t).readBack("ggcr/many", "one"))
		descriptor, err := remote.Get(reference(t, r, "ggcr/many:one"), append(options, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))...)
		must(t, err)
		arm, err := descriptor.Image()
		must(t, err)
		config, err := arm.ConfigFile()
		if err != nil || config.Architecture != "arm64" {
			t.Errorf("the image for arm64 is for %v: %v", config, err)
		}
		must(t, remote.Delete(reference(t, r, "ggcr/app@"+digestOf(t, image)), options...))
		if _, err := remote.Head(reference(t, r, "ggcr/app:one"), options...); err == nil {
			t.Error("a deleted manifest is still there")
		}
	})
}

// TestManyWritersAtOnce pushes several images and an index to several repositories of a new project in one go.
func TestManyWritersAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		options := []remote.Option{
			remote.WithContext(t.Context()), remote.WithTransport(newHTTPClient(t, nil).Transport), remote.WithJobs(16),
			remote.WithAuth(&authn.Basic{Username: "any", Password: adminToken}),
		}
		shared := content(b.chunk + 1)
		writes := map[name.Reference]remote.Taggable{}
		want := map[string]map[string]int64{}
		var tags []string
		for _, tag := range []string{"a", "b", "c", "d", "e"} {
			image := newImage(t, "amd64", shared, 0, 100, 20_000)
			writes[reference(t, r, "multi/app:"+tag)] = image
			want[tag], tags = blobsOf(t, newLayout(t, image)), append(tags, tag)
		}
		index := newIndex(t, 100)
		writes[reference(t, r, "multi/app:index")] = index
		want["index"], tags = blobsOf(t, newLayout(t, index)), append(tags, "index")
		must(t, remote.MultiWrite(writes, options...))
		for tag, blobs := range want {
			same(t, blobs, r.admin(t).readBack("multi/app", tag))
		}
		for _, size := range []int{1, 4, 100} {
			got, err := remote.List(reference(t, r, "multi/app:a").Context(), append(options, remote.WithPageSize(size))...)
			if err != nil || !slices.Equal(got, tags) {
				t.Errorf("List in pages of %d: %q, want %q: %v", size, got, tags, err)
			}
		}
		if err := remote.Write(reference(t, r, "multi-nobody/app:one"), newImage(t, "amd64", shared, 10),
			remote.WithContext(t.Context()), remote.WithTransport(newHTTPClient(t, nil).Transport)); err != nil {
			t.Errorf("without an account: %v", err)
		}
	})
}

// sameImage compares images byte by byte.
func sameImage(t *testing.T, want, got v1.Image) {
	t.Helper()
	if digestOf(t, want) != digestOf(t, got) {
		t.Errorf("pulled %s, want %s", digestOf(t, got), digestOf(t, want))
	}
	wanted, err := want.Layers()
	must(t, err)
	layers, err := got.Layers()
	must(t, err)
	if len(layers) != len(wanted) {
		t.Fatalf("pulled %d layers, want %d", len(layers), len(wanted))
	}
	for i := range wanted {
		a, err := wanted[i].Compressed()
		must(t, err)
		b, err := layers[i].Compressed()
		must(t, err)
		if !slices.Equal(readAll(t, a), readAll(t, b)) {
			t.Errorf("layer %d differs", i)
		}
	}
}
