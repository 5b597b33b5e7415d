package config

import "time"

// Bounds of collection.
const (
	maxGCBatch       = 10_000
	minGCLease       = time.Second
	minGCOrphanAge   = 25 * time.Hour // a day, and an hour that keys are ahead
	maxGCCompact     = 10_000
	maxGCLoad        = 100
	usualGCOrphanAge = "48h"
)

// GC is about giving back what nobody can reach any more. Every replica may do it, beside its other work.
type GC struct {
	// Enabled lets this replica collect and compact.
	Enabled bool `name:"gc-enabled" env:"BERTH_GC_ENABLED" default:"true" negatable:"" help:"Collect garbage and compact blobs in the background of this replica."`
	// Interval is about how often a collection begins, on one of all replicas, and each looks for blobs to compact.
	Interval time.Duration `name:"gc-interval" env:"BERTH_GC_INTERVAL" default:"1m" help:"Time between collections, of all replicas together."`
	// Batch is how many rows or objects one step takes.
	Batch int `name:"gc-batch" env:"BERTH_GC_BATCH" default:"200" help:"Rows or objects that one step of a collection takes."`
	// Pause is the least pause after each step.
	Pause time.Duration `name:"gc-pause" env:"BERTH_GC_PAUSE" default:"10ms" help:"Least pause after each step of a collection."`
	// Load is the part of its time that a collection works, in per cent.
	Load int `name:"gc-load" env:"BERTH_GC_LOAD" default:"20" help:"Part of its time, in per cent, that a collection works; slow steps make longer pauses."`
	// Lease is how long a replica that has died keeps others from collecting.
	Lease time.Duration `name:"gc-lease" env:"BERTH_GC_LEASE" default:"1m" help:"Time after which another replica takes over from one that has died while collecting."`
	// Retry is when what storage refused is tried again.
	Retry time.Duration `name:"gc-retry" env:"BERTH_GC_RETRY" default:"15m" help:"Time after which objects that were not removed, and blobs that were not compacted, are tried again."`
	// OrphanAge is how old a day is when its objects are looked through. 0 looks through the days under way, each time.
	OrphanAge time.Duration `name:"gc-orphan-age" env:"BERTH_GC_ORPHAN_AGE" default:"48h" help:"Time from the begin of a day until its objects are looked through, once, for such as have no row: 25h or more. 0 looks through those of today each time; never while anybody uploads."`
	// CompactChunks is how many objects a blob may have before it is made one. -1 is any number.
	CompactChunks int `name:"gc-compact-chunks" env:"BERTH_GC_COMPACT_CHUNKS" default:"4" help:"Objects that a blob may have before it is made one: 1 or more; -1 never makes one."`
	// LinkLife is how long a blob stays that no manifest needs. What a pusher is told is there stays for half of it.
	LinkLife time.Duration `name:"gc-link-life" env:"BERTH_GC_LINK_LIFE" default:"24h" help:"Life of a blob that no manifest needs, from its upload on; what a pusher is told is there stays for half of it at least."`
}

func (g GC) check(refuse refuseFunc) {
	checkPositive(refuse, "BERTH_GC_INTERVAL", g.Interval)
	checkRange(refuse, "BERTH_GC_BATCH", g.Batch, 1, maxGCBatch)
	if g.Pause < 0 {
		refuse("BERTH_GC_PAUSE", "%s is negative", g.Pause)
	}
	checkRange(refuse, "BERTH_GC_LOAD", g.Load, 1, maxGCLoad)
	if g.Lease < minGCLease {
		refuse("BERTH_GC_LEASE", "%s is out of range: it may be %s or more", g.Lease, minGCLease)
	}
	checkPositive(refuse, "BERTH_GC_RETRY", g.Retry)
	if g.OrphanAge != 0 && g.OrphanAge < minGCOrphanAge {
		refuse("BERTH_GC_ORPHAN_AGE", "%s is out of range: it may be %s or more, such as %s, or 0", g.OrphanAge, minGCOrphanAge, usualGCOrphanAge)
	}
	if g.CompactChunks != -1 && (g.CompactChunks < 1 || g.CompactChunks > maxGCCompact) {
		refuse("BERTH_GC_COMPACT_CHUNKS", "%d is out of range: it may be 1 to %d, or -1", g.CompactChunks, maxGCCompact)
	}
	checkPositive(refuse, "BERTH_GC_LINK_LIFE", g.LinkLife)
}
