package server

import (
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/oci"
	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/uploads"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/storage"
)

// newRegistry makes the plane below /v2. Its uploads have work to do in the background.
func newRegistry(
	b *backends, cfg config.Config, e config.Endpoints, opts Options, keys *auth.Service, guard *access.Access,
	notices *events.QuotaNotices,
) *oci.Handler {
	limits := quota.New(quota.Config{
		DB: b.db, Clock: opts.Clock, Project: int64(cfg.Quotas.Project), Account: int64(cfg.Quotas.Account),
		Unclaimed: int64(cfg.Unclaimed.Quota),
	})
	return oci.New(oci.Config{
		Access: guard,
		Content: content.New(content.Config{
			DB: b.db, Clock: opts.Clock, LinkLife: uploads.LinkLife, TrashLife: cfg.Registry.TrashTTL,
			ManifestCache: int64(cfg.Registry.ManifestCache), Quota: limits, Logger: opts.Logger,
		}),
		Uploads: uploads.New(uploads.Config{
			DB: b.db, Store: b.store, Keys: keys, Clock: opts.Clock, Logger: opts.Logger,
			ChunkSize: chunkSize(cfg.Uploads, b.store), MaxBlobSize: int64(cfg.Uploads.MaxBlobSize),
			Quota: limits, TTL: cfg.Uploads.TTL, SweepDelay: cfg.Registry.SweepDelay,
		}),
		Notices:         notices,
		Store:           b.store,
		MaxManifestSize: int64(cfg.Registry.MaxManifestSize),
		TagsPage:        cfg.Registry.MaxTagsPage,
		ReferrersPage:   cfg.Registry.ReferrersPage,
		Redirect:        cfg.Storage.Redirect,
		PublicURL:       e.PublicURL,
	})
}

// chunkSize is the size of a chunk object in bytes: what was asked for, else what suits the storage.
func chunkSize(cfg config.Uploads, store storage.Store) int64 {
	if cfg.ChunkSize > 0 {
		return int64(cfg.ChunkSize)
	}
	return store.Limits().ChunkSize
}
