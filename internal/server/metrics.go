package server

import (
	"context"
	"sync"
	"time"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/events/webhooks"
	"github.com/berthregistry/berth/internal/oci"
	"github.com/berthregistry/berth/internal/oci/content/retention"
	"github.com/berthregistry/berth/internal/oci/gc"
	"github.com/berthregistry/berth/internal/oci/scrub"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/recent"
	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// figures is where the numbers come from that components keep by themselves.
type figures struct {
	cfg       config.Config
	backends  *backends
	limits    *ratelimit.Limiter
	decisions *rbac.Tally
	tenants   *projects.Service
	users     *auth.Service
	registry  *oci.Handler
	hooks     *webhooks.Service
	scrubber  *scrub.Scrubber
	refusals  *audit.Recorder
	kept      *retention.Service
	collector *gc.Collector
}

// publish makes metrics of the figures. A component with a method Stats is added by a function like those below, one
// observe.Figure for each field, and a line here; then docs/telemetry.md gets a line for each, which a test asks for.
func publish(o *observe.Observer, f figures) {
	o.Publish(f.database()...)
	o.Publish(f.spools()...)
	o.Publish(f.uploads()...)
	o.Publish(f.limiter()...)
	o.Publish(f.access()...)
	o.Publish(f.memory()...)
	o.Publish(f.webhooks()...)
	o.Publish(f.scrub()...)
	o.Publish(f.audit()...)
	o.Publish(f.retention()...)
	if f.cfg.GC.Enabled {
		o.Publish(f.collections()...)
		o.Publish(f.collected()...)
	}
}

func (f figures) database() []observe.Figure {
	db, pool := f.backends.db, observe.Text("db.client.connection.pool.name", f.backends.db.Dialect())
	return []observe.Figure{
		{
			Name: "db.client.connection.count", Unit: "{connection}", Kind: observe.UpDown,
			Help: "The number of connections that are currently in state described by the state attribute.",
			Read: func(say observe.Say) {
				stats := db.Stats()
				say(stats.Used, pool, observe.Text("db.client.connection.state", "used"))
				say(stats.Idle, pool, observe.Text("db.client.connection.state", "idle"))
			},
		},
		{
			Name: "db.client.connection.max", Unit: "{connection}", Kind: observe.UpDown,
			Help: "The maximum number of open connections allowed.",
			Read: func(say observe.Say) { say(db.Stats().Max, pool) },
		},
		{
			Name: "berth.db.trips", Unit: "{trip}", Kind: observe.Counter, Help: "Exchanges with the database.",
			Read: observe.Value(db.Trips),
		},
		{
			Name: "berth.db.commits", Unit: "{transaction}", Kind: observe.Counter, Help: "Transactions that were committed.",
			Read: observe.Value(db.Commits),
		},
		{
			Name: "berth.db.group.transactions", Unit: "{transaction}", Kind: observe.Counter,
			Help: "Transactions of SQLite's one writer, each of which makes one or more batches durable.",
			Read: observe.Value(func() int64 { return db.Stats().Groups }),
		},
		{
			Name: "berth.db.group.batches", Unit: "{batch}", Kind: observe.Counter,
			Help: "Batches in the transactions of SQLite's one writer.",
			Read: observe.Value(func() int64 { return db.Stats().Grouped }),
		},
	}
}

func (f figures) spools() []observe.Figure {
	memory, disk := observe.Text("berth.spool.medium", "memory"), observe.Text("berth.spool.medium", "disk")
	return []observe.Figure{
		{
			Name: "berth.upload.spool.objects", Unit: "{object}", Kind: observe.UpDown,
			Help: "Chunks that are gathered here before S3 takes them.",
			Read: observe.Value(func() int64 { return f.backends.spools().Spools }),
		},
		{
			Name: "berth.upload.spool.usage", Unit: "By", Kind: observe.UpDown, Help: "What these chunks occupy.",
			Read: func(say observe.Say) {
				stats := f.backends.spools()
				say(stats.MemoryBytes, memory)
				say(stats.DiskBytes, disk)
			},
		},
		{
			Name: "berth.upload.spool.limit", Unit: "By", Kind: observe.UpDown, Help: "What they may occupy.",
			Read: func(say observe.Say) {
				say(int64(f.cfg.Uploads.Memory), memory)
				say(int64(f.cfg.Uploads.SpoolMax), disk)
			},
		},
	}
}

func (f figures) uploads() []observe.Figure {
	open := &sampled{ask: f.registry.Uploads.OpenSessions}
	return []observe.Figure{
		{
			Name: "berth.upload.writers", Unit: "{request}", Kind: observe.UpDown,
			Help: "Requests that are writing to an upload session through this replica.",
			Read: observe.Value(func() int64 { return int64(f.registry.Uploads.Stats().Writers) }),
		},
		{
			Name: "berth.upload.sessions", Unit: "{session}", Kind: observe.Gauge,
			Help: "Upload sessions of all replicas that hold bytes and wait for more.",
			Read: observe.Value(open.value),
		},
	}
}

func (f figures) limiter() []observe.Figure {
	return []observe.Figure{
		{
			Name: "berth.ratelimit.decisions", Unit: "{decision}", Kind: observe.Counter,
			Help: "Requests that were counted against a rate limit.",
			Read: func(say observe.Say) {
				for _, count := range f.limits.Stats().Classes {
					class := observe.Text("berth.ratelimit.class", count.Class.String())
					say(int64(count.Allowed), class, observe.Text("berth.outcome", "allowed"))
					say(int64(count.Limited), class, observe.Text("berth.outcome", "limited"))
				}
			},
		},
		{
			Name: "berth.ratelimit.shared", Unit: "{decision}", Kind: observe.Counter,
			Help: "Those of these requests whose callers had to share a bucket, as there was no room for one of their own.",
			Read: func(say observe.Say) {
				for _, count := range f.limits.Stats().Classes {
					say(int64(count.Shared), observe.Text("berth.ratelimit.class", count.Class.String()))
				}
			},
		},
		{
			Name: "berth.ratelimit.keys", Unit: "{bucket}", Kind: observe.UpDown, Help: "Buckets in memory.",
			Read: observe.Value(func() int64 { return int64(f.limits.Stats().Keys) }),
		},
	}
}

func (f figures) access() []observe.Figure {
	return []observe.Figure{
		{
			Name: "berth.authorization.decisions", Unit: "{decision}", Kind: observe.Counter,
			Help: "What the policy said to requests.",
			Read: func(say observe.Say) {
				for _, one := range f.decisions.Stats() {
					say(int64(one.Count), observe.Text("berth.action", string(one.Action)), observe.Text("berth.outcome", one.Outcome.String()),
						observe.Text("berth.principal.kind", one.Principal), observe.Text("berth.project.kind", one.Project))
				}
			},
		},
		{
			Name: "berth.project.claims", Unit: "{claim}", Kind: observe.Counter, Help: "Claims of unclaimed projects.",
			Read: func(say observe.Say) {
				stats := f.tenants.Stats()
				say(int64(stats.Claimed), observe.Text("berth.outcome", "claimed"))
				say(int64(stats.ClaimsLost), observe.Text("berth.outcome", "lost"))
				say(int64(stats.ClaimErrors), observe.Text("berth.outcome", "failed"))
			},
		},
	}
}

func (f figures) memory() []observe.Figure {
	return []observe.Figure{
		{
			Name: "berth.cache.requests", Unit: "{request}", Kind: observe.Counter,
			Help: "Questions that memory, or for blobs the local disk, answered or did not.",
			Read: func(say observe.Say) {
				for name, stats := range f.caches() {
					cache := observe.Text("berth.cache.name", name)
					say(int64(stats.Hits), cache, observe.Text("berth.outcome", "hit"))
					say(int64(stats.Misses), cache, observe.Text("berth.outcome", "miss"))
				}
				if f.cfg.Storage.HasCache() {
					f.sayBlobs(say)
				}
			},
		},
		{
			Name: "berth.cache.blobs.usage", Unit: "By", Kind: observe.UpDown, Help: "What copies of blobs occupy of the local disk.",
			Read: observe.Value(func() int64 { return f.backends.cache().Bytes }),
		},
		{
			Name: "berth.cache.manifests.usage", Unit: "By", Kind: observe.UpDown, Help: "What large manifests occupy in memory.",
			Read: observe.Value(func() int64 { return int64(f.registry.Content.Stats().ManifestBytes) }),
		},
	}
}

// sayBlobs tells of reads of blobs from a bucket. One that joins another while that is under way is neither hit nor miss.
func (f figures) sayBlobs(say observe.Say) {
	stats, blobs := f.backends.cache(), observe.Text("berth.cache.name", "blobs")
	say(stats.Hits, blobs, observe.Text("berth.outcome", "hit"))
	say(stats.Shared, blobs, observe.Text("berth.outcome", "shared"))
	say(stats.Misses, blobs, observe.Text("berth.outcome", "miss"))
}

func (f figures) webhooks() []observe.Figure {
	return []observe.Figure{
		{
			Name: "berth.webhook.attempts", Unit: "{attempt}", Kind: observe.Counter,
			Help: "Attempts to deliver an event to a webhook.",
			Read: func(say observe.Say) {
				stats := f.hooks.Stats()
				say(stats.Delivered, observe.Text("berth.outcome", "delivered"))
				say(stats.Failed, observe.Text("berth.outcome", "failed"))
			},
		},
		{
			Name: "berth.webhook.dead", Unit: "{delivery}", Kind: observe.Counter,
			Help: "Events that were given up after their last attempt.",
			Read: observe.Value(func() int64 { return f.hooks.Stats().Dead }),
		},
		{
			Name: "berth.webhook.pending", Unit: "{delivery}", Kind: observe.Gauge,
			Help: "Events of all replicas that wait to be delivered.",
			Read: observe.Value(func() int64 { return f.hooks.Stats().Pending }),
		},
		{
			Name: "berth.webhook.pending.age", Unit: "s", Kind: observe.Gauge,
			Help: "How long the oldest of them has waited.",
			Read: observe.Value(func() int64 { return int64(f.hooks.Stats().OldestPending.Seconds()) }),
		},
	}
}

func (f figures) scrub() []observe.Figure {
	open := &sampled{ask: f.scrubber.Open}
	return []observe.Figure{
		{
			Name: "berth.scrub.bytes", Unit: "By", Kind: observe.Counter, Help: "Bytes that scrubs through this replica have read.",
			Read: observe.Value(func() int64 { return f.scrubber.Stats().Total.Bytes }),
		},
		{
			Name: "berth.scrub.objects", Unit: "{object}", Kind: observe.Counter,
			Help: "Blobs and manifests that scrubs, or pulls that came upon something, have looked at.",
			Read: func(say observe.Say) {
				total := f.scrubber.Stats().Total
				say(total.Blobs+total.Manifests-total.Damaged-total.Missing-total.DamagedManifests, observe.Text("berth.outcome", "whole"))
				say(total.Damaged+total.DamagedManifests, observe.Text("berth.outcome", "damaged"))
				say(total.Missing, observe.Text("berth.outcome", "missing"))
				say(total.Unread, observe.Text("berth.outcome", "unread"))
			},
		},
		{
			Name: "berth.scrub.running", Unit: "{scrub}", Kind: observe.UpDown, Help: "Scrubs under way on this replica.",
			Read: observe.Value(func() int64 {
				if f.scrubber.Stats().Running {
					return 1
				}
				return 0
			}),
		},
		{
			Name: "berth.scrub.findings", Unit: "{finding}", Kind: observe.Gauge,
			Help: "Blobs and manifests of all replicas that are damaged and were not pushed again.",
			Read: observe.Value(open.value),
		},
	}
}

func (f figures) caches() map[string]recent.Stats {
	users, tenants, manifests := f.users.Stats(), f.tenants.Stats(), f.registry.Content.Stats()
	return map[string]recent.Stats{
		"secrets": users.Secrets, "credentials": users.Credentials, "sessions": users.Sessions, "tokens": users.Tokens,
		"projects": tenants.Projects, "roles": tenants.Roles, "grants": tenants.Grants,
		"manifests": {Hits: manifests.ManifestHits, Misses: manifests.ManifestMisses},
	}
}

const (
	// sampleLife is how long a figure counts that the database has to be asked for.
	sampleLife = 30 * time.Second
	// sampleTimeout is how long a scrape waits for it.
	sampleTimeout = 2 * time.Second
)

// sampled is a figure that costs something: it is asked for when somebody collects metrics, and not more often than every
// sampleLife. While it cannot be had, it stays what it was.
type sampled struct {
	ask func(context.Context) (int64, error)

	mu    sync.Mutex
	asked time.Time
	last  int64
}

func (s *sampled) value() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) < sampleLife {
		return s.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), sampleTimeout)
	defer cancel()
	if n, err := s.ask(ctx); err == nil {
		s.last = n
	}
	s.asked = time.Now()
	return s.last
}
