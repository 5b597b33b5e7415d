package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	manifestTag    = "v1"
	manifestLayers = 8
	layerSize      = 4 << 10
)

// measureManifests compares GET and HEAD of a manifest of eight layers, by tag and by digest, with distribution.
func measureManifests(ctx context.Context, l *lab) ([]row, error) {
	var rows []row
	err := l.onStage(func(st *stage) error {
		ours, err := st.berthServer(ctx, onFolder)
		if err != nil {
			return err
		}
		theirs, err := st.peerServer(ctx)
		if err != nil {
			return err
		}
		image := newImage()
		digest, err := image.pushTo(ctx, ours, theirs)
		if err != nil {
			return err
		}
		for _, clients := range l.parallel(severalReads) {
			for _, reference := range []string{manifestTag, digest} {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					r, err := compareManifests(ctx, st, method, reference, clients, ours, theirs)
					if err != nil {
						return err
					}
					rows = append(rows, r)
				}
			}
		}
		return nil
	})
	return rows, err
}

func compareManifests(ctx context.Context, st *stage, method, reference string, clients int, ours, theirs *registry) (row, error) {
	by := "tag"
	if reference != manifestTag {
		by = "digest"
	}
	name := fmt.Sprintf("manifest %s by %s, %d at once", method, by, clients)
	a, b := ours.client(smallBuffer), theirs.client(smallBuffer)
	defer a.close()
	defer b.close()
	end := st.profile(ctx, ours, name)
	all, err := race(ctx, st.duration/rounds, clients, a.manifestReader(method, reference), b.manifestReader(method, reference))
	end()
	if err != nil {
		return row{}, err
	}
	figures := map[string]float64{}
	details := all[0].requests("berth", figures) + "; " + all[1].requests("distribution", figures)
	return row{Name: name, Measured: ratio(all[0], all[1]), Details: details, Figures: figures}.bounded(atLeast, boundSmall), nil
}

// manifestReader reads a manifest again and again.
func (c *client) manifestReader(method, reference string) contestant {
	return contestant{child: c.child, op: func(ctx context.Context) (int64, error) {
		r, err := c.manifestRequest(ctx, method, reference, nil)
		if err != nil {
			return 0, err
		}
		_, err = c.send(r, http.StatusOK)
		return 0, err
	}}
}

func (c *client) manifestRequest(ctx context.Context, method, reference string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url("manifests", reference), body)
	if err == nil {
		r.Header.Set("Accept", v1.MediaTypeImageManifest)
	}
	return r, err
}

// image is a small image.
type image struct {
	config   content
	layers   []content
	manifest []byte
}

func newImage() *image {
	i := &image{config: newContent(layerSize)}
	for range manifestLayers {
		i.layers = append(i.layers, newContent(layerSize))
	}
	return i
}

// pushTo pushes the image to registries, reads its manifest back from each, and returns the manifest's digest.
func (i *image) pushTo(ctx context.Context, registries ...*registry) (string, error) {
	if err := i.describe(); err != nil {
		return "", err
	}
	for _, r := range registries {
		c := r.client(smallBuffer)
		err := c.pushImage(ctx, i)
		c.close()
		if err != nil {
			return "", err
		}
	}
	return digestBytes(i.manifest), nil
}

func (c *client) pushImage(ctx context.Context, i *image) error {
	for _, blob := range slices.Concat(i.layers, []content{i.config}) {
		if err := c.push(ctx, blob); err != nil {
			return err
		}
	}
	put, err := c.manifestRequest(ctx, http.MethodPut, manifestTag, bytes.NewReader(i.manifest))
	if err != nil {
		return err
	}
	put.Header.Set("Content-Type", v1.MediaTypeImageManifest)
	if _, err := c.send(put, http.StatusCreated); err != nil {
		return err
	}
	digest := digestBytes(i.manifest)
	for _, reference := range []string{manifestTag, digest} {
		if err := c.verifyManifest(ctx, reference, digest); err != nil {
			return err
		}
	}
	return nil
}

// verifyManifest reads a manifest and compares it with its digest.
func (c *client) verifyManifest(ctx context.Context, reference, want string) error {
	r, err := c.manifestRequest(ctx, http.MethodGet, reference, nil)
	if err != nil {
		return err
	}
	answer, err := c.do(r, http.StatusOK)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if digestBytes(got) != want {
		return fmt.Errorf("%s: the manifest came back changed", c.name)
	}
	return nil
}

// describe writes the image's manifest.
func (i *image) describe() error {
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for n, blob := range append([]content{i.config}, i.layers...) {
		d, err := blob.digest()
		if err != nil {
			return err
		}
		descriptor := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.Digest(d), Size: blob.size}
		if n == 0 {
			descriptor.MediaType = v1.MediaTypeImageConfig
			m.Config = descriptor
			continue
		}
		m.Layers = append(m.Layers, descriptor)
	}
	var err error
	if i.manifest, err = json.Marshal(m); err != nil {
		return fmt.Errorf("write a manifest: %w", err)
	}
	return nil
}
