package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/config"
)

// parse reads settings as the program does: from variables and from flags.
func parse(t *testing.T, environment map[string]string, flags ...string) (config.Config, error) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "BERTH_") {
			t.Fatalf("%s is set around the test", name)
		}
	}
	for name, value := range environment {
		t.Setenv(name, value)
	}
	var c config.Config
	var loader config.Loader
	parser, err := kong.New(&c, loader.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return c, loader.Check(c)
}

func TestDefaults(t *testing.T) {
	c, err := parse(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), c); diff != "" {
		t.Errorf("Default differs from an empty command line:\n%s", diff)
	}
	want := map[string]any{
		"addr": "127.0.0.1:5000", "public": "", "database": config.SecretURL("sqlite:data/berth.db"),
		"storage": config.SecretURL("file:data/objects"), "redirect": false, "memory": 256 * config.MiB,
		"upload ttl": 24 * time.Hour, "max blob": config.ByteSize(0), "token ttl": 5 * time.Minute,
		"push": true, "slugs": "any", "pull": false, "unclaimed ttl": 168 * time.Hour, "claim": "open",
		"email": "admin@localhost", "metrics": "127.0.0.1:9090", "manifest": 4 * config.MiB, "migrate": true,
		"drain": 20 * time.Second, "drain delay": time.Duration(0),
		"session ttl": 12 * time.Hour, "sign-up": "closed",
		"rate limits": config.RateLimit{
			Enabled: true, TokenRate: 1200, TokenBurst: 600, ReadRate: 12000, ReadBurst: 4000, WriteRate: 3000, WriteBurst: 1500,
			APIRate: 1200, APIBurst: 300, LoginRate: 10, LoginBurst: 20, AnonymousPercent: 50, Replicas: 1, Keys: 200_000,
		},
	}
	got := map[string]any{
		"addr": c.HTTP.Addr, "public": c.HTTP.PublicURL, "database": c.Database.URL,
		"storage": c.Storage.URL, "redirect": c.Storage.Redirect, "memory": c.Uploads.Memory,
		"upload ttl": c.Uploads.TTL, "max blob": c.Uploads.MaxBlobSize, "token ttl": c.Tokens.TTL,
		"push": c.Unclaimed.Push, "slugs": c.Unclaimed.Slugs, "pull": c.Unclaimed.Pull, "unclaimed ttl": c.Unclaimed.TTL, "claim": c.Unclaimed.ClaimMode,
		"email": c.Admin.Email, "metrics": c.Operation.MetricsAddr, "manifest": c.Registry.MaxManifestSize, "migrate": c.Operation.Migrate,
		"drain": c.HTTP.DrainTimeout, "drain delay": c.HTTP.DrainDelay,
		"session ttl": c.Accounts.SessionTTL, "sign-up": c.Accounts.SignUp, "rate limits": c.RateLimit,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestDefaultIgnoresTheEnvironment(t *testing.T) {
	t.Setenv("BERTH_ADDR", "0.0.0.0:1")
	if addr := config.Default().HTTP.Addr; addr != "127.0.0.1:5000" {
		t.Errorf("address %q", addr)
	}
}

func TestFlagsBeatVariablesBeatDefaults(t *testing.T) {
	c, err := parse(t, map[string]string{
		"BERTH_ADDR":            ":1",
		"BERTH_CHUNK_SIZE":      "32MiB",
		"BERTH_UPLOAD_TTL":      "",
		"BERTH_UNCLAIMED_PUSH":  "off",
		"BERTH_CLAIM_MODE":      "admin",
		"BERTH_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
		"BERTH_METRICS_ADDR":    "",
		"BERTH_TOKEN_TTL":       "nonsense that the flag makes up for",
	}, "--addr=:2", "--token-ttl=90s", "--storage-redirect", "--no-migrate",
		"--cors-origins=https://a.example", "--cors-origins=https://b.example,http://localhost:3000")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.HTTP.Addr = ":2"
	want.HTTP.TrustedProxies = []string{"10.0.0.0/8", "192.0.2.1"}
	want.HTTP.CORSOrigins = []string{"https://a.example", "https://b.example", "http://localhost:3000"}
	want.Uploads.ChunkSize = 32 * config.MiB
	want.Unclaimed.Push = false
	want.Unclaimed.ClaimMode = "admin"
	want.Operation.MetricsAddr = ""
	want.Operation.Migrate = false
	want.Tokens.TTL = 90 * time.Second
	want.Storage.Redirect = true
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestABadFlagCountsWhateverTheVariableHolds(t *testing.T) {
	_, err := parse(t, map[string]string{"BERTH_TOKEN_TTL": "5m"}, "--token-ttl=soon", "--unclaimed-push=never")
	problems, _ := errors.AsType[config.Problems](err)
	if len(problems) != 2 || problems[0].Variable != "BERTH_TOKEN_TTL" || problems[1].Variable != "BERTH_UNCLAIMED_PUSH" {
		t.Errorf("problems: %v", err)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := parse(t, map[string]string{
		"BERTH_CHUNK_SIZE":         "16MB",
		"BERTH_UPLOAD_TTL":         "3 days",
		"BERTH_DATABASE_MAX_CONNS": "many",
		"BERTH_MIGRATE":            "perhaps",
		"BERTH_TOKEN_TTL":          "-5m",
		"BERTH_DATABASE_URL":       "mysql://root:hunter2@db/berth",
	})
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		t.Fatalf("error %v is not Problems", err)
	}
	var variables []string
	for _, problem := range problems {
		variables = append(variables, problem.Variable)
	}
	want := []string{
		"BERTH_DATABASE_MAX_CONNS", "BERTH_CHUNK_SIZE", "BERTH_UPLOAD_TTL", "BERTH_MIGRATE", "BERTH_DATABASE_URL", "BERTH_TOKEN_TTL",
	}
	if diff := cmp.Diff(want, variables); diff != "" {
		t.Errorf("variables (-want +got):\n%s\n%v", diff, err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password is shown: %v", err)
	}
}

// Kong reads the variables of all commands, so it meets one as often as there are commands that have it.
func TestAProblemIsToldOnce(t *testing.T) {
	t.Setenv("BERTH_DRAIN_TIMEOUT", "sixty")
	t.Setenv("BERTH_TOKEN_TTL", "soon")
	var cli struct {
		Serve, Doctor struct {
			config.Config `embed:""`
		} `cmd:""`
	}
	var loader config.Loader
	parser, err := kong.New(&cli, loader.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"serve", "--token-ttl=later"}); err != nil {
		t.Fatal(err)
	}
	problems, _ := errors.AsType[config.Problems](loader.Check(cli.Serve.Config))
	if len(problems) != 2 || !strings.Contains(problems[0].Sentence, "later") || problems[1].Variable != "BERTH_DRAIN_TIMEOUT" {
		t.Errorf("problems: %v", problems)
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Database.URL = "postgres://berth:hunter2@db/berth?sslpassword=hunter3"
	c.Storage.URL = "s3://bucket/p?secret_access_key=hunter4&region=eu"
	c.Admin.Password, c.Admin.Token = "hunter5", "hunter6"
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "settings", c, "admin", c.Admin, "url", c.Database.URL, "token", c.Admin.Token)
	var structured strings.Builder
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("x", "settings", c, "admin", c.Admin, "url", c.Storage.URL, "token", c.Admin.Token)
	printed := log.String() + structured.String() + fmt.Sprintf("%v %+v %#v %s %v %+v %#v", c, c, c, c, c.Admin, c.Admin, c.Admin)
	if strings.Contains(printed, "hunter") {
		t.Errorf("secrets are printed:\n%s", printed)
	}
	for _, shown := range []string{"berth:REDACTED@db", "BERTH_STORAGE_URL", "region=eu"} {
		if !strings.Contains(printed, shown) {
			t.Errorf("%s is missing:\n%s", shown, printed)
		}
	}
	if c.Admin.Token.Reveal() != "hunter6" || !strings.Contains(c.Database.URL.Reveal(), "hunter2") {
		t.Error("Reveal does not reveal")
	}
}

func TestRedactedURLs(t *testing.T) {
	t.Parallel()
	for given, want := range map[config.SecretURL]string{
		"":                     "",
		"sqlite:data/berth.db": "sqlite:data/berth.db",
		"file:/var/lib/berth":  "file:/var/lib/berth",
		"postgres://u@h/db":    "postgres://u@h/db",
		"postgres://u:p%40ss@h/db?application_name=x": "postgres://u:REDACTED@h/db?application_name=x",
		"postgres://u:p/ss@h:x/db":                    "postgres:REDACTED",
		"s3://b?%74oken=x&region=r":                   "s3://b?%74oken=REDACTED&region=r",
		"no%zzscheme":                                 "REDACTED",
	} {
		if got := given.String(); got != want {
			t.Errorf("%q is shown as %q, want %q", string(given), got, want)
		}
	}
}
