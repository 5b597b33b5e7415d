package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

const (
	// catalogRepositories is over how many repositories images and blobs are spread.
	catalogRepositories = 4
	// imageLayers is how many blobs an image has.
	imageLayers = 4
	// fillers is how many clients fill a registry.
	fillers = 4
)

// stored is something that a registry holds, and how it is to come back.
type stored struct {
	*client // of its repository
	digest  string
	size    int64
}

// catalog is what a plan has put into a registry.
type catalog struct {
	plan         *plan
	repositories []*client
	blobs        [][]stored // by class
	images       []stored
}

// fill pushes what the plan says below a path of the registry.
func (p *plan) fill(ctx context.Context, c *client, path string) (*catalog, error) {
	k := &catalog{plan: p, blobs: make([][]stored, len(p.sizes)), images: make([]stored, p.images)}
	for i := range catalogRepositories {
		k.repositories = append(k.repositories, c.in(path+"/r"+strconv.Itoa(i)))
	}
	if err := k.fillBlobs(ctx); err != nil {
		return nil, fmt.Errorf("fill %s: %w", c.name, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	for i := range k.images {
		group.Go(func() error {
			var err error
			k.images[i], err = k.putImage(ctx, i, tagOf(i), "")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("fill %s: %w", c.name, err)
	}
	return k, nil
}

func (k *catalog) fillBlobs(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	number := 0
	for class, sizes := range k.plan.sizes {
		k.blobs[class] = make([]stored, len(sizes))
		for i, size := range sizes {
			blob, to := seededContent(k.plan.seed, number, size), k.repositories[number%catalogRepositories]
			number++
			group.Go(func() error {
				d, err := blob.digest()
				if err != nil {
					return err
				}
				k.blobs[class][i] = stored{to, d, size}
				return to.push(ctx, blob)
			})
		}
	}
	return group.Wait()
}

func tagOf(image int) string { return "v" + strconv.Itoa(image) }

// putImage pushes the manifest of an image under a tag. What is told apart by a note is another manifest.
func (k *catalog) putImage(ctx context.Context, image int, tag, note string) (stored, error) {
	repository := k.repositories[image%catalogRepositories]
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	if note != "" {
		m.Annotations = map[string]string{v1.AnnotationRefName: note}
	}
	own := k.of(repository)
	for i := range imageLayers + 1 {
		blob := own[(image+i)%len(own)]
		d := descriptorOf(blob.digest, blob.size)
		if i == 0 {
			d.MediaType = v1.MediaTypeImageConfig
			m.Config = d
			continue
		}
		m.Layers = append(m.Layers, d)
	}
	return repository.putManifest(ctx, tag, m)
}

// of are the blobs of a repository.
func (k *catalog) of(repository *client) []stored {
	var own []stored
	for _, blobs := range k.blobs {
		for _, blob := range blobs {
			if blob.repository == repository.repository {
				own = append(own, blob)
			}
		}
	}
	return own
}

// descriptorOf is that of a layer or, for it is the same to a registry, of a config.
func descriptorOf(d string, size int64) v1.Descriptor {
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.Digest(d), Size: size}
}

// putManifest pushes a manifest under a tag.
func (c *client) putManifest(ctx context.Context, tag string, m v1.Manifest) (stored, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return stored{}, fmt.Errorf("write a manifest: %w", err)
	}
	r, err := c.manifestRequest(ctx, http.MethodPut, tag, bytes.NewReader(text))
	if err != nil {
		return stored{}, err
	}
	r.Header.Set("Content-Type", m.MediaType)
	_, err = c.send(r, http.StatusCreated)
	return stored{c, digestBytes(text), int64(len(text))}, err
}

// reading is how what is read is checked: its length always, its digest once in every so many times.
type reading struct {
	every int
	count int
}

// get reads something and checks it.
func (v *reading) get(ctx context.Context, what stored, kind, reference string) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, what.url(kind, reference), nil)
	if err != nil {
		return 0, err
	}
	if kind == "manifests" {
		r.Header.Set("Accept", v1.MediaTypeImageManifest)
	}
	answer, err := what.do(r, http.StatusOK)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	v.count++
	to, h := io.Discard, sha256.New()
	hashed := v.every > 0 && v.count%v.every == 0
	if hashed {
		to = h
	}
	n, err := copyBody(to, answer.Body)
	switch {
	case err != nil:
		return n, fmt.Errorf("%s: %s %s: %w", what.name, kind, reference, err)
	case n != what.size:
		return n, fmt.Errorf("%s: %s %s has %d bytes, want %d", what.name, kind, reference, n, what.size)
	case hashed && digestOf(h) != what.digest:
		return n, fmt.Errorf("%s: %s %s came back changed", what.name, kind, reference)
	}
	return n, nil
}

// head asks for something and checks the length that is told.
func (v *reading) head(ctx context.Context, what stored, kind, reference string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, what.url(kind, reference), nil)
	if err != nil {
		return err
	}
	if kind == "manifests" {
		r.Header.Set("Accept", v1.MediaTypeImageManifest)
	}
	header, err := what.send(r, http.StatusOK)
	if err != nil {
		return err
	}
	if told := header.Get("Content-Length"); told != strconv.FormatInt(what.size, 10) {
		return fmt.Errorf("%s: HEAD %s %s tells %q bytes, want %d", what.name, kind, reference, told, what.size)
	}
	return nil
}
