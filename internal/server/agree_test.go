package server_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/server"
	"github.com/berthregistry/berth/internal/storage/diskcache"
	"github.com/berthregistry/berth/internal/storage/s3"
	"github.com/berthregistry/berth/internal/storage/storeurl"
)

// TestSettingsAgreeWithTheStores is about rules that config repeats because it imports no other package.
func TestSettingsAgreeWithTheStores(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"s3://bucket", "s3://Old_Bucket/prefix", "s3://a.b-c", "s3://ab", "s3://-abc", "s3://user@bucket", "s3://bucket#x", "s3:bucket",
		"arn:aws:s3:eu-west-1:123456789012:accesspoint/berth/prefix", "arn:aws:s3::123456789012:accesspoint/abc.mrap",
		"arn:aws:s3:eu-west-1:1:accesspoint/x",
	} {
		cfg := config.Default()
		cfg.Storage.URL = config.SecretURL(url)
		_, err := s3.ParseLocation(url)
		if told := config.Validate(cfg); (told == nil) != (err == nil) {
			t.Errorf("%s: config says %v, the store %v", url, told, err)
		}
	}
	for _, url := range []string{"file:" + t.TempDir(), "s3://bucket?region=x"} {
		store, err := storeurl.Open(t.Context(), url, storeurl.Options{})
		if err != nil {
			t.Fatal(err)
		}
		cfg := config.Default()
		cfg.Storage.URL = config.SecretURL(url)
		most := config.ByteSize(10_000 * store.Limits().ChunkSize) // chunks of a blob
		for size, good := range map[config.ByteSize]bool{most - 1: true, most: false} {
			cfg.Uploads.MaxBlobSize = size
			if err := config.Validate(cfg); (err == nil) != good {
				t.Errorf("%s: config knows another chunk size than the store: %v", url, err)
			}
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	for size, good := range map[int64]bool{diskcache.MinSize: true, diskcache.MinSize - 1: false} {
		cfg := config.Default()
		cfg.Storage.URL, cfg.Storage.Cache, cfg.Storage.CacheSize = "s3://bucket", "/var/cache/berth", config.ByteSize(size)
		if err := config.Validate(cfg); (err == nil) != good {
			t.Errorf("config knows another least size of the cache than that: %v", err)
		}
	}
}

func TestSettingsAgreeWithAuth(t *testing.T) {
	t.Parallel()
	db, err := database.Open(t.Context(), database.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "berth.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	service, err := auth.NewService(db, auth.Options{Issuer: "berth", Service: "berth"})
	if err != nil {
		t.Fatal(err)
	}
	personal := "berth_pat_" + strings.Repeat("A", 43)
	for _, admin := range []config.Admin{
		{Email: "a b@c.example"}, {Email: "Name <a@b.example>"}, {Email: "\u00e4@b.example"}, {Email: `"a"@b.example`}, {Email: "a@b@c"},
		{Email: "a@localhost", Password: "seven77"}, {Email: "a@localhost", Token: "berth_pat_mistyped-and-so-of-no-use"},
		{Email: "a@localhost", Token: config.Secret(personal + "000000")}, // the checksum of another one
		{Email: "a@localhost", Token: "nineteen-characters"}, {Email: "a@localhost", Password: "eight888", Token: "twenty-characters-ok"},
	} {
		cfg := config.Default()
		cfg.Admin = admin
		_, _, _, err := service.EnsureAdmin(t.Context(), auth.Bootstrap{
			Email: admin.Email, Password: admin.Password.Reveal(), Token: admin.Token.Reveal(),
		})
		if told := server.Validate(cfg); (told == nil) != (err == nil) {
			t.Errorf("%+v: the settings say %v, auth %v", admin, told, err)
		}
	}
}

func TestSignUpModesAgreeWithAuth(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"closed", "invite", "open", "Open", "everyone"} {
		cfg := config.Default()
		cfg.Accounts.SignUp = mode
		_, err := auth.NewService(nil, auth.Options{Issuer: "berth", Service: "berth", SignUp: auth.SignUpMode(mode)})
		if told := config.Validate(cfg); (told == nil) != (err == nil) {
			t.Errorf("%s: config says %v, auth %v", mode, told, err)
		}
	}
}
