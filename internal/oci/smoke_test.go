package oci_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestPushAndPull pushes an image as docker does and reads every part of it back.
func TestPushAndPull(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		layer := bytes.Repeat([]byte("berth"), 600_000)
		body, d := c.Image("demo/app", "v1", layer, nil)
		got := c.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/manifests/v1", nil)
		if !bytes.Equal(got.Body, body) || got.Header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("manifest came back as %s", got.Body)
		}
		blob := c.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/blobs/"+c.Push("demo/app", layer).String(), nil)
		if !bytes.Equal(blob.Body, layer) {
			t.Errorf("layer of %d bytes came back with %d", len(layer), len(blob.Body))
		}
	})
}
