package content

import (
	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"
)

// manifestCache keeps the bytes of large manifests, which never change. Whether one is visible is always asked of the
// database first.
type manifestCache struct {
	cache *otter.Cache[manifestKey, []byte]
}

type manifestKey struct {
	repository uuid.UUID
	digest     digest.Digest
}

// newManifestCache bounds the cache by the bytes that it holds; 0 or less keeps nothing.
func newManifestCache(limit int64) *manifestCache {
	if limit <= 0 {
		return &manifestCache{}
	}
	return &manifestCache{cache: otter.Must(&otter.Options[manifestKey, []byte]{
		MaximumWeight: uint64(limit),
		Weigher:       func(_ manifestKey, content []byte) uint32 { return uint32(min(len(content), 1<<31)) },
	})}
}

func (c *manifestCache) get(repository uuid.UUID, d digest.Digest) ([]byte, bool) {
	if c.cache == nil {
		return nil, false
	}
	return c.cache.GetIfPresent(manifestKey{repository, d})
}

func (c *manifestCache) put(repository uuid.UUID, d digest.Digest, content []byte) {
	if c.cache != nil {
		c.cache.Set(manifestKey{repository, d}, content)
	}
}
