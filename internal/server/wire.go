package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/berthregistry/berth/internal/api"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/server/front"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
	"github.com/berthregistry/berth/internal/storage/storeurl"
)

// backends is what outlives the process: the database, which decides what exists, and the storage, which has the bytes.
type backends struct {
	db    *database.DB
	store storage.Store
}

// openBackends opens both and brings the schema up to date, if that is wanted. A storage that does not answer is no
// reason not to start: readiness tells, and it may come back.
func openBackends(ctx context.Context, cfg config.Config, opts Options) (*backends, error) {
	db, err := openDatabase(ctx, cfg.Database, opts)
	if err != nil {
		return nil, err
	}
	b := &backends{db: db}
	if cfg.Operation.Migrate {
		applied, err := db.Migrate(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("migrate the database: %w", err), b.close())
		}
		opts.Logger.InfoContext(ctx, "the schema is up to date", slog.Int("migrations_applied", applied))
	}
	b.store, err = storeurl.Open(ctx, cfg.Storage.URL.Reveal(), storeurl.Options{
		S3: s3.Options{
			UploadMemory: int64(cfg.Uploads.Memory),
			SpoolDir:     cfg.Uploads.SpoolDir,
			SpoolMax:     int64(cfg.Uploads.SpoolMax),
		},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("BERTH_STORAGE_URL: %w", err), b.close())
	}
	if err := b.store.Check(ctx); err != nil {
		opts.Logger.WarnContext(ctx, "the storage does not answer yet", slog.String("error", err.Error()))
	}
	return b, nil
}

func openDatabase(ctx context.Context, cfg config.Database, opts Options) (*database.DB, error) {
	db, err := database.Open(ctx, database.Config{URL: cfg.URL.Reveal(), MaxConns: cfg.MaxConns, Logger: opts.Logger})
	if err != nil {
		return nil, fmt.Errorf("BERTH_DATABASE_URL: %w", err)
	}
	return db, nil
}

func (b *backends) checks() []front.Check {
	return []front.Check{{Name: "database", Ask: b.db.Ping}, {Name: "storage", Ask: b.store.Check}}
}

// close releases both, the storage first: nothing writes rows for objects any more.
func (b *backends) close() error {
	var err error
	if b.store != nil {
		err = b.store.Close()
	}
	return errors.Join(err, b.db.Close())
}

// services is the domain on top of the backends, the planes that serve it and the work that it does by itself.
type services struct {
	auth    *auth.Service
	planes  []front.Plane
	workers []front.Worker
}

func newServices(b *backends, cfg config.Config, e config.Endpoints, opts Options) (*services, error) {
	policy, err := rbac.New(rbac.Options{UnclaimedPush: cfg.Unclaimed.Push, UnclaimedPull: cfg.Unclaimed.Pull})
	if err != nil {
		return nil, fmt.Errorf("load the policy: %w", err)
	}
	users, err := auth.NewService(b.db, auth.Options{
		Clock: opts.Clock, Issuer: e.PublicURL, Service: e.Service, TokenTTL: cfg.Tokens.TTL,
		SessionTTL: cfg.Accounts.SessionTTL, SignUp: auth.SignUpMode(cfg.Accounts.SignUp),
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says that it is about auth
	}
	tenants := projects.NewService(b.db, projects.Options{
		Clock: opts.Clock, UnclaimedPush: cfg.Unclaimed.Push, UnclaimedSlugs: cfg.Unclaimed.Slugs, UnclaimedTTL: cfg.Unclaimed.TTL,
		TrashTTL: cfg.Registry.TrashTTL,
	})
	limits, err := newLimiter(cfg.RateLimit, opts.Clock)
	if err != nil {
		return nil, err
	}
	guard := access.New(access.Config{
		Auth: users, Projects: tenants, Policy: policy, Realm: e.Realm, Service: e.Service, Limits: limits,
	})
	hooks := newWebhooks(b, cfg.Webhooks, opts)
	notices := events.NewQuotaNotices(b.db, opts.Clock, opts.Logger)
	registry := newRegistry(b, cfg, e, opts, users, guard, notices)
	product, err := api.New(api.Config{
		Auth: users, Projects: tenants, Policy: policy, Database: b.db, Webhooks: hooks, ClaimMode: cfg.Unclaimed.ClaimMode,
		Limits: limits, Logger: opts.Logger, Clock: opts.Clock,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says that it is about the API
	}
	return &services{
		auth: users, planes: []front.Plane{guard, registry, product},
		workers: []front.Worker{
			registry.Uploads, registry.Content, users.LastUses(), tenants.Janitor(opts.Logger), product,
			quota.NewFolder(b.db, opts.Clock, opts.Logger), hooks, notices,
		},
	}, nil
}
