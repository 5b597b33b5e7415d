package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
)

func decodeManifest(t testing.TB, body []byte) specs.Manifest {
	t.Helper()
	var m specs.Manifest
	must(t, json.Unmarshal(body, &m))
	return m
}

// cosign signs as cosign does, with the library of go-containerregistry.
type cosign struct {
	t       *testing.T
	options []remote.Option
}

func (r *registry) cosign(t *testing.T, secret string) cosign {
	t.Helper()
	return cosign{t: t, options: []remote.Option{
		remote.WithContext(t.Context()), remote.WithTransport(newHTTPClient(t, nil).Transport),
		remote.WithAuth(&authn.Basic{Username: "any", Password: secret}),
	}}
}

// signatureTag is where cosign keeps the signatures of an image.
func signatureTag(image name.Digest) name.Tag {
	return image.Context().Tag(strings.Replace(image.DigestStr(), ":", "-", 1) + ".sig")
}

// signature is an image with one layer, what was signed.
func (c cosign) signature(payload string) v1.Image {
	c.t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(image, mutate.Addendum{
		Layer:       static.NewLayer([]byte(payload), "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": "MEUCIQ=="},
	})
	must(c.t, err)
	return image
}

// sign is `cosign sign`: it resolves the image, looks for signatures that are there, and writes the tag.
func (c cosign) sign(ref name.Reference) (name.Digest, error) {
	c.t.Helper()
	descriptor, err := remote.Get(ref, c.options...)
	if err != nil {
		return name.Digest{}, err
	}
	image := ref.Context().Digest(descriptor.Digest.String())
	if _, err := remote.Image(signatureTag(image), c.options...); statusOfTransport(err) != http.StatusNotFound {
		c.t.Errorf("signatures that are not there: %v, want 404", err)
	}
	return image, remote.Write(signatureTag(image), c.signature("signed"), c.options...)
}

// attach writes a signature that refers to the image.
func (c cosign) attach(image name.Digest, payload string) (v1.Hash, error) {
	c.t.Helper()
	subject, err := remote.Head(image, c.options...)
	if err != nil {
		return v1.Hash{}, err
	}
	referrer, ok := mutate.Subject(c.signature(payload), *subject).(v1.Image)
	if !ok {
		c.t.Fatal("an image with a subject is no image")
	}
	d, err := referrer.Digest()
	must(c.t, err)
	return d, remote.Write(image.Context().Digest(d.String()), referrer, c.options...)
}

func statusOfTransport(err error) int {
	var refused *transport.Error
	if errors.As(err, &refused) {
		return refused.StatusCode
	}
	return 0
}

// TestCosign signs by tag and by referrer with a robot, verifies with a runner, and copies it all with ORAS.
func TestCosign(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		secrets := newSecrets(t, r)
		robot, runner, ref := r.cosign(t, secrets.robot), r.cosign(t, secrets.runner), reference(t, r, "demo/app:one")
		must(t, remote.Write(ref, newImage(t, "amd64", nil, 100), robot.options...))
		image, err := robot.sign(ref)
		must(t, err)
		attached, err := robot.attach(image, "attached")
		must(t, err)
		r.admin(t).wantTags("demo/app", "one", signatureTag(image).TagStr())
		r.admin(t).wantReferrers("demo/app", image.DigestStr(), "", attached.String())

		signed, err := remote.Image(signatureTag(image), runner.options...)
		must(t, err)
		sameImage(t, robot.signature("signed"), signed)
		index, err := remote.Referrers(image, runner.options...)
		must(t, err)
		manifest, err := index.IndexManifest()
		if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != attached {
			t.Errorf("a runner discovers %+v, want %s: %v", manifest, attached, err)
		}

		from, to := r.oras(t, "demo/app", secrets.robot), r.oras(t, "demo/mirror", secrets.robot)
		_, err = oras.ExtendedCopy(t.Context(), from, "one", to, "one", oras.DefaultExtendedCopyOptions)
		must(t, err)
		r.admin(t).wantReferrers("demo/mirror", image.DigestStr(), "", attached.String())

		// `cosign clean` deletes, which no robot may.
		if err := remote.Delete(signatureTag(image), robot.options...); statusOfTransport(err) != http.StatusForbidden {
			t.Errorf("a robot deletes a signature: %v, want 403", err)
		}
		must(t, remote.Delete(signatureTag(image), r.cosign(t, adminToken).options...))
		r.admin(t).wantTags("demo/app", "one")
		if _, err := runner.attach(image, "forged"); statusOfTransport(err) != http.StatusForbidden {
			t.Errorf("a runner attaches a signature: %v, want 403", err)
		}
		for name, want := range map[string]int{secrets.stranger: http.StatusNotFound, secrets.revoked: http.StatusUnauthorized, "wrong": http.StatusUnauthorized} {
			if _, err := r.cosign(t, name).sign(ref); statusOfTransport(err) != want {
				t.Errorf("a stranger or a stale robot signs: %v, want %d", err, want)
			}
		}
	})
}
