package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/config"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		set       func(*config.Config)
		listening string
		want      config.Endpoints
	}{
		"defaults": {func(*config.Config) {}, "", config.Endpoints{
			PublicURL: "http://127.0.0.1:5000", Host: "127.0.0.1:5000", Realm: "http://127.0.0.1:5000/auth/token", Service: "127.0.0.1:5000",
		}},
		"a free port": {func(c *config.Config) { c.HTTP.Addr = "[::1]:0" }, "[::1]:4711", config.Endpoints{
			PublicURL: "http://[::1]:4711", Host: "[::1]:4711", Realm: "http://[::1]:4711/auth/token", Service: "[::1]:4711",
		}},
		"every interface, TLS, own port": {func(c *config.Config) {
			c.HTTP.Addr, c.TLS = "0.0.0.0:443", config.TLS{Cert: "c", Key: "k"}
		}, "[::]:443", config.Endpoints{
			PublicURL: "https://localhost", Host: "localhost", Realm: "https://localhost/auth/token", Service: "localhost",
		}},
		"all given": {func(c *config.Config) {
			c.HTTP.PublicURL, c.Tokens.Realm, c.Tokens.Service = "https://a.example/", "https://b.example/t", "berth"
		}, "127.0.0.1:1", config.Endpoints{
			PublicURL: "https://a.example", Host: "a.example", Realm: "https://b.example/t", Service: "berth",
		}},
	}
	for name, tt := range tests {
		c := config.Default()
		tt.set(&c)
		if diff := cmp.Diff(tt.want, c.Endpoints(tt.listening)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.ByteSize{
		"0": 0, "512": 512, "512B": 512, "64KiB": 64 << 10, "16MiB": 16 << 20, "16 MiB": 16 << 20, "1GiB": 1 << 30, "7TiB": 7 << 40,
		"9223372036854775807": 1<<63 - 1,
	} {
		got, err := config.ParseByteSize(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "1.5GiB", "16M", "16MB", "16mib", "0x10", "9223372036854775808", "8388608TiB", "99999999999999999999"} {
		if got, err := config.ParseByteSize(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
	for size, want := range map[config.ByteSize]string{
		0: "0", 1: "1", 1023: "1023", config.KiB: "1KiB", 1536 * config.KiB: "1536KiB", config.GiB: "1GiB", -config.MiB: "-1MiB",
	} {
		if got := size.String(); got != want {
			t.Errorf("%d is shown as %q, want %q", int64(size), got, want)
		}
	}
}
