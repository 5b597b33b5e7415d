package gc

import "time"

// Figures are what a collection, or a compaction, did; or what one would do.
type Figures struct {
	// Projects, Repositories, Manifests and Tags were purged from the trash for good.
	Projects     int64 `json:"projects"`
	Repositories int64 `json:"repositories"`
	Manifests    int64 `json:"manifests"`
	Tags         int64 `json:"tags"`
	// Links showed a blob in a repository, and nothing needed them.
	Links int64 `json:"links"`
	// Blobs had no link any more. Their bytes, BlobBytes, are removed after the sweep delay.
	Blobs     int64 `json:"blobs"`
	BlobBytes int64 `json:"blob_bytes"`
	// RemovedObjects were removed from storage, with RemovedBytes: what is reclaimed.
	RemovedObjects int64 `json:"removed_objects"`
	RemovedBytes   int64 `json:"removed_bytes"`
	// Days were looked through for objects without a row. Orphans, with OrphanBytes, had none, and are doomed.
	Days        int64 `json:"days"`
	Orphans     int64 `json:"orphans"`
	OrphanBytes int64 `json:"orphan_bytes"`
	// CompactedBlobs were made one object each, of CompactedBytes in all.
	CompactedBlobs int64 `json:"compacted_blobs"`
	CompactedBytes int64 `json:"compacted_bytes"`
}

func (f *Figures) add(o Figures) {
	f.Projects += o.Projects
	f.Repositories += o.Repositories
	f.Manifests += o.Manifests
	f.Tags += o.Tags
	f.Links += o.Links
	f.Blobs += o.Blobs
	f.BlobBytes += o.BlobBytes
	f.RemovedObjects += o.RemovedObjects
	f.RemovedBytes += o.RemovedBytes
	f.Days += o.Days
	f.Orphans += o.Orphans
	f.OrphanBytes += o.OrphanBytes
	f.CompactedBlobs += o.CompactedBlobs
	f.CompactedBytes += o.CompactedBytes
}

// Stats is what this replica has done since it started, for metrics.
type Stats struct {
	// Total is the sum of all collections and compactions.
	Total Figures
	// Runs is how many collections were finished, Failed how many of them with an error.
	Runs, Failed int64
	// CompactionsLost is how many composed objects were thrown away because the blob had changed or gone.
	CompactionsLost int64
	// CompactionsFailed is how many blobs could not be compacted, for now.
	CompactionsFailed int64
	// Running says that a collection is under way on this replica.
	Running bool
	// LastFinished is when the last one ended; zero: none has.
	LastFinished time.Time
	// LastDuration is how long it took, pauses included.
	LastDuration time.Duration
}

// Stats returns the figures of this replica.
func (c *Collector) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// count changes the figures of this replica.
func (c *Collector) count(change func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.stats)
}
