package config_test

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/config"
)

func TestValidation(t *testing.T) {
	t.Parallel()
	for variable, values := range badValues {
		for _, value := range values {
			c := config.Default()
			value.set(&c)
			problems, ok := errors.AsType[config.Problems](config.Validate(c))
			if !ok || len(problems) != 1 || problems[0].Variable != variable || problems[0].Sentence == "" {
				t.Errorf("%s %q: problems %v", variable, value.name, problems)
			}
		}
	}
}

type badValue struct {
	name string
	set  func(*config.Config)
}

func texts(field func(*config.Config) *string, values ...string) []badValue {
	var out []badValue
	for _, value := range values {
		out = append(out, badValue{value, func(c *config.Config) { *field(c) = value }})
	}
	return out
}

func durations(field func(*config.Config) *time.Duration, values ...time.Duration) []badValue {
	var out []badValue
	for _, value := range values {
		out = append(out, badValue{value.String(), func(c *config.Config) { *field(c) = value }})
	}
	return out
}

func sizes(field func(*config.Config) *config.ByteSize, values ...config.ByteSize) []badValue {
	var out []badValue
	for _, value := range values {
		out = append(out, badValue{value.String(), func(c *config.Config) { *field(c) = value }})
	}
	return out
}

func with(name string, set func(*config.Config)) badValue { return badValue{name, set} }

func numbers(field func(*config.Config) *int, values ...int) []badValue {
	var out []badValue
	for _, value := range values {
		out = append(out, badValue{strconv.Itoa(value), func(c *config.Config) { *field(c) = value }})
	}
	return out
}

var badValues = map[string][]badValue{
	"BERTH_RATELIMIT_TOKEN_RATE":  numbers(func(c *config.Config) *int { return &c.RateLimit.TokenRate }, -1, 1_000_000_000),
	"BERTH_RATELIMIT_TOKEN_BURST": numbers(func(c *config.Config) *int { return &c.RateLimit.TokenBurst }, 0, -1),
	"BERTH_RATELIMIT_READ_RATE":   numbers(func(c *config.Config) *int { return &c.RateLimit.ReadRate }, -1),
	"BERTH_RATELIMIT_READ_BURST":  numbers(func(c *config.Config) *int { return &c.RateLimit.ReadBurst }, 0),
	"BERTH_RATELIMIT_WRITE_RATE":  numbers(func(c *config.Config) *int { return &c.RateLimit.WriteRate }, -1),
	"BERTH_RATELIMIT_WRITE_BURST": numbers(func(c *config.Config) *int { return &c.RateLimit.WriteBurst }, 0),
	"BERTH_RATELIMIT_API_RATE":    numbers(func(c *config.Config) *int { return &c.RateLimit.APIRate }, -1),
	"BERTH_RATELIMIT_API_BURST":   numbers(func(c *config.Config) *int { return &c.RateLimit.APIBurst }, 0),
	"BERTH_RATELIMIT_LOGIN_RATE":  numbers(func(c *config.Config) *int { return &c.RateLimit.LoginRate }, -1),
	"BERTH_RATELIMIT_LOGIN_BURST": numbers(func(c *config.Config) *int { return &c.RateLimit.LoginBurst }, 0),
	"BERTH_RATELIMIT_REPLICAS":    numbers(func(c *config.Config) *int { return &c.RateLimit.Replicas }, 0, -1, 1_000_000),
	"BERTH_RATELIMIT_KEYS":        numbers(func(c *config.Config) *int { return &c.RateLimit.Keys }, 0, 999),
	"BERTH_GC_INTERVAL":           durations(func(c *config.Config) *time.Duration { return &c.GC.Interval }, 0, -time.Second),
	"BERTH_GC_BATCH":              numbers(func(c *config.Config) *int { return &c.GC.Batch }, 0, -1, 1_000_000),
	"BERTH_GC_PAUSE":              durations(func(c *config.Config) *time.Duration { return &c.GC.Pause }, -1),
	"BERTH_GC_LOAD":               numbers(func(c *config.Config) *int { return &c.GC.Load }, 0, 101),
	"BERTH_GC_LEASE":              durations(func(c *config.Config) *time.Duration { return &c.GC.Lease }, 0, 999*time.Millisecond),
	"BERTH_GC_RETRY":              durations(func(c *config.Config) *time.Duration { return &c.GC.Retry }, 0),
	"BERTH_GC_ORPHAN_AGE":         durations(func(c *config.Config) *time.Duration { return &c.GC.OrphanAge }, -1, 1, 24*time.Hour),
	"BERTH_GC_COMPACT_CHUNKS":     numbers(func(c *config.Config) *int { return &c.GC.CompactChunks }, 0, -2, 1_000_000),
	"BERTH_GC_LINK_LIFE":          durations(func(c *config.Config) *time.Duration { return &c.GC.LinkLife }, 0),
	"BERTH_SCRUB_INTERVAL":        durations(func(c *config.Config) *time.Duration { return &c.Scrub.Interval }, -1, time.Minute),
	"BERTH_SCRUB_FRACTION": {
		with("none", func(c *config.Config) { c.Scrub.Fraction = 0 }),
		with("more than all", func(c *config.Config) { c.Scrub.Fraction = 1.1 }),
		with("no number", func(c *config.Config) { c.Scrub.Fraction = math.NaN() }),
	},
	"BERTH_SCRUB_RATE": sizes(func(c *config.Config) *config.ByteSize { return &c.Scrub.Rate }, -1),
	"BERTH_SCRUB_KEEP": durations(func(c *config.Config) *time.Duration { return &c.Scrub.Keep }, -1),
	"BERTH_ADDR": texts(func(c *config.Config) *string { return &c.HTTP.Addr },
		"", "5000", "localhost", "localhost:http", "localhost:65536", "a b:1", "http://localhost:5000", "[::1:5000"),
	"BERTH_PUBLIC_URL": texts(func(c *config.Config) *string { return &c.HTTP.PublicURL },
		"registry.example.com", "ftp://a.example", "https://", "https://a.example/registry", "https://a.example?x=1", "https://a.example/?",
		"https://u:p@a.example", "https://a.example#x", "https://a.example:0", "https://a.example:99999", "https://a.example:",
		"https://a\".example", "https://a.example\n", "https://ä.example", "https://a.example/\\"),
	"BERTH_READ_HEADER_TIMEOUT": durations(func(c *config.Config) *time.Duration { return &c.HTTP.ReadHeaderTimeout }, 0, -1),
	"BERTH_IDLE_TIMEOUT":        durations(func(c *config.Config) *time.Duration { return &c.HTTP.IdleTimeout }, 0),
	"BERTH_BODY_IDLE_TIMEOUT":   durations(func(c *config.Config) *time.Duration { return &c.HTTP.BodyIdleTimeout }, 0),
	"BERTH_DRAIN_TIMEOUT":       durations(func(c *config.Config) *time.Duration { return &c.HTTP.DrainTimeout }, -1),
	"BERTH_DRAIN_DELAY":         durations(func(c *config.Config) *time.Duration { return &c.HTTP.DrainDelay }, -1),
	"BERTH_MAX_HEADER_BYTES":    sizes(func(c *config.Config) *config.ByteSize { return &c.HTTP.MaxHeaderBytes }, 0, 100, config.GiB),
	"BERTH_TRUSTED_PROXIES": {
		with("host", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"proxy.example"} }),
		with("bits", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"10.0.0.0/33"} }),
		with("zone", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"fe80::1%eth0"} }),
	},
	"BERTH_CORS_ORIGINS": {
		with("any", func(c *config.Config) { c.HTTP.CORSOrigins = []string{"*"} }),
		with("null", func(c *config.Config) { c.HTTP.CORSOrigins = []string{"null"} }),
		with("path", func(c *config.Config) { c.HTTP.CORSOrigins = []string{"https://a.example/"} }),
		with("case", func(c *config.Config) { c.HTTP.CORSOrigins = []string{"https://A.example"} }),
		with("own port", func(c *config.Config) { c.HTTP.CORSOrigins = []string{"https://a.example:443"} }),
		with("user", func(c *config.Config) { c.HTTP.CORSOrigins = []string{"https://u@a.example"} }),
		with("scheme", func(c *config.Config) { c.HTTP.CORSOrigins = []string{"file://a"} }),
	},
	"BERTH_TLS_KEY":    {with("certificate alone", func(c *config.Config) { c.TLS.Cert = "c.pem" })},
	"BERTH_TLS_CERT":   {with("key alone", func(c *config.Config) { c.TLS.Key = "k.pem" })},
	"BERTH_LOG_LEVEL":  texts(func(c *config.Config) *string { return &c.Log.Level }, "", "trace", "INFO"),
	"BERTH_LOG_FORMAT": texts(func(c *config.Config) *string { return &c.Log.Format }, "xml"),
	"BERTH_DATABASE_URL": texts(func(c *config.Config) *string { return (*string)(&c.Database.URL) },
		"", "sqlite:", "sqlite:data/", "sqlite::memory:", "sqlite:x?mode=ro", "data/berth.db", "postgres:", "postgres:db", "postgres://",
		"postgres://u:p%@h/db", "mysql://h/db"),
	"BERTH_DATABASE_MAX_CONNS": {
		with("negative", func(c *config.Config) { c.Database.MaxConns = -1 }),
		with("huge", func(c *config.Config) { c.Database.MaxConns = 1 << 20 }),
	},
	"BERTH_DATABASE_TIMEOUT": durations(func(c *config.Config) *time.Duration { return &c.Database.Timeout }, 0, -1),
	"BERTH_STORAGE_TIMEOUT":  durations(func(c *config.Config) *time.Duration { return &c.Storage.Timeout }, 0, -1),
	"BERTH_STORAGE_ATTEMPTS": {
		with("none", func(c *config.Config) { c.Storage.Attempts = 0 }),
		with("many", func(c *config.Config) { c.Storage.Attempts = 21 }),
	},
	"BERTH_BLOB_CACHE_SIZE": {with("small", func(c *config.Config) {
		c.Storage.URL, c.Storage.Cache, c.Storage.CacheSize = "s3://bucket", "/var/cache/berth", 64*config.MiB-1
	})},
	"BERTH_STORAGE_URL": texts(func(c *config.Config) *string { return (*string)(&c.Storage.URL) },
		"", "file:", "data/objects", "s3:bucket", "s3://", "s3://u@bucket", "s3://bucket#x", "s3://b\x00cket", "arn:aws:s3:eu-west-1:1:accesspoint/x", "gs://bucket"),
	"BERTH_CHUNK_SIZE": append(sizes(func(c *config.Config) *config.ByteSize { return &c.Uploads.ChunkSize }, 1, config.MiB-1, 5*config.GiB+1),
		with("small on S3", func(c *config.Config) { c.Storage.URL, c.Uploads.ChunkSize = "s3://bucket", 5*config.MiB-1 })),
	"BERTH_UPLOAD_MEMORY": sizes(func(c *config.Config) *config.ByteSize { return &c.Uploads.Memory }, 0),
	"BERTH_UPLOAD_SPOOL_MAX": append(sizes(func(c *config.Config) *config.ByteSize { return &c.Uploads.SpoolMax }, 0),
		with("less than a chunk", func(c *config.Config) { c.Storage.URL, c.Uploads.SpoolMax = "s3://bucket", config.MiB })),
	"BERTH_UPLOAD_TTL": durations(func(c *config.Config) *time.Duration { return &c.Uploads.TTL }, 0, -time.Hour),
	"BERTH_MAX_BLOB_SIZE": {
		with("negative", func(c *config.Config) { c.Uploads.MaxBlobSize = -1 }),
		with("out of reach", func(c *config.Config) { c.Storage.URL, c.Uploads.MaxBlobSize = "s3://bucket", config.TiB }),
	},
	"BERTH_MAX_MANIFEST_SIZE": sizes(func(c *config.Config) *config.ByteSize { return &c.Registry.MaxManifestSize }, 0, config.MiB, config.GiB),
	"BERTH_MAX_TAGS_PAGE":     {with("none", func(c *config.Config) { c.Registry.MaxTagsPage = 0 })},
	"BERTH_REFERRERS_PAGE":    {with("huge", func(c *config.Config) { c.Registry.ReferrersPage = 1 << 20 })},
	"BERTH_MANIFEST_CACHE":    {with("negative", func(c *config.Config) { c.Registry.ManifestCache = -1 })},
	"BERTH_TRASH_TTL":         durations(func(c *config.Config) *time.Duration { return &c.Registry.TrashTTL }, 0, -time.Hour),
	"BERTH_SWEEP_DELAY":       durations(func(c *config.Config) *time.Duration { return &c.Registry.SweepDelay }, 0, -time.Hour),
	"BERTH_TOKEN_REALM": texts(func(c *config.Config) *string { return &c.Tokens.Realm },
		"/auth/token", "https://a.example/\"", "https://a.example/\r\nX: y", "https://u:p@a.example/auth/token", "ldap://a.example", "https://a.example/#f"),
	"BERTH_TOKEN_SERVICE":   texts(func(c *config.Config) *string { return &c.Tokens.Service }, "a\"b", "a b", "a\\b", "a\x7f", "ä"),
	"BERTH_TOKEN_TTL":       durations(func(c *config.Config) *time.Duration { return &c.Tokens.TTL }, 0),
	"BERTH_SESSION_TTL":     durations(func(c *config.Config) *time.Duration { return &c.Accounts.SessionTTL }, 0, -time.Hour),
	"BERTH_SIGN_UP":         texts(func(c *config.Config) *string { return &c.Accounts.SignUp }, "", "Open", "everyone"),
	"BERTH_UNCLAIMED_SLUGS": texts(func(c *config.Config) *string { return &c.Unclaimed.Slugs }, "", "some"),
	"BERTH_CLAIM_MODE":      texts(func(c *config.Config) *string { return &c.Unclaimed.ClaimMode }, "", "closed", "Open"),
	"BERTH_UNCLAIMED_TTL":   durations(func(c *config.Config) *time.Duration { return &c.Unclaimed.TTL }, 0),
	"BERTH_ADMIN_EMAIL":     texts(func(c *config.Config) *string { return &c.Admin.Email }, "", "admin", "@x", "x@", "a b@x", "a@x\n"),
	"BERTH_ADMIN_TOKEN":     texts(func(c *config.Config) *string { return (*string)(&c.Admin.Token) }, "short", "twenty characters and blanks"),
	"BERTH_ADMIN_PASSWORD":  texts(func(c *config.Config) *string { return (*string)(&c.Admin.Password) }, "seven77", "not \xff valid"),
	"BERTH_METRICS_ADDR":    texts(func(c *config.Config) *string { return &c.Operation.MetricsAddr }, "9090"),
}

func TestGoodValues(t *testing.T) {
	t.Parallel()
	good := func(name string, set func(*config.Config)) {
		c := config.Default()
		set(&c)
		if err := config.Validate(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, addr := range []string{":0", "[::1]:5000", "0.0.0.0:80", "registry.local:443"} {
		good(addr, func(c *config.Config) { c.HTTP.Addr = addr })
	}
	for _, url := range []string{"https://a.example", "https://a.example/", "http://10.0.0.1:5000", "https://[2001:db8::1]:8443"} {
		good(url, func(c *config.Config) { c.HTTP.PublicURL = url })
	}
	for _, url := range []config.SecretURL{"sqlite:/var/lib/b.db", "postgres://u:p@h:5432/db?sslmode=require", "postgresql:///db?host=/run/postgresql"} {
		good(url.String(), func(c *config.Config) { c.Database.URL = url })
	}
	for _, url := range []config.SecretURL{
		"file:/srv", "s3://my-bucket.x/prefix?region=eu-west-1&path_style=true",
		"arn:aws:s3:eu-west-1:123456789012:accesspoint/berth",
	} {
		good(url.String(), func(c *config.Config) { c.Storage.URL = url })
	}
	good("proxies and origins", func(c *config.Config) {
		c.HTTP.TrustedProxies = []string{"10.0.0.0/8", "2001:db8::/32", "192.0.2.7"}
		c.HTTP.CORSOrigins = []string{"https://ui.example.com", "http://localhost:3000"}
	})
	good("no metrics, no drain", func(c *config.Config) { c.Operation.MetricsAddr, c.HTTP.DrainTimeout = "", 0 })
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		set  func(*config.Config)
		want []string
	}{
		"defaults": {func(*config.Config) {}, nil},
		"behind a proxy with TLS": {func(c *config.Config) {
			c.HTTP.Addr, c.HTTP.PublicURL = ":5000", "https://a.example"
		}, nil},
		"exposed": {func(c *config.Config) { c.HTTP.Addr = ":5000" }, []string{"BERTH_ADDR", "BERTH_PUBLIC_URL"}},
		"exposed with TLS": {func(c *config.Config) {
			c.HTTP.Addr, c.TLS = "192.0.2.1:443", config.TLS{Cert: "c", Key: "k"}
		}, []string{"BERTH_PUBLIC_URL"}},
		"plain public URL":  {func(c *config.Config) { c.HTTP.PublicURL = "http://a.example" }, []string{"BERTH_PUBLIC_URL"}},
		"plain on loopback": {func(c *config.Config) { c.HTTP.PublicURL = "http://localhost:5000" }, nil},
		"other realm": {func(c *config.Config) {
			c.HTTP.PublicURL, c.Tokens.Realm = "https://a.example", "https://auth.example/token"
		}, []string{"BERTH_TOKEN_REALM"}},
		"open metrics": {func(c *config.Config) { c.Operation.MetricsAddr = ":9090" }, []string{"BERTH_METRICS_ADDR"}},
		"trusting all": {func(c *config.Config) { c.HTTP.TrustedProxies = []string{"0.0.0.0/0"} }, []string{"BERTH_TRUSTED_PROXIES"}},
		"webhooks to the receivers": {func(c *config.Config) {
			c.Webhooks.AllowedNetworks = []string{"10.0.0.0/8", "192.168.7.9", "fd12:3456::/32", "172.16.0.0/12"}
		}, nil},
		"webhooks to everything": {func(c *config.Config) {
			c.Webhooks.AllowedNetworks = []string{"0.0.0.0/0", "::/0"}
		}, []string{"BERTH_WEBHOOK_ALLOWED_NETWORKS", "BERTH_WEBHOOK_ALLOWED_NETWORKS"}},
		"webhooks to the machine and its cloud": {func(c *config.Config) {
			c.Webhooks.AllowedNetworks = []string{
				"127.0.0.0/8", "127.0.0.1", "::1", "0.0.0.0", "128.0.0.0/1", "10.0.0.0/8", "169.254.169.254", "169.254.0.0/16", "fe80::/10", "fd00::/8",
				"64:ff9b::/96", "100.64.0.0/10",
			}
		}, slices.Repeat([]string{"BERTH_WEBHOOK_ALLOWED_NETWORKS"}, 11)},
		"copies of a bucket": {func(c *config.Config) { c.Storage.URL, c.Storage.Cache = "s3://bucket", "/var/cache/berth" }, nil},
		"copies of a folder": {func(c *config.Config) { c.Storage.Cache = "/var/cache/berth" }, []string{"BERTH_BLOB_CACHE"}},
		"copies and redirects": {func(c *config.Config) {
			c.Storage.URL, c.Storage.Cache, c.Storage.Redirect = "s3://bucket", "/var/cache/berth", true
		}, []string{"BERTH_BLOB_CACHE"}},
		"short tokens": {func(c *config.Config) { c.Tokens.TTL = time.Second }, []string{"BERTH_TOKEN_TTL"}},
	}
	for name, tt := range tests {
		c := config.Default()
		tt.set(&c)
		var got []string
		for _, warning := range c.Warnings() {
			variable, _, _ := strings.Cut(warning, " ")
			got = append(got, variable)
		}
		if !slices.Equal(tt.want, got) {
			t.Errorf("%s: warnings about %v, want %v", name, got, tt.want)
		}
	}
}
