package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/berthregistry/berth/internal/api"
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/server/front"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/diskcache"
	"github.com/berthregistry/berth/internal/storage/observed"
	"github.com/berthregistry/berth/internal/storage/s3"
	"github.com/berthregistry/berth/internal/storage/storeurl"
	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// backends is what outlives the process: the database, which decides what exists, and the storage, which has the bytes.
type backends struct {
	db    *database.DB
	store storage.Store
	// pulls is the store as clients read blobs from it: with copies on a local disk, where the settings want that.
	pulls storage.Store
	// cache tells of those copies. Zero without any.
	cache func() diskcache.Stats
	// spools tells what is on its way to a bucket. Zero for a folder, which needs no spools.
	spools func() s3.SpoolStats
}

// openBackends opens both for a server, and brings the schema up to date, if that is wanted.
func openBackends(ctx context.Context, cfg config.Config, opts Options, observer *observe.Observer) (*backends, error) {
	db, err := openDatabase(ctx, cfg.Database, opts, observer)
	if err != nil {
		return nil, err
	}
	if cfg.Operation.Migrate {
		applied, err := db.Migrate(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("migrate the database: %w", err), db.Close())
		}
		opts.Logger.InfoContext(ctx, "the schema is up to date", slog.Int("migrations_applied", applied))
	}
	return withStore(ctx, db, cfg, opts, observer)
}

// withStore opens the storage beside a database, which it closes where that fails. A storage that does not answer is no
// reason not to start: readiness tells, and it may come back.
func withStore(ctx context.Context, db *database.DB, cfg config.Config, opts Options, observer *observe.Observer) (*backends, error) {
	b := &backends{db: db}
	if err := b.openStore(ctx, cfg, observer); err != nil {
		return nil, errors.Join(fmt.Errorf("BERTH_STORAGE_URL: %w", err), b.close())
	}
	if err := b.store.Check(ctx); err != nil {
		opts.Logger.WarnContext(ctx, "the storage does not answer yet", slog.String("error", err.Error()))
	}
	return b, nil
}

// openStore opens the storage, watched where there is an observer.
func (b *backends) openStore(ctx context.Context, cfg config.Config, observer *observe.Observer) error {
	options := s3.Options{
		UploadMemory: int64(cfg.Uploads.Memory), SpoolDir: cfg.Uploads.SpoolDir, SpoolMax: int64(cfg.Uploads.SpoolMax),
		IdleTimeout: cfg.Storage.Timeout, Attempts: cfg.Storage.Attempts,
	}
	if tracer := observer.Tracer(); tracer != nil {
		options.Middleware = append(options.Middleware, s3.Tracing(tracer))
	}
	store, err := storeurl.Open(ctx, cfg.Storage.URL.Reveal(), storeurl.Options{S3: options})
	if err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	kind := "fs"
	b.spools = func() s3.SpoolStats { return s3.SpoolStats{} }
	if bucket, ok := store.(*s3.Store); ok {
		kind, b.spools = "s3", bucket.SpoolStats
	}
	b.store = observed.Wrap(store, kind, observer)
	b.pulls, b.cache = b.store, func() diskcache.Stats { return diskcache.Stats{} }
	return nil
}

// openCache puts copies on a local disk before a bucket, if that is wanted. Only a server does so: the copies are not what
// a scrub is to see, nor what a program should use that runs beside one. A disk that fails is no reason not to start.
func (b *backends) openCache(cfg config.Storage, opts Options) error {
	if !cfg.HasCache() {
		return nil
	}
	cache, err := diskcache.New(b.store, diskcache.Options{
		Dir: cfg.Cache, Size: int64(cfg.CacheSize), Logger: opts.Logger, Clock: opts.Clock,
	})
	if errors.Is(err, storage.ErrUnavailable) {
		opts.Logger.Warn("blobs are pulled without copies: BERTH_BLOB_CACHE cannot be used until a restart", slog.String("error", err.Error()))
		return nil
	}
	if err != nil {
		return fmt.Errorf("BERTH_BLOB_CACHE: %w", err)
	}
	b.pulls, b.cache = cache, cache.Stats
	return nil
}

func openDatabase(ctx context.Context, cfg config.Database, opts Options, observer *observe.Observer) (*database.DB, error) {
	db, err := database.Open(ctx, databaseConfig(cfg, opts, observer))
	if err != nil {
		return nil, fmt.Errorf("BERTH_DATABASE_URL: %w", err)
	}
	return db, nil
}

func databaseConfig(cfg config.Database, opts Options, observer *observe.Observer) database.Config {
	return database.Config{
		URL: cfg.URL.Reveal(), MaxConns: cfg.MaxConns, Timeout: cfg.Timeout, Logger: opts.Logger, Observer: observer,
	}
}

func (b *backends) checks() []front.Check {
	return []front.Check{{Name: "database", Ask: b.db.Ping}, {Name: "storage", Ask: b.store.Check}}
}

// close releases both, the storage first: nothing writes rows for objects any more.
func (b *backends) close() error {
	var err error
	if b.pulls != nil {
		err = b.pulls.Close() // and the store behind
	}
	return errors.Join(err, b.db.Close())
}

// services is the domain on top of the backends, the planes that serve it and the work that it does by itself.
type services struct {
	auth    *auth.Service
	planes  []front.Plane
	workers []front.Worker
}

func newServices(b *backends, cfg config.Config, e config.Endpoints, opts Options, observer *observe.Observer) (*services, error) {
	policy, err := rbac.New(rbac.Options{UnclaimedPush: cfg.Unclaimed.Push, UnclaimedPull: cfg.Unclaimed.Pull})
	if err != nil {
		return nil, fmt.Errorf("load the policy: %w", err)
	}
	users, err := auth.NewService(b.db, auth.Options{
		Clock: opts.Clock, Issuer: e.PublicURL, Service: e.Service, TokenTTL: cfg.Tokens.TTL,
		Limits: counts(cfg.Counts), Retention: cfg.Counts.Retention, SessionTTL: cfg.Accounts.SessionTTL, SignUp: auth.SignUpMode(cfg.Accounts.SignUp),
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says that it is about auth
	}
	tenants := projects.NewService(b.db, projects.Options{
		Clock: opts.Clock, UnclaimedPush: cfg.Unclaimed.Push, UnclaimedSlugs: cfg.Unclaimed.Slugs, UnclaimedTTL: cfg.Unclaimed.TTL,
		TrashTTL: cfg.Registry.TrashTTL, Limits: counts(cfg.Counts),
	})
	rates, err := newLimiter(cfg.RateLimit, opts.Clock)
	if err != nil {
		return nil, err
	}
	var decisions *rbac.Tally
	if observer != nil {
		decisions = rbac.NewTally()
	}
	refusals := audit.NewRecorder(audit.RecorderConfig{
		DB: b.db, First: cfg.Audit.Refusals, Clock: opts.Clock, Logger: opts.Logger,
	})
	guard := access.New(access.Config{
		Auth: users, Projects: tenants, Policy: policy, Realm: e.Realm, Service: e.Service, Limits: rates,
		Audit: refusals, Decisions: decisions,
	})
	room := quota.New(quota.Config{
		DB: b.db, Clock: opts.Clock, Project: int64(cfg.Quotas.Project), Account: int64(cfg.Quotas.Account),
		Unclaimed: int64(cfg.Unclaimed.Quota),
	})
	activity := limits.NewActivity(b.db, opts.Clock, opts.Logger)
	hooks := newWebhooks(b, cfg.Webhooks, opts)
	notices := events.NewQuotaNotices(b.db, opts.Clock, opts.Logger)
	scrubber := newScrubber(b, cfg, opts)
	registry := newRegistry(b, cfg, e, opts, users, guard, room, activity, refusals, notices, scrubber)
	kept := newRetention(b, cfg, opts)
	collector := newCollector(b, cfg, opts)
	product, err := api.New(api.Config{
		Auth: users, Projects: tenants, Policy: policy, Database: b.db, ClaimMode: cfg.Unclaimed.ClaimMode,
		Content: registry.Content, Retention: kept, Collection: collection{collector, cfg.GC.Enabled}, Webhooks: hooks,
		Scrubbing: scrubbing{scrubber},
		Counts:    counts(cfg.Counts), Quota: room, Limits: rates, Audit: refusals, Decisions: decisions,
		Logger: opts.Logger, Clock: opts.Clock,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says that it is about the API
	}
	publish(observer, figures{
		cfg: cfg, backends: b, limits: rates, decisions: decisions, tenants: tenants, users: users, registry: registry,
		hooks: hooks, scrubber: scrubber, refusals: refusals, kept: kept, collector: collector,
	})
	workers := []front.Worker{
		registry.Uploads, registry.Content, users.LastUses(), tenants.Janitor(opts.Logger), product,
		quota.NewFolder(b.db, opts.Clock, opts.Logger), kept, registry.Content.Measurer(),
		refusals, audit.NewKeeper(b.db, cfg.Audit.TTL, opts.Clock, opts.Logger), users.Janitor(opts.Logger), activity,
		&overrides{store: &limits.Store{DB: b.db, Clock: opts.Clock}, limiter: rates, logger: opts.Logger}, hooks, notices,
		scrubber, frugal{},
	}
	if cfg.GC.Enabled {
		workers = append(workers, collector)
	}
	return &services{auth: users, planes: []front.Plane{guard, registry, product}, workers: workers}, nil
}
