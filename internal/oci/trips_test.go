package oci_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/storage"
)

// countingStore counts the operations that reach a store.
type countingStore struct {
	storage.Store
	writes, reads atomic.Int64
}

func (s *countingStore) Create(ctx context.Context, key string, size int64) (storage.Writer, error) {
	s.writes.Add(1)
	return s.Store.Create(ctx, key, size)
}

func (s *countingStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	s.reads.Add(1)
	return s.Store.Open(ctx, key, offset, length)
}

// cost is what requests took: database round trips, commits, storage writes and reads.
type cost struct{ trips, commits, writes, reads int64 }

func (c cost) String() string {
	return fmt.Sprintf("%d trips, %d commits, %d writes, %d reads", c.trips, c.commits, c.writes, c.reads)
}

// TestCost holds every request of a warm replica to its database round trips and storage operations.
func TestCost(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		var store *countingStore
		replica := env.Replica(t, ocitest.Options{Store: func(s storage.Store) storage.Store {
			store = &countingStore{Store: s}
			return store
		}})
		c := replica.Client
		measure := func(f func()) cost {
			before := cost{env.DB.Trips(), env.DB.Commits(), store.writes.Load(), store.reads.Load()}
			f()
			return cost{
				env.DB.Trips() - before.trips, env.DB.Commits() - before.commits,
				store.writes.Load() - before.writes, store.reads.Load() - before.reads,
			}
		}
		warm := []byte("what makes the replica warm")
		image, _ := c.Image("demo/app", "v1", warm)
		c.Image("demo/app", "v1", warm)
		d := digest.FromBytes(warm)
		w := &tenants{tb: t, env: env, r: replica, admin: c}
		for who, machine := range map[string]*ocitest.Client{"robot": w.robot("demo", rbac.RoleViewer), "runner": w.runner("demo", true)} {
			for how, client := range map[string]*ocitest.Client{"basic": machine, "bearer": machine.Bearer(machine.Token("repository:demo/app:pull"))} {
				for _, reference := range []string{"v1", digest.FromBytes(image).String()} {
					client.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", reference), nil)
					got := measure(func() { client.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", reference), nil) })
					if got.trips != 1 || got.reads != 0 || got.writes != 0 {
						t.Errorf("manifest GET of %s by a %s, %s: %s, want 1 trip", reference, who, how, got)
					}
				}
			}
		}
		reads := []struct {
			name, method, path string
			want               cost
		}{
			{"manifest GET by tag", "GET", "/v2/demo/app/manifests/v1", cost{1, 0, 0, 0}},
			{"manifest GET by digest", "GET", "/v2/demo/app/manifests/" + digest.FromBytes(image).String(), cost{1, 0, 0, 0}},
			{"manifest HEAD", "HEAD", "/v2/demo/app/manifests/v1", cost{1, 0, 0, 0}},
			{"blob HEAD", "HEAD", "/v2/demo/app/blobs/" + d.String(), cost{1, 0, 0, 0}},
			{"blob GET", "GET", "/v2/demo/app/blobs/" + d.String(), cost{1, 0, 0, 1}},
			{"tags", "GET", "/v2/demo/app/tags/list", cost{1, 0, 0, 0}},
			{"referrers", "GET", "/v2/demo/app/referrers/" + d.String(), cost{1, 0, 0, 0}},
		}
		for _, r := range reads {
			c.Want(http.StatusOK, r.method, r.path, nil)
			got := measure(func() { c.Want(http.StatusOK, r.method, r.path, nil) })
			got.commits = 0 // SQLite counts a read as a transaction
			if got != r.want {
				t.Errorf("%s took %s, want %s", r.name, got, r.want)
			}
		}

		layer := bytes.Repeat([]byte("x"), 300_000)
		manifest := imageOf(t, layer, warm)
		push := measure(func() {
			c.Push("demo/app", layer)
			c.PutManifest("demo/app", "v2", v1.MediaTypeImageManifest, manifest)
		})
		t.Logf("a small push took %s", push)
		other := bytes.Repeat([]byte("y"), 300_000)
		whole := measure(func() {
			location := ocitest.Query(c.Start("demo/app"), "digest", digest.FromBytes(other).String())
			c.Want(http.StatusCreated, http.MethodPut, location, other)
		})
		if whole.trips > 2 || whole.writes > 1 || whole.reads > 0 {
			t.Errorf("a push by POST and PUT took %s, want at most 2 trips and 1 write", whole)
		}
		if push.trips > 6 || push.commits > 3 || push.writes > 1 || push.reads > 0 {
			t.Errorf("a small push took %s, want at most 6 trips, 3 commits and 1 write", push)
		}
	})
}

// imageOf is a manifest with a config and one layer.
func imageOf(t *testing.T, layer, config []byte) []byte {
	t.Helper()
	m := v1.Manifest{
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:    []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer))}},
	}
	m.SchemaVersion = 2
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
