package scrub

import (
	"encoding/json"
	"fmt"
	"time"
)

// Figures are what a scrub has done so far.
type Figures struct {
	// TotalBlobs and TotalBytes were there when it began; it reads its fraction of them.
	TotalBlobs int64 `json:"total_blobs"`
	TotalBytes int64 `json:"total_bytes"`
	// Passed is how many blobs it has passed, read or not: as many of TotalBlobs.
	Passed int64 `json:"passed"`
	// Blobs and Manifests were held against their digests. Bytes were read for that.
	Blobs     int64 `json:"blobs"`
	Manifests int64 `json:"manifests"`
	Bytes     int64 `json:"bytes"`
	// Damaged blobs have other bytes than their digest says, or another length. Those known before count again.
	Damaged int64 `json:"damaged"`
	// Missing blobs have rows without objects.
	Missing int64 `json:"missing"`
	// DamagedManifests have other bytes than their digest says.
	DamagedManifests int64 `json:"damaged_manifests"`
	// Unread blobs could not be read: the storage did not answer.
	Unread int64 `json:"unread"`
	// Changed blobs were collected, compacted or healed while they were read, again and again.
	Changed int64 `json:"changed"`
	// Recovered were found damaged before, and are whole.
	Recovered int64 `json:"recovered"`
}

func (f *Figures) add(o Figures) {
	f.Passed += o.Passed
	f.Blobs += o.Blobs
	f.Manifests += o.Manifests
	f.Bytes += o.Bytes
	f.Damaged += o.Damaged
	f.Missing += o.Missing
	f.DamagedManifests += o.DamagedManifests
	f.Unread += o.Unread
	f.Changed += o.Changed
	f.Recovered += o.Recovered
}

func (f Figures) text() string {
	text, err := json.Marshal(f)
	if err != nil {
		panic(fmt.Sprintf("scrub: %v", err)) // numbers always encode
	}
	return string(text)
}

// Stats is what this replica has done since it started, for metrics.
type Stats struct {
	// Total is the sum of all scrubs, and of what pulls came upon. Of its totals of what there is it has none.
	Total Figures
	// Runs is how many scrubs ended here, Failed how many of them had to stop before they were done.
	Runs, Failed int64
	// Suspects is how many blobs were looked at because a pull came upon them.
	Suspects int64
	// Running says that a scrub is under way on this replica.
	Running bool
	// LastFinished is when the last one ended here; zero: none has.
	LastFinished time.Time
}

// Stats returns the figures of this replica.
func (s *Scrubber) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// count changes the figures of this replica.
func (s *Scrubber) count(change func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}
