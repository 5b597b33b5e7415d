package verify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	tag       = "verify"
	layerSize = 1 << 20
)

// image is an image that nobody else has.
type image struct {
	layer, config, manifest []byte
}

func newImage() image {
	layer := make([]byte, layerSize)
	_, _ = rand.Read(layer) // it never fails
	config := []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(layer).String() + `"]}}`)
	manifest, _ := json.Marshal(v1.Manifest{ // a struct of texts and numbers cannot fail
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer))}},
	})
	return image{layer, config, manifest}
}

// push pushes an image as clients do: what is missing, then the manifest.
func (r *run) push(ctx context.Context) (string, error) {
	bearer, err := r.may(ctx, "pull,push")
	if err != nil {
		return "", err
	}
	if _, err := r.pushImage(ctx, r.repository, bearer); err != nil {
		return "", err
	}
	r.pushed = true
	r.left = append(r.left, object{"manifests", digest.FromBytes(r.image.manifest)},
		object{"blobs", digest.FromBytes(r.image.layer)}, object{"blobs", digest.FromBytes(r.image.config)})
	return fmt.Sprintf("%s:%s, a layer of %d KiB", r.repository, tag, layerSize>>10), nil
}

// pushImage gives the answer to the manifest.
func (r *run) pushImage(ctx context.Context, repository, bearer string) (answer, error) {
	for _, blob := range [][]byte{r.image.layer, r.image.config} {
		if err := r.pushBlob(ctx, repository, bearer, blob); err != nil {
			return answer{}, err
		}
	}
	body, length := some(r.image.manifest)
	a, err := r.wire.do(ctx, request{
		method: http.MethodPut, path: "/v2/" + repository + "/manifests/" + tag, bearer: bearer, body: body, length: length,
		header: map[string]string{"Content-Type": v1.MediaTypeImageManifest},
	})
	if err != nil {
		return answer{}, err
	}
	if err := a.want(http.StatusCreated); err != nil {
		return answer{}, err
	}
	if got := a.header.Get("Docker-Content-Digest"); got != "" && got != digest.FromBytes(r.image.manifest).String() {
		return answer{}, fmt.Errorf("the manifest was stored as %s, pushed as %s: something changes bodies", got, digest.FromBytes(r.image.manifest))
	}
	return a, nil
}

// begin opens an upload and gives where it goes on, and the smallest chunk that the registry likes.
func (r *run) begin(ctx context.Context, repository, bearer string) (location, least string, err error) {
	a, err := r.wire.do(ctx, request{method: http.MethodPost, path: "/v2/" + repository + "/blobs/uploads/", bearer: bearer})
	if err != nil {
		return "", "", err
	}
	if err := a.want(http.StatusAccepted); err != nil {
		return "", "", err
	}
	r.began = r.began || repository == r.repository
	location, err = a.location()
	return location, a.header.Get("OCI-Chunk-Min-Length"), err
}

func (r *run) pushBlob(ctx context.Context, repository, bearer string, content []byte) error {
	location, _, err := r.begin(ctx, repository, bearer)
	if err != nil {
		return err
	}
	return r.finish(ctx, location, bearer, content, digest.FromBytes(content))
}

// finish sends the last bytes of an upload, if there are any, and its digest.
func (r *run) finish(ctx context.Context, location, bearer string, content []byte, d digest.Digest) error {
	join := "?"
	if strings.Contains(location, "?") {
		join = "&"
	}
	body, length := some(content)
	a, err := r.wire.do(ctx, request{
		method: http.MethodPut, path: location + join + "digest=" + url.QueryEscape(d.String()), bearer: bearer, body: body, length: length,
		header: map[string]string{"Content-Type": "application/octet-stream"},
	})
	if err != nil {
		return err
	}
	if err := a.want(http.StatusCreated); err != nil {
		return err
	}
	_, err = a.location()
	return err
}
