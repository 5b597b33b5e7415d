// Package config holds every setting of Berth in one typed struct. Kong reads it from flags and from their BERTH_*
// environment twins; a flag beats the variable, the variable beats the default. Settings are read once, at start.
//
// The struct tags are the reference: name, variable, default and help text of a setting stand beside its field, and
// `berth serve --help` prints them. Validation names settings by their variables.
package config

import "time"

// Config is everything that `berth serve` can be told. The zero value is not valid: start from [Default], or let Kong
// fill it with the options of a [Loader].
type Config struct {
	// HTTP is how the server listens and talks.
	HTTP HTTP `embed:"" group:"Network"`
	// TLS makes the server speak HTTPS itself.
	TLS TLS `embed:"" group:"TLS"`
	// Log is what the process writes to its standard error.
	Log Log `embed:"" group:"Logging"`
	// Database is where Berth keeps what exists.
	Database Database `embed:"" group:"Database"`
	// Storage is where Berth keeps the bytes.
	Storage Storage `embed:"" group:"Storage"`
	// Uploads bounds what pushes may take.
	Uploads Uploads `embed:"" group:"Uploads"`
	// Registry bounds what the registry API accepts and lists.
	Registry Registry `embed:"" group:"Registry"`
	// Quotas bound what tenants may hold.
	Quotas Quotas `embed:"" group:"Quotas"`
	// Counts bound how many things tenants may have.
	Counts Counts `embed:"" group:"Counts"`
	// GC is about giving back what nobody can reach any more.
	GC GC `embed:"" group:"Garbage collection"`
	// Scrub is about reading stored content again.
	Scrub Scrub `embed:"" group:"Scrub"`
	// Tokens is about the bearer tokens of the registry API.
	Tokens Tokens `embed:"" group:"Tokens"`
	// RateLimit bounds how often callers may ask.
	RateLimit RateLimit `embed:"" group:"Rate limits"`
	// Webhooks are how projects tell others what happened in them.
	Webhooks Webhooks `embed:"" group:"Webhooks"`
	// Accounts is about users of the product API.
	Accounts Accounts `embed:"" group:"Accounts"`
	// Unclaimed is about projects that were pushed without an account.
	Unclaimed Unclaimed `embed:"" group:"Unclaimed projects"`
	// Admin is the first user.
	Admin Admin `embed:"" group:"First administrator"`
	// Audit is about the record of who did what.
	Audit Audit `embed:"" group:"Audit log"`
	// Operation is what operators of the process need.
	Operation Operation `embed:"" group:"Operation"`
}

// HTTP is how the server listens and talks.
type HTTP struct {
	// Addr is the host:port to listen on. An empty host means every interface, port 0 a free port.
	Addr string `name:"addr" env:"BERTH_ADDR" default:"127.0.0.1:5000" help:"Listen address."`
	// PublicURL is the URL that clients use, without a path. Realm and service derive from it. Empty: derived from Addr.
	PublicURL string `name:"public-url" env:"BERTH_PUBLIC_URL" placeholder:"URL" help:"URL that clients use; token realm and service derive from it. Default: the listen address."`
	// ReadHeaderTimeout is how long a client may take to send a request's headers.
	ReadHeaderTimeout time.Duration `name:"read-header-timeout" env:"BERTH_READ_HEADER_TIMEOUT" default:"10s" help:"Time to receive the headers of a request."`
	// IdleTimeout is how long a kept-alive connection may stay unused.
	IdleTimeout time.Duration `name:"idle-timeout" env:"BERTH_IDLE_TIMEOUT" default:"120s" help:"Life of an unused kept-alive connection."`
	// BodyIdleTimeout ends a transfer, in either direction, that moved no byte for this long. There is no limit on
	// the whole: a large layer takes its time.
	BodyIdleTimeout time.Duration `name:"body-idle-timeout" env:"BERTH_BODY_IDLE_TIMEOUT" default:"60s" help:"Time without a byte in or out that ends a transfer; its total time is not limited."`
	// DrainTimeout is how long requests under way may go on after the server stopped accepting. At half of it uploads are
	// told to keep what they received and to answer. 0 cuts all at once. The default leaves room before the kill that
	// usually follows the signal to stop after 30 s.
	DrainTimeout time.Duration `name:"drain-timeout" env:"BERTH_DRAIN_TIMEOUT" default:"20s" help:"Time that running requests get to finish when the server stops; at half of it uploads keep what they have and end."`
	// DrainDelay is how long the server goes on accepting after the signal to stop, with /readyz answering 503 already:
	// behind a load balancer a few seconds, until that has noticed. It comes before DrainTimeout.
	DrainDelay time.Duration `name:"drain-delay" env:"BERTH_DRAIN_DELAY" default:"0s" help:"Time between /readyz turning 503 and the end of accepting when the server stops; a few seconds behind a load balancer."`
	// MaxHeaderBytes bounds a request's line and headers together.
	MaxHeaderBytes ByteSize `name:"max-header-bytes" env:"BERTH_MAX_HEADER_BYTES" default:"64KiB" help:"Largest request line plus headers."`
	// TrustedProxies are the CIDRs, or single addresses, whose X-Forwarded-For is believed.
	TrustedProxies []string `name:"trusted-proxies" env:"BERTH_TRUSTED_PROXIES" placeholder:"CIDR" help:"CIDRs whose X-Forwarded-For is believed. Default: none."`
	// CORSOrigins are the origins whose pages may call the API from a browser. Empty: CORS is off.
	CORSOrigins []string `name:"cors-origins" env:"BERTH_CORS_ORIGINS" placeholder:"ORIGIN" help:"Origins whose pages may use the API from a browser. Default: none."`
}

// TLS makes the server speak HTTPS itself. Both files are set, or none. They are read again when they change.
type TLS struct {
	// Cert is the path of the PEM certificate chain, leaf first.
	Cert string `name:"tls-cert" env:"BERTH_TLS_CERT" placeholder:"FILE" help:"PEM certificate chain; read again when it changes."`
	// Key is the path of the PEM private key.
	Key string `name:"tls-key" env:"BERTH_TLS_KEY" placeholder:"FILE" help:"PEM private key of the certificate."`
}

// Enabled says whether the server itself speaks HTTPS.
func (t TLS) Enabled() bool { return t.Cert != "" && t.Key != "" }

// Log is what the process writes to its standard error.
type Log struct {
	// Level is the least severe level that is written: debug, info, warn or error.
	Level string `name:"log-level" env:"BERTH_LOG_LEVEL" default:"info" help:"Least severe level written: debug, info, warn or error."`
	// Format is text or json.
	Format string `name:"log-format" env:"BERTH_LOG_FORMAT" default:"text" help:"Form of the log: text or json."`
}

// Database is where Berth keeps what exists.
type Database struct {
	// URL is sqlite:PATH or postgres://...
	URL SecretURL `name:"database-url" env:"BERTH_DATABASE_URL" default:"sqlite:data/berth.db" help:"sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE."`
	// MaxConns bounds the connections of this replica. 0 leaves the choice to the kind of database.
	MaxConns int `name:"database-max-conns" env:"BERTH_DATABASE_MAX_CONNS" default:"0" help:"Most connections of this replica; 0 lets the kind of database choose."`
	// Timeout is how long PostgreSQL may take for a statement.
	Timeout time.Duration `name:"database-timeout" env:"BERTH_DATABASE_TIMEOUT" default:"30s" help:"Time that PostgreSQL may take for a statement; then clients get 503."`
}

// Storage is where Berth keeps the bytes.
type Storage struct {
	// URL is file:PATH, s3://bucket/prefix?region=&endpoint=&path_style=true, or the ARN of an S3 access point.
	URL SecretURL `name:"storage-url" env:"BERTH_STORAGE_URL" default:"file:data/objects" help:"file:PATH, s3://BUCKET/PREFIX?region=&endpoint=&path_style=true, or the ARN of an S3 access point."`
	// Redirect answers blob GETs with a presigned URL where one object holds the blob.
	Redirect bool `name:"storage-redirect" env:"BERTH_STORAGE_REDIRECT" default:"false" negatable:"" help:"Answer blob downloads with a presigned URL where one object holds the blob."`
	// Cache is the folder for copies of what is pulled from S3. Empty: none are kept.
	Cache string `name:"blob-cache" env:"BERTH_BLOB_CACHE" placeholder:"DIR" help:"Folder on a local disk for copies of what is pulled from S3, which each replica keeps for itself. Default: none are kept."`
	// CacheSize is the most bytes that they take.
	CacheSize ByteSize `name:"blob-cache-size" env:"BERTH_BLOB_CACHE_SIZE" default:"10GiB" help:"Most bytes of copies in BERTH_BLOB_CACHE, at least 64MiB."`
	// Timeout is how long S3 may take to begin an answer, or to take or give the next bytes.
	Timeout time.Duration `name:"storage-timeout" env:"BERTH_STORAGE_TIMEOUT" default:"20s" help:"Time in which S3 has to begin an answer, or to take or give the next bytes; then clients get 503."`
	// Attempts is how often a request is sent to S3 that fails at once.
	Attempts int `name:"storage-attempts" env:"BERTH_STORAGE_ATTEMPTS" default:"4" help:"Times that a request is sent to S3 at most while it fails, 1 to 20; one that is not answered in time is sent once."`
}

// Uploads bounds what pushes may take.
type Uploads struct {
	// ChunkSize is the most bytes in one chunk object. 0 means 16 MiB on S3 and 256 MiB on a folder.
	ChunkSize ByteSize `name:"chunk-size" env:"BERTH_CHUNK_SIZE" default:"0" help:"Bytes per chunk object; 0 means 16MiB on S3 and 256MiB on a folder."`
	// Memory is the most memory, in bytes, that all uploads together hold while storage takes their chunks.
	Memory ByteSize `name:"upload-memory" env:"BERTH_UPLOAD_MEMORY" default:"256MiB" help:"Memory for the spools of all uploads together."`
	// SpoolDir is the folder for what does not fit into Memory. Empty: the system's folder for temporary files.
	SpoolDir string `name:"upload-spool-dir" env:"BERTH_UPLOAD_SPOOL_DIR" placeholder:"DIR" help:"Folder for the spools that do not fit into memory. Default: the system's temporary folder."`
	// SpoolMax is the most bytes that all uploads together may spool in SpoolDir.
	SpoolMax ByteSize `name:"upload-spool-max" env:"BERTH_UPLOAD_SPOOL_MAX" default:"16GiB" help:"Most bytes spooled on disk by all uploads together."`
	// TTL is how long an upload session lives without activity.
	TTL time.Duration `name:"upload-ttl" env:"BERTH_UPLOAD_TTL" default:"24h" help:"Life of an upload session without activity."`
	// MaxBlobSize is the largest blob in bytes. 0 means no limit of its own.
	MaxBlobSize ByteSize `name:"max-blob-size" env:"BERTH_MAX_BLOB_SIZE" default:"0" help:"Largest blob; 0 means no limit."`
}

// Registry bounds what the registry API accepts and lists.
type Registry struct {
	// MaxManifestSize is the largest manifest in bytes, at least the 4 MiB that the specification asks for.
	MaxManifestSize ByteSize `name:"max-manifest-size" env:"BERTH_MAX_MANIFEST_SIZE" default:"4MiB" help:"Largest manifest, from 4MiB to 32MiB."`
	// MaxTagsPage is the most tags, or repositories of the catalog, in one answer.
	MaxTagsPage int `name:"max-tags-page" env:"BERTH_MAX_TAGS_PAGE" default:"1000" help:"Most tags in one answer."`
	// ReferrersPage is the most descriptors in one answer of the referrers API.
	ReferrersPage int `name:"referrers-page" env:"BERTH_REFERRERS_PAGE" default:"1000" help:"Most referrers in one answer."`
	// ManifestCache is the memory, in bytes, for the contents of manifests over 64 KiB. 0 keeps none.
	ManifestCache ByteSize `name:"manifest-cache" env:"BERTH_MANIFEST_CACHE" default:"64MiB" help:"Memory for the contents of large manifests; 0 keeps none."`
	// TrashTTL is how long what was deleted can be brought back.
	TrashTTL time.Duration `name:"trash-ttl" env:"BERTH_TRASH_TTL" default:"168h" help:"Time in which what was deleted can be brought back."`
	// RetentionInterval is how often the retention rules of a project are applied.
	RetentionInterval time.Duration `name:"retention-interval" env:"BERTH_RETENTION_INTERVAL" default:"24h" help:"Time between two applications of a project's retention rules."`
	// MaxRules is the most rules for immutable tags, and the most for retention, in one project.
	MaxRules int `name:"max-rules" env:"BERTH_MAX_RULES" default:"100" help:"Most rules for immutable tags, and most for retention, in a project."`
	// SweepDelay is how long an object that nothing refers to any more stays in storage: longer than any download takes.
	SweepDelay time.Duration `name:"sweep-delay" env:"BERTH_SWEEP_DELAY" default:"24h" help:"Time that released objects stay in storage; longer than any download takes."`
}

// Quotas bound what tenants may hold. 0 is no bound.
type Quotas struct {
	// Project is the most bytes of a project that has no quota of its own.
	Project ByteSize `name:"project-quota" env:"BERTH_PROJECT_QUOTA" default:"0" help:"Most bytes of a project; 0 means no limit."`
	// Account is the most bytes of all projects of an account together.
	Account ByteSize `name:"account-quota" env:"BERTH_ACCOUNT_QUOTA" default:"0" help:"Most bytes of all projects of an account together; 0 means no limit."`
}

// Tokens is about the bearer tokens of the registry API.
type Tokens struct {
	// Realm is the URL where clients fetch tokens. Empty: PublicURL + "/auth/token".
	Realm string `name:"token-realm" env:"BERTH_TOKEN_REALM" placeholder:"URL" help:"URL where clients fetch tokens. Default: /auth/token on the public URL."`
	// Service is the audience of the tokens. Empty: the host of PublicURL.
	Service string `name:"token-service" env:"BERTH_TOKEN_SERVICE" placeholder:"NAME" help:"Audience of the tokens. Default: the host of the public URL."`
	// TTL is how long a token is valid.
	TTL time.Duration `name:"token-ttl" env:"BERTH_TOKEN_TTL" default:"5m" help:"Life of a token."`
}

// Accounts is about users of the product API.
type Accounts struct {
	// SessionTTL is how long somebody who logged in stays logged in.
	SessionTTL time.Duration `name:"session-ttl" env:"BERTH_SESSION_TTL" default:"12h" help:"Life of a log-in to the product API."`
	// SignUp says who may create an account: "closed" is nobody but an administrator, "invite" who was invited, "open" anyone.
	SignUp string `name:"sign-up" env:"BERTH_SIGN_UP" default:"closed" help:"Who may sign up: closed, invite or open."`
}

// Unclaimed is about projects that were pushed without an account.
type Unclaimed struct {
	// Push lets anonymous clients create unclaimed projects and push to them.
	Push bool `name:"unclaimed-push" env:"BERTH_UNCLAIMED_PUSH" default:"true" negatable:"" help:"Let clients without an account push to projects that nobody has claimed."`
	// Slugs says which names such projects may have: "any", or "random" for names that hold 100 random bits.
	Slugs string `name:"unclaimed-slugs" env:"BERTH_UNCLAIMED_SLUGS" default:"any" help:"Names of unclaimed projects: any, or random for names that hold 100 random bits."`
	// Pull lets those who push to an unclaimed project also pull from it.
	Pull bool `name:"unclaimed-pull" env:"BERTH_UNCLAIMED_PULL" default:"false" negatable:"" help:"Let the pushers of an unclaimed project pull from it."`
	// ClaimMode says who may claim such projects: "open", every signed-in user, or "admin", only administrators, who name the owner.
	ClaimMode string `name:"claim-mode" env:"BERTH_CLAIM_MODE" default:"open" help:"Who may claim unclaimed projects: open for every signed-in user, or admin for administrators, who name the owner."`
	// Quota is the most bytes of such a project. 0 is no bound.
	Quota ByteSize `name:"unclaimed-quota" env:"BERTH_UNCLAIMED_QUOTA" default:"1GiB" help:"Most bytes of an unclaimed project; 0 means no limit."`
	// TTL is how long an unclaimed project lives when nobody pushes to it or claims it.
	TTL time.Duration `name:"unclaimed-ttl" env:"BERTH_UNCLAIMED_TTL" default:"168h" help:"Life of an unclaimed project without a push."`
}

// Admin is the first user, created once, when there is no user at all. What is empty is generated and printed once.
type Admin struct {
	// Email is the address to log in with.
	Email string `name:"admin-email" env:"BERTH_ADMIN_EMAIL" default:"admin@localhost" help:"E-mail of the first administrator."`
	// Password opens the product API.
	Password Secret `name:"admin-password" env:"BERTH_ADMIN_PASSWORD" placeholder:"SECRET" help:"Password of the first administrator. Default: generated and printed once."`
	// Token is the registry token, at least 20 characters.
	Token Secret `name:"admin-token" env:"BERTH_ADMIN_TOKEN" placeholder:"SECRET" help:"Registry token of the first administrator, 20 characters or more. Default: generated and printed once."`
}

// Audit is about the record of who did what.
type Audit struct {
	// TTL is how long entries are kept. 0 is for ever.
	TTL time.Duration `name:"audit-ttl" env:"BERTH_AUDIT_TTL" default:"9600h" help:"Time that entries of the audit log are kept; 0 keeps them for ever."`
	// Refusals is how many refusals of one caller and one action are written one by one in a minute; further ones are counted.
	Refusals int `name:"audit-refusals" env:"BERTH_AUDIT_REFUSALS" default:"5" help:"Refusals of one caller and one action that are written to the audit log one by one in a minute; further ones are counted."`
}

// Operation is what operators of the process need.
type Operation struct {
	// MetricsAddr serves /metrics and /debug/pprof without authentication: keep it on a loopback or private address. Empty disables it.
	MetricsAddr string `name:"metrics-addr" env:"BERTH_METRICS_ADDR" default:"127.0.0.1:9090" help:"Address of /metrics and /debug/pprof, without authentication; empty disables both."`
	// Migrate brings the database schema up to date at start. Otherwise `berth migrate` must have done it.
	Migrate bool `name:"migrate" env:"BERTH_MIGRATE" default:"true" negatable:"" help:"Bring the database schema up to date at start."`
}
