package manifest

import (
	"cmp"
	"fmt"
	"strings"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The types of Docker's forebears, which image-spec does not define.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// maxText bounds the media types in bytes.
const maxText = 255

func isImage(mediaType string) bool {
	return mediaType == imagespec.MediaTypeImageManifest || mediaType == dockerManifest
}

func isIndex(mediaType string) bool {
	return mediaType == imagespec.MediaTypeImageIndex || mediaType == dockerList
}

// nonDistributable tells the layers that clients may leave out of a push (OCI
// Image Specification, layer.md, section "Non-Distributable Layers").
func nonDistributable(mediaType string) bool {
	return strings.Contains(mediaType, "nondistributable") ||
		strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.")
}

// decideType settles MediaType and ContentType. The header and the field
// mediaType must agree where both are given; the header's parameters do not
// count (OCI Distribution Specification, section "Pushing Manifests").
func decideType(contentType string, root document) (Parsed, error) {
	declared, err := root.text("mediaType")
	if err != nil {
		return Parsed{}, err
	}
	header, err := baseType(contentType)
	if err != nil {
		return Parsed{}, err
	}
	if header != "" && declared != "" && header != declared {
		return Parsed{}, fmt.Errorf("the Content-Type %q differs from mediaType %q", header, declared)
	}
	if header == "" {
		header = cmp.Or(declared, sniffType(root))
		contentType = header
	}
	if !isImage(header) && !isIndex(header) {
		return Parsed{}, fmt.Errorf("unsupported media type %q", header)
	}
	return Parsed{MediaType: header, ContentType: contentType}, nil
}

// baseType gives the type of a Content-Type without its parameters, empty
// without a header.
func baseType(contentType string) (string, error) {
	if strings.TrimSpace(contentType) == "" {
		return "", nil
	}
	if len(contentType) > maxText {
		return "", fmt.Errorf("the Content-Type has more than %d bytes", maxText)
	}
	for i := range len(contentType) {
		if contentType[i] < ' ' || contentType[i] > '~' {
			return "", fmt.Errorf("the Content-Type %q is not printable ASCII", contentType)
		}
	}
	base, _, _ := strings.Cut(contentType, ";")
	base = strings.ToLower(strings.TrimSpace(base))
	if base == "" {
		return "", fmt.Errorf("the Content-Type %q names no type", contentType)
	}
	return base, nil
}

// sniffType goes by the fields, for manifests that nobody declares.
func sniffType(root document) string {
	switch {
	case root.has("manifests"):
		return imagespec.MediaTypeImageIndex
	case root.has("config"), root.has("layers"):
		return imagespec.MediaTypeImageManifest
	}
	return ""
}

// checkShape makes sure that the document has the fields of its own type and
// not those of another: a reader that goes by the fields must come to the same
// type as one that goes by the header (CVE-2021-41190).
func checkShape(mediaType string, root document) error {
	if err := checkVersion(root); err != nil {
		return err
	}
	wanted, unwanted := "config", []string{"manifests", "fsLayers"}
	if isIndex(mediaType) {
		wanted, unwanted = "manifests", []string{"config", "layers", "fsLayers"}
	}
	if !root.has(wanted) {
		return fmt.Errorf("%s is missing, which %s requires", wanted, mediaType)
	}
	for _, name := range unwanted {
		if root.has(name) {
			return fmt.Errorf("%s is ambiguous in a manifest of type %s", name, mediaType)
		}
	}
	return nil
}

func checkVersion(root document) error {
	raw, ok := root.get("schemaVersion")
	if !ok {
		return &problem{"schemaVersion", "is missing"}
	}
	if string(raw) == "1" {
		return &problem{"schemaVersion", "is 1: Docker schema 1 manifests are unsupported"}
	}
	if string(raw) != "2" {
		return &problem{"schemaVersion", "is not 2"}
	}
	return nil
}
