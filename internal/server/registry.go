package server

import (
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci"
	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/content/retention"
	"github.com/berthregistry/berth/internal/oci/scrub"
	"github.com/berthregistry/berth/internal/oci/uploads"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/storage"
)

// newRegistry makes the plane below /v2. Its uploads have work to do in the background.
func newRegistry(
	b *backends, cfg config.Config, e config.Endpoints, opts Options, keys *auth.Service, guard *access.Access,
	room *quota.Quota, activity *limits.Activity, refusals *audit.Recorder, notices *events.QuotaNotices,
	scrubber *scrub.Scrubber,
) *oci.Handler {
	return oci.New(oci.Config{
		Access: guard,
		Content: content.New(content.Config{
			DB: b.db, Clock: opts.Clock, LinkLife: cfg.GC.LinkLife, TrashLife: cfg.Registry.TrashTTL,
			ManifestCache: int64(cfg.Registry.ManifestCache), Quota: room, Limits: counts(cfg.Counts), Logger: opts.Logger,
			MaxRules: cfg.Registry.MaxRules,
		}),
		Uploads: uploads.New(uploads.Config{
			DB: b.db, Store: b.store, Keys: keys, Clock: opts.Clock, Logger: opts.Logger,
			ChunkSize: chunkSize(cfg.Uploads, b.store), MaxBlobSize: int64(cfg.Uploads.MaxBlobSize),
			Quota: room, Limits: counts(cfg.Counts), TTL: cfg.Uploads.TTL, SweepDelay: cfg.Registry.SweepDelay,
			KeepDamaged: cfg.Scrub.Keep,
			LinkLife:    cfg.GC.LinkLife, ExpiryInterval: cfg.GC.Interval,
		}),
		Notices:         notices,
		Store:           b.pulls,
		Activity:        activity,
		MaxManifestSize: int64(cfg.Registry.MaxManifestSize),
		TagsPage:        cfg.Registry.MaxTagsPage,
		ReferrersPage:   cfg.Registry.ReferrersPage,
		Redirect:        cfg.Storage.Redirect,
		PublicURL:       e.PublicURL,
		Audit:           refusals,
		Suspect:         scrubber.Suspect,
	})
}

// newRetention makes what keeps the rules of projects, and applies them.
func newRetention(b *backends, cfg config.Config, opts Options) *retention.Service {
	return retention.New(retention.Config{
		DB: b.db, Clock: opts.Clock, TrashLife: cfg.Registry.TrashTTL, Interval: cfg.Registry.RetentionInterval,
		MaxRules: cfg.Registry.MaxRules, Logger: opts.Logger,
	})
}

// chunkSize is the size of a chunk object in bytes: what was asked for, else what suits the storage.
func chunkSize(cfg config.Uploads, store storage.Store) int64 {
	if cfg.ChunkSize > 0 {
		return int64(cfg.ChunkSize)
	}
	return store.Limits().ChunkSize
}
