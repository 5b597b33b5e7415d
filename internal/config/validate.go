package config

import (
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of settings that have any.
const (
	minChunkS3      = 5 * MiB // S3 takes no smaller part of a multipart upload
	minChunkFile    = 1 * MiB
	usualChunkS3    = 16 * MiB // what the stores' Limits suggest, from where the server takes it; a test there compares
	usualChunkFile  = 256 * MiB
	maxChunk        = 5 * GiB // S3 takes no larger object in one request
	minManifest     = 4 * MiB // the OCI specification: registries should accept manifests of this size
	maxManifest     = 32 * MiB
	minHeaderBytes  = 4 * KiB
	maxHeaderBytes  = 1 * MiB
	maxPage         = 10_000
	maxConns        = 10_000
	maxAttempts     = 20
	maxRefusals     = 10_000
	minTokenLen     = 20
	minPasswordLen  = 8
	maxSecretLen    = 512 // of passwords and tokens
	maxEmailLen     = 254
	maxChunksOfBlob = 10_000
	minBlobCache    = 64 * MiB
)

func (c Config) check(refuse refuseFunc) {
	for _, section := range []Section{
		c.HTTP, c.TLS, c.Log, c.Database, c.Storage, c.Uploads, c.Registry, c.Quotas, c.Counts, c.GC, c.Scrub, c.Tokens, c.RateLimit,
		c.Accounts, c.Unclaimed, c.Admin, c.Audit, c.Webhooks, c.Operation,
	} {
		section.check(refuse)
	}
	c.checkChunks(refuse)
}

// checkChunks judges the chunk size, whose bounds the kind of storage sets.
func (c Config) checkChunks(refuse refuseFunc) {
	size, least, where := usualChunkFile, minChunkFile, "in a folder"
	if c.Storage.isS3() {
		size, least, where = usualChunkS3, minChunkS3, "on S3"
	}
	if c.Uploads.ChunkSize != 0 {
		size = c.Uploads.ChunkSize
	}
	if size < least || size > maxChunk {
		refuse("BERTH_CHUNK_SIZE", "%s is out of range: chunks %s take %s to %s", size, where, least, maxChunk)
	}
	if c.Storage.isS3() && c.Uploads.Memory > 0 && c.Uploads.SpoolMax > 0 && c.Uploads.SpoolMax < size {
		refuse("BERTH_UPLOAD_SPOOL_MAX", "%s does not hold one chunk of %s", c.Uploads.SpoolMax, size)
	}
	if most := c.Uploads.MaxBlobSize; most > 0 && most/maxChunksOfBlob >= size {
		refuse("BERTH_MAX_BLOB_SIZE", "%s cannot be reached with %d chunks of %s: raise BERTH_CHUNK_SIZE",
			most, maxChunksOfBlob, size)
	}
}

func (h HTTP) check(refuse refuseFunc) {
	checkListen(refuse, "BERTH_ADDR", h.Addr)
	if h.PublicURL != "" {
		checkPublicURL(refuse, "BERTH_PUBLIC_URL", h.PublicURL)
	}
	checkPositive(refuse, "BERTH_READ_HEADER_TIMEOUT", h.ReadHeaderTimeout)
	checkPositive(refuse, "BERTH_IDLE_TIMEOUT", h.IdleTimeout)
	checkPositive(refuse, "BERTH_BODY_IDLE_TIMEOUT", h.BodyIdleTimeout)
	if h.DrainTimeout < 0 {
		refuse("BERTH_DRAIN_TIMEOUT", "%s is negative", h.DrainTimeout)
	}
	if h.DrainDelay < 0 {
		refuse("BERTH_DRAIN_DELAY", "%s is negative", h.DrainDelay)
	}
	checkRange(refuse, "BERTH_MAX_HEADER_BYTES", h.MaxHeaderBytes, minHeaderBytes, maxHeaderBytes)
	for _, cidr := range h.TrustedProxies {
		checkNetwork(refuse, "BERTH_TRUSTED_PROXIES", cidr)
	}
	for _, origin := range h.CORSOrigins {
		checkOrigin(refuse, "BERTH_CORS_ORIGINS", origin)
	}
}

func (t TLS) check(refuse refuseFunc) {
	switch {
	case t.Cert != "" && t.Key == "":
		refuse("BERTH_TLS_KEY", "is missing: BERTH_TLS_CERT is set, and one is of no use without the other")
	case t.Cert == "" && t.Key != "":
		refuse("BERTH_TLS_CERT", "is missing: BERTH_TLS_KEY is set, and one is of no use without the other")
	}
}

func (l Log) check(refuse refuseFunc) {
	checkOneOf(refuse, "BERTH_LOG_LEVEL", l.Level, "debug", "info", "warn", "error")
	checkOneOf(refuse, "BERTH_LOG_FORMAT", l.Format, "text", "json")
}

func (d Database) check(refuse refuseFunc) {
	checkDatabaseURL(refuse, "BERTH_DATABASE_URL", string(d.URL))
	checkRange(refuse, "BERTH_DATABASE_MAX_CONNS", d.MaxConns, 0, maxConns)
	checkPositive(refuse, "BERTH_DATABASE_TIMEOUT", d.Timeout)
}

func (s Storage) check(refuse refuseFunc) {
	checkStorageURL(refuse, "BERTH_STORAGE_URL", string(s.URL))
	checkPositive(refuse, "BERTH_STORAGE_TIMEOUT", s.Timeout)
	checkRange(refuse, "BERTH_STORAGE_ATTEMPTS", s.Attempts, 1, maxAttempts)
	if s.HasCache() && s.CacheSize < minBlobCache {
		refuse("BERTH_BLOB_CACHE_SIZE", "%s is less than %s; leave BERTH_BLOB_CACHE empty to keep no copies", s.CacheSize, minBlobCache)
	}
}

func (u Uploads) check(refuse refuseFunc) {
	checkPositive(refuse, "BERTH_UPLOAD_MEMORY", u.Memory)
	checkPositive(refuse, "BERTH_UPLOAD_SPOOL_MAX", u.SpoolMax)
	checkPositive(refuse, "BERTH_UPLOAD_TTL", u.TTL)
	if u.MaxBlobSize < 0 {
		refuse("BERTH_MAX_BLOB_SIZE", "%s is negative", u.MaxBlobSize)
	}
}

func (r Registry) check(refuse refuseFunc) {
	checkRange(refuse, "BERTH_MAX_MANIFEST_SIZE", r.MaxManifestSize, minManifest, maxManifest)
	checkRange(refuse, "BERTH_MAX_TAGS_PAGE", r.MaxTagsPage, 1, maxPage)
	checkRange(refuse, "BERTH_REFERRERS_PAGE", r.ReferrersPage, 1, maxPage)
	if r.ManifestCache < 0 {
		refuse("BERTH_MANIFEST_CACHE", "%s is negative", r.ManifestCache)
	}
	checkPositive(refuse, "BERTH_TRASH_TTL", r.TrashTTL)
	checkPositive(refuse, "BERTH_SWEEP_DELAY", r.SweepDelay)
	checkPositive(refuse, "BERTH_RETENTION_INTERVAL", r.RetentionInterval)
	checkRange(refuse, "BERTH_MAX_RULES", r.MaxRules, 1, maxPage)
}

func (q Quotas) check(refuse refuseFunc) {
	checkNotNegative(refuse, "BERTH_PROJECT_QUOTA", q.Project)
	checkNotNegative(refuse, "BERTH_ACCOUNT_QUOTA", q.Account)
}

func (t Tokens) check(refuse refuseFunc) {
	if t.Realm != "" {
		checkRealm(refuse, "BERTH_TOKEN_REALM", t.Realm)
	}
	if t.Service != "" {
		checkQuotable(refuse, "BERTH_TOKEN_SERVICE", t.Service)
	}
	checkPositive(refuse, "BERTH_TOKEN_TTL", t.TTL)
}

func (a Accounts) check(refuse refuseFunc) {
	checkPositive(refuse, "BERTH_SESSION_TTL", a.SessionTTL)
	checkOneOf(refuse, "BERTH_SIGN_UP", a.SignUp, "closed", "invite", "open")
}

func (u Unclaimed) check(refuse refuseFunc) {
	checkOneOf(refuse, "BERTH_UNCLAIMED_SLUGS", u.Slugs, "any", "random")
	checkOneOf(refuse, "BERTH_CLAIM_MODE", u.ClaimMode, "open", "admin")
	checkNotNegative(refuse, "BERTH_UNCLAIMED_QUOTA", u.Quota)
	checkPositive(refuse, "BERTH_UNCLAIMED_TTL", u.TTL)
}

// ownToken is the form of the tokens that Berth makes. Their checksum is for auth to judge.
var ownToken = regexp.MustCompile(`^berth_(pat|rob|run)_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}$`)

func (a Admin) check(refuse refuseFunc) {
	// The rules of internal/auth, which this package may not import; a test of internal/server compares them.
	parsed, err := mail.ParseAddress(a.Email)
	if err != nil || parsed.Address != a.Email || len(a.Email) > maxEmailLen || !visible(a.Email) || strings.Contains(a.Email, `"`) {
		refuse("BERTH_ADMIN_EMAIL", "%q is not an e-mail address", a.Email)
	}
	if password := string(a.Password); password != "" &&
		(utf8.RuneCountInString(password) < minPasswordLen || len(password) > maxSecretLen || !utf8.ValidString(password)) {
		refuse("BERTH_ADMIN_PASSWORD", "needs %d characters or more, and takes at most %d bytes", minPasswordLen, maxSecretLen)
	}
	switch token := string(a.Token); {
	case token == "":
	case len(token) < minTokenLen || len(token) > maxSecretLen || !visible(token):
		refuse("BERTH_ADMIN_TOKEN", "needs %d to %d characters, all of them visible ASCII", minTokenLen, maxSecretLen)
	case strings.HasPrefix(token, "berth_") && !ownToken.MatchString(token):
		refuse("BERTH_ADMIN_TOKEN", "begins with berth_ as the tokens do that Berth makes, and is none of them")
	}
}

func (a Audit) check(refuse refuseFunc) {
	if a.TTL < 0 {
		refuse("BERTH_AUDIT_TTL", "%s is negative", a.TTL)
	}
	checkRange(refuse, "BERTH_AUDIT_REFUSALS", a.Refusals, 0, maxRefusals)
}

func (o Operation) check(refuse refuseFunc) {
	if o.MetricsAddr != "" {
		checkListen(refuse, "BERTH_METRICS_ADDR", o.MetricsAddr)
	}
}

func checkPositive[T ByteSize | time.Duration](refuse refuseFunc, variable string, value T) {
	if value <= 0 {
		refuse(variable, "%v is not more than zero", value)
	}
}

func checkNotNegative[T ByteSize | int](refuse refuseFunc, variable string, value T) {
	if value < 0 {
		refuse(variable, "%v is negative", value)
	}
}

func checkRange[T ByteSize | int](refuse refuseFunc, variable string, value, least, most T) {
	if value < least || value > most {
		refuse(variable, "%v is out of range: it may be %v to %v", value, least, most)
	}
}

func checkOneOf(refuse refuseFunc, variable, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	refuse(variable, "%q is not known: choose %s", value, strings.Join(allowed, ", "))
}
