package server

import "github.com/berthregistry/berth/internal/telemetry/observe"

// The figures of what a replica does by itself in the background.

func (f figures) audit() []observe.Figure {
	return []observe.Figure{{
		Name: "berth.audit.refusals", Unit: "{refusal}", Kind: observe.Counter, Help: "Refusals that the audit log was told of.",
		Read: func(say observe.Say) {
			stats := f.refusals.Stats()
			say(stats.Written, observe.Text("berth.outcome", "written"))
			say(stats.Sampled, observe.Text("berth.outcome", "sampled"))
			say(stats.Dropped, observe.Text("berth.outcome", "dropped"))
		},
	}}
}

func (f figures) retention() []observe.Figure {
	return []observe.Figure{
		{
			Name: "berth.retention.runs", Unit: "{run}", Kind: observe.Counter,
			Help: "Projects that retention rules were applied to.",
			Read: func(say observe.Say) {
				stats := f.kept.Stats()
				say(stats.Runs-stats.Failures, observe.Text("berth.outcome", "applied"))
				say(stats.Failures, observe.Text("berth.outcome", "failed"))
			},
		},
		{
			Name: "berth.retention.deletions", Unit: "{deletion}", Kind: observe.Counter, Help: "What retention rules deleted.",
			Read: func(say observe.Say) {
				stats := f.kept.Stats()
				say(stats.Tags, observe.Text("berth.kind", "tag"))
				say(stats.Manifests, observe.Text("berth.kind", "manifest"))
			},
		},
	}
}

func (f figures) collections() []observe.Figure {
	return []observe.Figure{
		{
			Name: "berth.gc.runs", Unit: "{run}", Kind: observe.Counter, Help: "Collections that this replica has ended.",
			Read: func(say observe.Say) {
				stats := f.collector.Stats()
				say(stats.Runs-stats.Failed, observe.Text("berth.outcome", "finished"))
				say(stats.Failed, observe.Text("berth.outcome", "failed"))
			},
		},
		{
			Name: "berth.gc.running", Unit: "{run}", Kind: observe.UpDown, Help: "Collections that are under way on this replica.",
			Read: observe.Value(func() int64 {
				if f.collector.Stats().Running {
					return 1
				}
				return 0
			}),
		},
		{
			Name: "berth.gc.last.duration", Unit: "s", Kind: observe.Gauge,
			Help: "How long the last collection of this replica took, pauses included.",
			Read: observe.Value(func() int64 { return int64(f.collector.Stats().LastDuration.Seconds()) }),
		},
	}
}

// collected is what collections did.
func (f figures) collected() []observe.Figure {
	return []observe.Figure{
		{
			Name: "berth.gc.removals", Unit: "{removal}", Kind: observe.Counter, Help: "What this replica has removed for good.",
			Read: func(say observe.Say) {
				total := f.collector.Stats().Total
				for kind, n := range map[string]int64{
					"project": total.Projects, "repository": total.Repositories, "manifest": total.Manifests, "tag": total.Tags,
					"link": total.Links, "blob": total.Blobs, "object": total.RemovedObjects, "orphan": total.Orphans,
				} {
					say(n, observe.Text("berth.kind", kind))
				}
			},
		},
		{
			Name: "berth.gc.reclaimed", Unit: "By", Kind: observe.Counter, Help: "What the removed objects occupied in the storage.",
			Read: observe.Value(func() int64 { return f.collector.Stats().Total.RemovedBytes }),
		},
		{
			Name: "berth.gc.compactions", Unit: "{blob}", Kind: observe.Counter,
			Help: "Blobs of many chunks that were to be made one object each.",
			Read: func(say observe.Say) {
				stats := f.collector.Stats()
				say(stats.Total.CompactedBlobs, observe.Text("berth.outcome", "compacted"))
				say(stats.CompactionsLost, observe.Text("berth.outcome", "lost"))
				say(stats.CompactionsFailed, observe.Text("berth.outcome", "failed"))
			},
		},
	}
}
