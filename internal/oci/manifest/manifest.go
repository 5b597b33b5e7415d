// Package manifest reads the manifests that are pushed: OCI image manifests
// and indexes (OCI Image Specification, manifest.md and image-index.md) and
// their Docker forebears, schema 2 manifests and manifest lists. It extracts
// what a registry must know and keeps nothing else: the bytes themselves are
// stored as they came (OCI Distribution Specification, section "Pushing
// Manifests").
//
// Two readers of one manifest must never see two images. So a manifest is
// refused when lenient and strict JSON readers could disagree on it: duplicate
// keys, keys in the wrong case, invalid UTF-8, trailing data, or the fields of
// an image and of an index in one document.
package manifest

import (
	"bytes"
	"encoding/json"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

const (
	// MaxSize is the manifest size in bytes that clients may count on, 4 MiB
	// (OCI Distribution Specification, section "Pushing Manifests"). The limit
	// in force is a setting, and that of who reads the body.
	MaxSize = 4 << 20

	// MaxDescriptors bounds the config, layers and index entries of a manifest
	// together.
	MaxDescriptors = 10_000

	// MaxDepth bounds how deep objects and arrays nest; the specification's own
	// fields need five levels.
	MaxDepth = 64
)

// Descriptor points to content (OCI Image Specification, descriptor.md).
type Descriptor struct {
	MediaType string
	Digest    digest.Digest
	Size      int64
	// Platform is what an index says that the content runs on, as
	// os/architecture[/variant]; empty: nothing that could be read.
	Platform string
}

// Parsed is what a manifest says.
type Parsed struct {
	// MediaType is the type that decides how the manifest is read, without
	// parameters.
	MediaType string
	// ContentType is the header exactly as pushed, or MediaType without one.
	ContentType string
	// Digest is that of the bytes, in the algorithm asked for.
	Digest digest.Digest
	// Size is the number of bytes.
	Size int64
	// ArtifactType is the artifactType or else, for image manifests, the media
	// type of the config (OCI Distribution Specification, section "Listing
	// Referrers").
	ArtifactType string
	// Annotations is the JSON object of the annotations, nil if there are none.
	Annotations json.RawMessage
	// Subject is the digest of the subject, empty if there is none.
	Subject digest.Digest
	// Blobs are the config and the layers that must exist, each digest once.
	Blobs []Descriptor
	// Foreign are the layers of non-distributable media types, each digest
	// once: they may be missing, but may also have been pushed.
	Foreign []Descriptor
	// Children are the entries of an index, each digest once.
	Children []Descriptor
}

// Parse reads a manifest as pushed with the header Content-Type, which may be
// empty, and computes its digest. Errors are *ocierr.Error: ManifestInvalid
// with a message that names the place.
func Parse(contentType string, body []byte, algo digests.Algo) (Parsed, error) {
	parsed, err := parse(contentType, body)
	if err != nil {
		return Parsed{}, ocierr.ManifestInvalid.With("manifest invalid: %s", err.Error())
	}
	parsed.Digest = digests.Sum(algo, body)
	parsed.Size = int64(len(body))
	return parsed, nil
}

func parse(contentType string, body []byte) (Parsed, error) {
	root, err := readDocument(body)
	if err != nil {
		return Parsed{}, err
	}
	parsed, err := decideType(contentType, root)
	if err != nil {
		return Parsed{}, err
	}
	if err := checkShape(parsed.MediaType, root); err != nil {
		return Parsed{}, err
	}
	if err := readCommon(root, &parsed); err != nil {
		return Parsed{}, err
	}
	readContent := readImage
	if isIndex(parsed.MediaType) {
		readContent = readIndex
	}
	err = readContent(root, &parsed)
	return parsed, err
}

// readCommon reads what images and indexes share.
func readCommon(root document, parsed *Parsed) error {
	var err error
	parsed.ArtifactType, err = root.text("artifactType")
	if err != nil {
		return err
	}
	if raw, ok := root.get("subject"); ok {
		subject, err := readDescriptor(raw)
		if err != nil {
			return within("subject", err)
		}
		parsed.Subject = subject.Digest
	}
	raw, ok := root.get("annotations")
	if !ok {
		return nil
	}
	empty, err := checkAnnotations(raw)
	if err != nil {
		return within("annotations", err)
	}
	if !empty {
		parsed.Annotations = bytes.Clone(raw)
	}
	return nil
}

// readImage reads the config and the layers of an image manifest.
func readImage(root document, parsed *Parsed) error {
	raw, _ := root.get("config")
	config, err := readDescriptor(raw)
	if err != nil {
		return within("config", err)
	}
	if parsed.ArtifactType == "" {
		parsed.ArtifactType = config.MediaType
	}
	layers, err := root.descriptors("layers", 1)
	if err != nil {
		return err
	}
	blobs, foreign := newSet(len(layers)+1), newSet(0)
	_ = blobs.add(config) // the first one cannot contradict another
	for i, layer := range layers {
		set := blobs
		if nonDistributable(layer.MediaType) {
			set = foreign
		}
		if err := set.add(layer); err != nil {
			return within(element("layers", i), err)
		}
	}
	parsed.Blobs, parsed.Foreign = blobs.list, foreign.list
	return nil
}

// readIndex reads the entries of an index.
func readIndex(root document, parsed *Parsed) error {
	manifests, err := root.descriptors("manifests", 0)
	if err != nil {
		return err
	}
	children := newSet(len(manifests))
	for i, child := range manifests {
		if err := children.add(child); err != nil {
			return within(element("manifests", i), err)
		}
	}
	parsed.Children = children.list
	return nil
}
