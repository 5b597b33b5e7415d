package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/oci/digests"
	"github.com/berthregistry/berth/internal/oci/ocierr"
)

// readDescriptor reads the required fields of a descriptor (OCI Image
// Specification, descriptor.md, section "Properties"). A missing media type is
// let through: it is of no use to the registry, and old tools left it out.
func readDescriptor(raw []byte) (Descriptor, error) {
	if !isObject(raw) {
		return Descriptor{}, errors.New("not a descriptor")
	}
	known, err := readFields(raw, descriptorNames)
	if err != nil {
		return Descriptor{}, err
	}
	var one Descriptor
	if mediaType := known[0]; mediaType != nil && !isNull(mediaType) {
		if one.MediaType, err = readText("mediaType", mediaType); err != nil {
			return Descriptor{}, err
		}
	}
	if one.Digest, err = readDigest(known[1]); err != nil {
		return Descriptor{}, err
	}
	one.Platform = readPlatform(known[6])
	one.Size, err = readSize(known[2])
	return one, err
}

// readPlatform reads a platform, which is shown to people and nothing else:
// what cannot be read is none.
func readPlatform(raw []byte) string {
	var platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	}
	if raw == nil || json.Unmarshal(raw, &platform) != nil || platform.OS == "" || platform.Architecture == "" {
		return ""
	}
	name := platform.OS + "/" + platform.Architecture
	if platform.Variant != "" {
		name += "/" + platform.Variant
	}
	return name
}

func readDigest(raw []byte) (digest.Digest, error) {
	if raw == nil || !isString(raw) {
		return "", &problem{"digest", "is missing, or no string"}
	}
	parsed, err := digests.Parse(unquote(raw))
	if err != nil {
		return "", &problem{"digest", "is invalid: " + ocierr.From(err).Message}
	}
	return parsed, nil
}

// readSize takes an integer in digits only: readers disagree on 1e3 and 10.0.
func readSize(raw []byte) (int64, error) {
	if raw == nil {
		return 0, &problem{"size", "is missing"}
	}
	size, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || raw[0] == '-' {
		return 0, &problem{"size", "is not a size in bytes"}
	}
	return size, nil
}

// set is a list of descriptors with each digest once.
type set struct {
	list []Descriptor
	at   map[digest.Digest]int
}

func newSet(capacity int) *set {
	return &set{at: make(map[digest.Digest]int, capacity)}
}

// add refuses a digest that comes back with another size: one of the two is
// wrong.
func (s *set) add(one Descriptor) error {
	at, ok := s.at[one.Digest]
	if !ok {
		s.at[one.Digest] = len(s.list)
		s.list = append(s.list, one)
		return nil
	}
	if s.list[at].Size != one.Size {
		return &problem{"size", fmt.Sprintf("is %d, and %d elsewhere for the same digest", one.Size, s.list[at].Size)}
	}
	return nil
}
