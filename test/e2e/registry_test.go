package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
	"github.com/berthregistry/berth/internal/testenv"
	"github.com/berthregistry/berth/test/children"
)

// adminToken is the registry token of every registry's administrator.
const adminToken = "an-administrators-token-for-tests"

// backends are a database and a store, both empty at first.
type backends struct {
	database, storage string
	chunk             int // the smallest chunk size that they allow, so that small layers have several chunks
}

// each runs a test on both pairs of backends.
func each(t *testing.T, test func(t *testing.T, b backends)) {
	t.Helper()
	t.Run("sqlite+folder", func(t *testing.T) {
		t.Parallel()
		test(t, embedded(t))
	})
	t.Run("postgres+s3", func(t *testing.T) {
		t.Parallel()
		test(t, servers(t))
	})
}

func embedded(t *testing.T) backends {
	t.Helper()
	dir := t.TempDir()
	return backends{
		database: "sqlite:" + filepath.Join(dir, "berth.db"),
		storage:  "file:" + filepath.Join(dir, "objects"),
		chunk:    1 << 20,
	}
}

func servers(t *testing.T) backends {
	t.Helper()
	return backends{database: testenv.Postgres(t), storage: testenv.S3(t), chunk: 5 << 20}
}

// settings are those of every server of these tests.
func (b backends) settings() config.Config {
	cfg := config.Default()
	cfg.RateLimit.Enabled = false // all clients of a test come from one address; limits have tests of their own
	cfg.HTTP.Addr = "127.0.0.1:0"
	cfg.Operation.MetricsAddr = ""
	cfg.Database.URL = config.SecretURL(b.database)
	cfg.Storage.URL = config.SecretURL(b.storage)
	cfg.Uploads.ChunkSize = config.ByteSize(b.chunk)
	cfg.Admin.Password = "a long password for tests"
	cfg.Admin.Token = adminToken
	return cfg
}

// registry is a registry in this process, of one or more replicas.
type registry struct {
	host     string   // what clients call it
	replicas []string // the URL of each replica
	proxy    *proxy   // before the replicas, or nil
}

// start runs a registry until the test ends. With several replicas a proxy gives each request to another one.
func start(t *testing.T, b backends, replicas int) *registry {
	t.Helper()
	if replicas > 1 {
		return startBehindProxy(t, b, replicas)
	}
	url := run(t, b.settings())
	return &registry{host: strings.TrimPrefix(url, "http://"), replicas: []string{url}}
}

// startBehindProxy is start with a proxy that can make requests fail.
func startBehindProxy(t *testing.T, b backends, replicas int) *registry {
	t.Helper()
	r := &registry{proxy: newProxy(t)}
	r.host = strings.TrimPrefix(r.proxy.url(), "http://")
	for range replicas {
		cfg := b.settings()
		cfg.HTTP.PublicURL = r.proxy.url()
		r.replicas = append(r.replicas, run(t, cfg))
	}
	r.proxy.serve(t, r.replicas)
	return r
}

// run starts one server, which ends with the test, and returns its URL.
func run(t *testing.T, cfg config.Config) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan server.Addresses, 1), make(chan error, 1)
	log := &children.Record{}
	go func() {
		ended <- server.Run(ctx, cfg, server.Options{
			Logger: server.NewLogger(log, cfg.Log), Version: "test", Ready: func(a server.Addresses) { ready <- a },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the server:\n%s", log)
		}
	})
	select {
	case addresses := <-ready:
		return "http://" + addresses.API.String()
	case err := <-ended:
		ended <- nil
		t.Fatalf("the server did not start: %v\n%s", err, log)
		return ""
	}
}
