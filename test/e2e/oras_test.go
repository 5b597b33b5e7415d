package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// oras is a repository as oras-go sees it.
func (r *registry) oras(t *testing.T, repo, token string) *remote.Repository {
	t.Helper()
	repository, err := remote.NewRepository(r.host + "/" + repo)
	must(t, err)
	client := &auth.Client{Client: newHTTPClient(t, nil)}
	if token != "" {
		client.Credential = auth.StaticCredential(r.host, auth.Credential{Username: "any", Password: token})
	}
	repository.PlainHTTP, repository.Client = true, client
	return repository
}

// pack pushes layers and a manifest of version 1.1 to a repository or a store.
func pack(t *testing.T, to oras.Target, artifactType string, subject *specs.Descriptor, layers ...[]byte) specs.Descriptor {
	t.Helper()
	options := oras.PackManifestOptions{Subject: subject}
	for _, layer := range layers {
		d, err := oras.PushBytes(t.Context(), to, "application/vnd.example.layer", layer)
		must(t, err)
		options.Layers = append(options.Layers, d)
	}
	d, err := oras.PackManifest(t.Context(), to, oras.PackManifestVersion1_1, artifactType, options)
	must(t, err)
	return d
}

func TestOras(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		app, other, admin := r.oras(t, "oras/app", adminToken), r.oras(t, "oras-copy/app", adminToken), r.admin(t)
		large := content(b.chunk + 1000)
		root := pack(t, app, "application/vnd.example.app", nil, large, content(10))
		must(t, app.Tag(t.Context(), root, "one"))
		sbom := pack(t, app, "application/spdx+json", &root, []byte("bill of materials"))
		signature := pack(t, app, "application/vnd.example.signature", &sbom, []byte("signature"))

		resolved, err := app.Resolve(t.Context(), "one")
		if err != nil || resolved.Digest != root.Digest || resolved.Size != root.Size || resolved.MediaType != root.MediaType {
			t.Errorf("Resolve: %+v, want %+v: %v", resolved, root, err)
		}
		for filter, want := range map[string][]specs.Descriptor{"": {sbom}, "application/spdx+json": {sbom}, "application/other": nil} {
			var found []specs.Descriptor
			must(t, app.Referrers(t.Context(), root, filter, func(page []specs.Descriptor) error {
				found = append(found, page...)
				return nil
			}))
			if len(found) != len(want) || (len(want) > 0 && found[0].Digest != want[0].Digest) {
				t.Errorf("Referrers of type %q: %+v, want %+v", filter, found, want)
			}
		}

		copied, err := oras.ExtendedCopy(t.Context(), app, "one", other, "two", oras.DefaultExtendedCopyOptions)
		if err != nil || copied.Digest != root.Digest {
			t.Fatalf("ExtendedCopy: %+v, %v", copied, err)
		}
		for _, d := range []specs.Descriptor{root, sbom, signature} {
			same(t, admin.readBack("oras/app", d.Digest.String()), admin.readBack("oras-copy/app", d.Digest.String()))
		}
		admin.wantReferrers("oras-copy/app", root.Digest.String(), "", sbom.Digest.String())
		admin.wantReferrers("oras-copy/app", sbom.Digest.String(), "", signature.Digest.String())

		local := memory.New()
		_, err = oras.Copy(t.Context(), other, "two", local, "local", oras.DefaultCopyOptions)
		must(t, err)
		manifest, err := local.Fetch(t.Context(), root)
		must(t, err)
		if got := int64(len(readAll(t, manifest))); got != root.Size {
			t.Errorf("copied a manifest of %d bytes, want %d", got, root.Size)
		}

		must(t, app.Delete(t.Context(), signature))
		admin.wantReferrers("oras/app", sbom.Digest.String(), "")
		must(t, app.Delete(t.Context(), root))
		if _, err := app.Resolve(t.Context(), "one"); !errors.Is(err, errdef.ErrNotFound) {
			t.Errorf("Resolve after Delete: %v", err)
		}
		admin.wantReferrers("oras/app", root.Digest.String(), "", sbom.Digest.String())
	})
}

func TestOrasBlobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		app, admin := r.oras(t, "oras/blobs", adminToken), r.admin(t)
		blob := content(2*b.chunk + 77)
		d, err := oras.PushBytes(t.Context(), app.Blobs(), "application/octet-stream", blob)
		must(t, err)

		fetched, err := app.Blobs().Fetch(t.Context(), d)
		must(t, err)
		seeker, ok := fetched.(io.ReadSeeker)
		if !ok {
			t.Fatal("the registry does not offer ranges")
		}
		for _, at := range []int{len(blob) - 5, b.chunk - 3, 0, b.chunk} {
			part := make([]byte, 5)
			_, err := seeker.Seek(int64(at), io.SeekStart)
			must(t, err)
			if _, err := io.ReadFull(seeker, part); err != nil || !bytes.Equal(part, blob[at:at+5]) {
				t.Errorf("the bytes at %d are %x, want %x: %v", at, part, blob[at:at+5], err)
			}
		}
		must(t, fetched.Close())

		mounted := r.oras(t, "oras-mount/app", adminToken)
		must(t, mounted.Mount(t.Context(), d, "oras/blobs", func() (io.ReadCloser, error) {
			return nil, errors.New("the blob was not mounted but asked for")
		}))
		admin.readBlob("oras-mount/app", d)
		must(t, app.Blobs().Delete(t.Context(), d))
		if exists, err := app.Exists(t.Context(), d); err != nil || exists {
			t.Errorf("Exists after Delete: %t, %v", exists, err)
		}
		admin.readBlob("oras-mount/app", d)
	})
}

func TestOrasPages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		app := r.oras(t, "oras/pages", adminToken)
		root := pack(t, app, "application/vnd.example", nil)
		want := []string{"1", "A", "Z", "_", "a", "b.c", "b_c", "z"} // in the order of their bytes
		for _, tag := range want {
			must(t, app.Tag(t.Context(), root, tag))
		}
		for _, size := range []int{1, 3, len(want), 100} {
			app.TagListPageSize = size
			var tags []string
			must(t, app.Tags(t.Context(), "", func(page []string) error {
				if len(page) > size {
					t.Errorf("a page of %d tags, want at most %d", len(page), size)
				}
				tags = append(tags, page...)
				return nil
			}))
			if !slices.Equal(tags, want) {
				t.Errorf("in pages of %d: %q, want %q", size, tags, want)
			}
		}
		var rest []string
		must(t, app.Tags(t.Context(), "b.c", func(page []string) error {
			rest = append(rest, page...)
			return nil
		}))
		if !slices.Equal(rest, []string{"b_c", "z"}) {
			t.Errorf("tags after b.c: %q", rest)
		}
	})
}

func TestOrasWithoutAnAccount(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		local := memory.New()
		root := pack(t, local, "application/vnd.example.app", nil, content(b.chunk+5))
		must(t, local.Tag(t.Context(), root, "one"))
		nobody := r.oras(t, "nobodys-oras/app", "")
		_, err := oras.Copy(t.Context(), local, "one", nobody, "one", oras.DefaultCopyOptions)
		must(t, err)
		if blobs := r.admin(t).readBack("nobodys-oras/app", "one"); len(blobs) != 3 {
			t.Errorf("pulled %v", blobs)
		}
		if _, err := oras.Copy(context.WithoutCancel(t.Context()), nobody, "one", memory.New(), "one", oras.DefaultCopyOptions); err == nil {
			t.Error("pulled without an account")
		}
	})
}
