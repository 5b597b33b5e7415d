package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/server"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/diskcache"
)

// TestCopiesThatCannotBeKept: a folder that can never be one is a mistake in the settings; one that cannot be used now, as it
// is another process's, costs the copies and not the server.
func TestCopiesThatCannotBeKept(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	cfg := settings(t.TempDir())
	cfg.Storage.URL = "s3://bucket?region=us-east-1&endpoint=http://127.0.0.1:1&path_style=true" // nobody answers
	cfg.Storage.Cache = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(cfg.Storage.Cache, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context(), cfg, server.Options{}); err == nil || !strings.Contains(err.Error(), "BERTH_BLOB_CACHE") {
		t.Errorf("a file for a folder: %v", err)
	}

	cfg.Storage.Cache = t.TempDir()
	other, err := diskcache.New(noStore{}, diskcache.Options{Dir: cfg.Storage.Cache, Size: diskcache.MinSize})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	i := start(t, cfg)
	if log := i.log.String(); !strings.Contains(log, "blobs are pulled without copies") {
		t.Errorf("the log does not tell:\n%s", log)
	}
}

// noStore is a store that is only closed.
type noStore struct{ storage.Store }

func (noStore) Close() error { return nil }
