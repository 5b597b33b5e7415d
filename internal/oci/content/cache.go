package content

import (
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"
)

// manifestCache keeps the bytes of large manifests, which never change. Whether one is visible is always asked of the
// database first.
type manifestCache struct {
	cache        *otter.Cache[manifestKey, []byte]
	hits, misses atomic.Uint64
}

// Stats are the figures of a Store.
type Stats struct {
	// ManifestHits and ManifestMisses are how often the bytes of a large manifest were in memory, and were not.
	ManifestHits, ManifestMisses uint64
	// ManifestBytes is the memory that they take.
	ManifestBytes uint64
}

// Stats tells of how much use the memory is.
func (s *Store) Stats() Stats {
	stats := Stats{ManifestHits: s.manifests.hits.Load(), ManifestMisses: s.manifests.misses.Load()}
	if s.manifests.cache != nil {
		stats.ManifestBytes = s.manifests.cache.WeightedSize()
	}
	return stats
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
	content, ok := c.cache.GetIfPresent(manifestKey{repository, d})
	if ok {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return content, ok
}

func (c *manifestCache) put(repository uuid.UUID, d digest.Digest, content []byte) {
	if c.cache != nil {
		c.cache.Set(manifestKey{repository, d}, content)
	}
}
