// Package ocitest runs the OCI plane for tests: on each pair of backends, with as many replicas as a test wants, with
// its clock, limits and stores in the test's hands. The package that uses it hands its TestMain over to testenv.Main.
package ocitest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci"
	"github.com/berthregistry/berth/internal/oci/access"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/scrub"
	"github.com/berthregistry/berth/internal/oci/uploads"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/storeurl"
	"github.com/berthregistry/berth/internal/testenv"
)

// AdminToken is the registry token of the administrator of every Env.
const AdminToken = "an-administrator's-token-for-tests"

// Env is a database and a store that replicas share.
type Env struct {
	// DB is the database; its Trips and Commits count those of all replicas.
	DB *database.DB
	// Store is the store as it is, without what a Replica's Options put around it.
	Store storage.Store
	// Name tells which backends they are, "sqlite+folder" or "postgres+s3".
	Name string
}

// Each runs f on SQLite and a folder, and on PostgreSQL and S3.
func Each(t *testing.T, f func(t *testing.T, env *Env)) {
	t.Helper()
	t.Run("sqlite+folder", func(t *testing.T) { f(t, Embedded(t)) })
	t.Run("postgres+s3", func(t *testing.T) { f(t, Servers(t)) })
}

// Embedded is an Env on SQLite and a folder.
func Embedded(tb testing.TB) *Env {
	tb.Helper()
	return newEnv(tb, "sqlite+folder", dbtest.SQLite(tb), "file:"+filepath.Join(tb.TempDir(), "objects"))
}

// Servers is an Env on PostgreSQL and S3.
func Servers(tb testing.TB) *Env {
	tb.Helper()
	return newEnv(tb, "postgres+s3", dbtest.Postgres(tb), testenv.S3(tb))
}

func newEnv(tb testing.TB, name string, db *database.DB, storeURL string) *Env {
	tb.Helper()
	store, err := storeurl.Open(tb.Context(), storeURL, storeurl.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &Env{DB: db, Store: store, Name: name}
}

// Options change a Replica from the defaults of the product.
type Options struct {
	// ChunkSize is the most bytes in a chunk; 0 means 1 MiB, so that tests of several chunks stay small.
	ChunkSize int64
	// MaxBlobSize is the largest blob; 0 means no limit.
	MaxBlobSize int64
	// ProjectQuota, UnclaimedQuota and AccountQuota are in bytes; 0 means none.
	ProjectQuota, UnclaimedQuota, AccountQuota int64
	// Counts are how many things there may be; 0 means any number.
	Counts limits.Server
	// Clock tells the time; nil means time.Now.
	Clock func() time.Time
	// Store stands between the plane and the Env's store; nil means nothing does.
	Store func(storage.Store) storage.Store
	// TagsPage and ReferrersPage are page sizes; 0 means 1000.
	TagsPage, ReferrersPage int
	// Memory and CallerMemory bound what is held for all requests and for those of one caller; 0 means the product's.
	Memory, CallerMemory int64
	// Redirect answers blob GETs with presigned URLs.
	Redirect bool
	// UnclaimedPull lets anonymous pushers pull.
	UnclaimedPull bool
	// CacheTTL is how long answers about tokens, projects and roles are kept; 0 means the product's.
	CacheTTL time.Duration
	// Batch and CompactChunks are of the collector; 0 means the product's.
	Batch, CompactChunks int
	// Logger takes what the collector logs; nil means nowhere.
	Logger *slog.Logger
	// Limits says how often callers may ask; nil means as often as they like.
	Limits *ratelimit.Limiter
	// Audit takes what is refused; nil means nothing does.
	Audit *audit.Recorder
}

func (o Options) withDefaults() Options {
	if o.ChunkSize == 0 {
		o.ChunkSize = 1 << 20
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Store == nil {
		o.Store = func(s storage.Store) storage.Store { return s }
	}
	if o.TagsPage == 0 {
		o.TagsPage = 1000
	}
	if o.ReferrersPage == 0 {
		o.ReferrersPage = 1000
	}
	return o
}

// Replica is one server on an Env.
type Replica struct {
	// URL is where it listens, without a slash at the end.
	URL string
	// Uploads, Auth and Projects are the services behind it.
	Uploads  *uploads.Service
	Auth     *auth.Service
	Projects *projects.Service
	// Activity has what callers without an account do.
	Activity *limits.Activity
	// Collector works when it is told to. Nothing of it runs in the background.
	Collector *gc.Collector
	// Scrubber works when it is told to. It hears of what pulls come upon.
	Scrubber *scrub.Scrubber
	// Handler is the plane itself.
	Handler *oci.Handler
	// Client speaks to it as the administrator.
	Client *Client
}

// Replica starts a server on the Env; it ends with the test.
func (e *Env) Replica(tb testing.TB, opts Options) *Replica {
	tb.Helper()
	opts = opts.withDefaults()
	server := httptest.NewUnstartedServer(nil)
	url := "http://" + server.Listener.Addr().String()
	r := e.build(tb, opts, url)
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.ContextWithFallback = true
	engine.UseEscapedPath = true
	r.Handler.Mount(engine)
	r.Handler.Access.Mount(engine)
	server.Config.Handler = engine
	server.Start()
	tb.Cleanup(server.Close)
	r.Client = &Client{tb: tb, base: url, basic: AdminToken}
	return r
}

func (e *Env) build(tb testing.TB, opts Options, url string) *Replica {
	tb.Helper()
	users, err := auth.NewService(e.DB, auth.Options{
		Clock: opts.Clock, Issuer: "berth-test", Service: "berth-test", CacheTTL: opts.CacheTTL, Limits: opts.Counts,
	})
	check(tb, err)
	_, _, _, err = users.EnsureAdmin(context.Background(), auth.Bootstrap{
		Email: "admin@localhost", Password: "a long password for tests", Token: AdminToken,
	})
	check(tb, err)
	policy, err := rbac.New(rbac.Options{UnclaimedPush: true, UnclaimedPull: opts.UnclaimedPull})
	check(tb, err)
	tenants := projects.NewService(e.DB, projects.Options{Clock: opts.Clock, UnclaimedPush: true, CacheTTL: opts.CacheTTL, Limits: opts.Counts})
	store := opts.Store(e.Store)
	room := quota.New(quota.Config{
		DB: e.DB, Clock: opts.Clock, Project: opts.ProjectQuota, Unclaimed: opts.UnclaimedQuota, Account: opts.AccountQuota,
	})
	up := uploads.New(uploads.Config{
		DB: e.DB, Store: store, Keys: users, Clock: opts.Clock, ChunkSize: opts.ChunkSize, MaxBlobSize: opts.MaxBlobSize,
		Quota: room, Limits: opts.Counts, TTL: 24 * time.Hour, SweepDelay: time.Hour, KeepDamaged: 7 * 24 * time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	scrubber := scrub.New(scrub.Config{DB: e.DB, Store: store, Clock: opts.Clock, Enabled: true, Batch: opts.Batch, Logger: opts.Logger})
	activity := limits.NewActivity(e.DB, opts.Clock, slog.New(slog.DiscardHandler))
	handler := oci.New(oci.Config{
		Activity: activity,
		Access: access.New(access.Config{
			Auth: users, Projects: tenants, Policy: policy, Realm: url + "/auth/token", Service: "berth-test", Limits: opts.Limits,
			Audit: opts.Audit,
		}),
		Content: content.New(content.Config{
			DB: e.DB, Clock: opts.Clock, LinkLife: uploads.LinkLife, TrashLife: 7 * 24 * time.Hour, ManifestCache: 16 << 20,
			Quota: room, Limits: opts.Counts,
		}),
		Uploads: up, Store: store, MaxManifestSize: 4 << 20,
		TagsPage: opts.TagsPage, ReferrersPage: opts.ReferrersPage, Redirect: opts.Redirect, PublicURL: url,
		Memory: opts.Memory, CallerMemory: opts.CallerMemory, Audit: opts.Audit, Suspect: scrubber.Suspect,
	})
	collector := gc.New(gc.Config{
		DB: e.DB, Store: store, Clock: opts.Clock, DatabaseClock: func(context.Context) (time.Time, error) { return opts.Clock(), nil },
		SweepDelay: time.Hour, Batch: opts.Batch, Load: 100,
		OrphanAge: gc.DefaultOrphanAge, CompactChunks: opts.CompactChunks, Logger: opts.Logger,
	})
	return &Replica{
		URL: url, Collector: collector, Scrubber: scrubber, Uploads: up, Auth: users, Projects: tenants, Activity: activity, Handler: handler,
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
