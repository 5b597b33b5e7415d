package verify

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// pull pulls the image and compares every byte.
func (r *run) pull(ctx context.Context) (string, error) {
	bearer, err := r.ready(ctx)
	if err != nil {
		return "", err
	}
	if _, err := r.pullImage(ctx, bearer); err != nil {
		return "", err
	}
	return "the same bytes", nil
}

// ready fetches a token to pull what was pushed.
func (r *run) ready(ctx context.Context) (string, error) {
	if !r.pushed {
		return "", skip{"the push failed"}
	}
	return r.may(ctx, "pull")
}

// pullImage gives the answer to the manifest.
func (r *run) pullImage(ctx context.Context, bearer string) (answer, error) {
	a, err := r.manifest(ctx, bearer, nil)
	if err != nil {
		return answer{}, err
	}
	if err := a.want(http.StatusOK); err != nil {
		return answer{}, err
	}
	if !bytes.Equal(a.body, r.image.manifest) {
		return answer{}, fmt.Errorf("another manifest comes back than was pushed: a cache in between, or somebody else pushes to %s:%s", r.repository, tag)
	}
	for _, want := range [][]byte{r.image.config, r.image.layer} {
		b, err := r.blob(ctx, bearer, digest.FromBytes(want), nil)
		if err != nil {
			return answer{}, err
		}
		if err := b.want(http.StatusOK); err != nil {
			return answer{}, err
		}
		if !bytes.Equal(b.body, want) {
			return answer{}, fmt.Errorf("the blob %s comes back with other bytes", digest.FromBytes(want))
		}
	}
	return a, nil
}

func (r *run) manifest(ctx context.Context, bearer string, header map[string]string) (answer, error) {
	all := map[string]string{"Accept": v1.MediaTypeImageManifest}
	for name, value := range header {
		all[name] = value
	}
	return r.wire.do(ctx, request{method: http.MethodGet, path: "/v2/" + r.repository + "/manifests/" + tag, bearer: bearer, header: all})
}

// blob fetches a blob, from where the registry sends the client if need be; that is told no credential.
func (r *run) blob(ctx context.Context, bearer string, d digest.Digest, header map[string]string) (answer, error) {
	a, err := r.wire.do(ctx, request{method: http.MethodGet, path: "/v2/" + r.repository + "/blobs/" + d.String(), bearer: bearer, header: header})
	if err != nil || a.status != http.StatusTemporaryRedirect && a.status != http.StatusFound {
		return a, err
	}
	to, err := a.url.Parse(a.header.Get("Location"))
	if err != nil {
		return answer{}, fmt.Errorf("the blob's Location: %w", err)
	}
	return r.wire.do(ctx, request{method: http.MethodGet, path: to.String(), header: header})
}

// pullAgain pulls what is in caches by now: the same bytes, nothing at all for who has them, and a part of a layer.
func (r *run) pullAgain(ctx context.Context) (string, error) {
	bearer, err := r.ready(ctx)
	if err != nil {
		return "", err
	}
	first, err := r.pullImage(ctx, bearer)
	if err != nil {
		return "", err
	}
	says := "the same bytes"
	if tag := first.header.Get("ETag"); tag != "" {
		a, err := r.manifest(ctx, bearer, map[string]string{"If-None-Match": tag})
		if err != nil {
			return "", err
		}
		if err := a.want(http.StatusNotModified); err != nil {
			return "", err
		}
		says += ", 304 for who has them"
	}
	const from, to = 1000, 65_000
	a, err := r.blob(ctx, bearer, digest.FromBytes(r.image.layer), map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", from, to)})
	if err != nil {
		return "", err
	}
	if err := a.want(http.StatusPartialContent); err != nil {
		return "", fmt.Errorf("a part of a layer: %w", err)
	}
	if !bytes.Equal(a.body, r.image.layer[from:to+1]) {
		return "", fmt.Errorf("another part of the layer comes back than was asked for")
	}
	return says + ", parts of a layer", nil
}
