package e2e

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/berthregistry/berth/client"
)

const (
	chartConfig  = "application/vnd.cncf.helm.config.v1+json"
	chartContent = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// helm is a registry as Helm 3 sees it: ORAS with a cache of tokens.
type helm struct {
	t    *testing.T
	host string
	auth *auth.Client
}

func (r *registry) helm(t *testing.T, secret string) helm {
	t.Helper()
	authorizer := &auth.Client{Client: newHTTPClient(t, nil), Cache: auth.NewCache()}
	if secret != "" {
		authorizer.Credential = auth.StaticCredential(r.host, auth.Credential{Username: "any", Password: secret})
	}
	return helm{t: t, host: r.host, auth: authorizer}
}

// login is `helm registry login`: a ping with a token by POST, and where that is refused, with one by GET.
func (h helm) login() error {
	h.t.Helper()
	registry, err := remote.NewRegistry(h.host)
	must(h.t, err)
	registry.PlainHTTP, registry.Client = true, h.auth
	defer func() { h.auth.ForceAttemptOAuth2 = false }()
	h.auth.ForceAttemptOAuth2 = true
	if registry.Ping(h.t.Context()) == nil {
		return nil
	}
	h.auth.ForceAttemptOAuth2 = false
	return registry.Ping(h.t.Context())
}

func (h helm) repository(repo string) *remote.Repository {
	h.t.Helper()
	repository, err := remote.NewRepository(h.host + "/" + repo)
	must(h.t, err)
	repository.PlainHTTP, repository.Client = true, h.auth
	return repository
}

// push is `helm push`: the chart is packed in memory and copied with all that refers to it.
func (h helm) push(repo, version string, chart []byte) error {
	h.t.Helper()
	local := memory.New()
	config, err := oras.PushBytes(h.t.Context(), local, chartConfig, []byte(`{"name":"chart","version":"`+version+`"}`))
	must(h.t, err)
	layer, err := oras.PushBytes(h.t.Context(), local, chartContent, chart)
	must(h.t, err)
	root, err := oras.PackManifest(h.t.Context(), local, oras.PackManifestVersion1_0, "", oras.PackManifestOptions{
		ConfigDescriptor: &config, Layers: []specs.Descriptor{layer},
	})
	must(h.t, err)
	must(h.t, local.Tag(h.t.Context(), root, version))
	_, err = oras.ExtendedCopy(h.t.Context(), local, version, h.repository(repo), version, oras.DefaultExtendedCopyOptions)
	return err
}

// pull is `helm pull`, and gives the layers that are charts.
func (h helm) pull(repo, version string) ([][]byte, error) {
	h.t.Helper()
	local := memory.New()
	root, err := oras.Copy(h.t.Context(), h.repository(repo), version, local, version, oras.DefaultCopyOptions)
	if err != nil {
		return nil, err
	}
	var charts [][]byte
	parts, err := local.Predecessors(h.t.Context(), root)
	if err != nil || len(parts) > 0 {
		h.t.Errorf("what refers to the chart: %v, %v", parts, err)
	}
	manifest, err := local.Fetch(h.t.Context(), root)
	must(h.t, err)
	for _, layer := range decodeManifest(h.t, readAll(h.t, manifest)).Layers {
		if layer.MediaType == chartContent {
			blob, err := local.Fetch(h.t.Context(), layer)
			must(h.t, err)
			charts = append(charts, readAll(h.t, blob))
		}
	}
	return charts, nil
}

// statusOf is that of the answer that ended a call of ORAS, 0 where it was none.
func statusOf(err error) int {
	var refused *errcode.ErrorResponse
	if errors.As(err, &refused) {
		return refused.StatusCode
	}
	return 0
}

// TestHelm logs in, pushes, lists and pulls charts, with who may and who may not.
func TestHelm(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, 1)
		secrets := newSecrets(t, r)
		robot, runner, chart := r.helm(t, secrets.robot), r.helm(t, secrets.runner), content(b.chunk+500)
		must(t, robot.login())
		must(t, robot.push("demo/chart", "1.2.3", chart))
		must(t, runner.login())
		for _, h := range []helm{robot, runner} {
			if got, err := h.pull("demo/chart", "1.2.3"); err != nil || len(got) != 1 || !slices.Equal(got[0], chart) {
				t.Errorf("pulled %d charts, want the one that was pushed: %v", len(got), err)
			}
		}
		must(t, robot.repository("demo/chart").Tags(t.Context(), "", func(tags []string) error {
			if !slices.Equal(tags, []string{"1.2.3"}) {
				t.Errorf("versions %q", tags)
			}
			return nil
		}))
		// Without an account there is no reading back, and an extended copy reads what it is about to tag.
		if got := statusOf(r.helm(t, "").push("nobodys-charts/chart", "1.2.3", chart)); got != http.StatusUnauthorized {
			t.Errorf("a push without an account ended with %d, want 401", got)
		}

		if got := statusOf(runner.push("demo/chart", "2.0.0", content(9))); got != http.StatusForbidden {
			t.Errorf("a runner's push ended with %d, want 403", got)
		}
		if err := robot.push("other/chart", "1.2.3", content(9)); statusOf(err) != http.StatusNotFound {
			t.Errorf("a push to another project's: %v, want 404", err)
		}
		if _, err := r.helm(t, secrets.stranger).pull("demo/chart", "1.2.3"); err == nil || statusOf(err) == http.StatusUnauthorized {
			t.Errorf("a runner without a grant: %v, want not found", err)
		}
		for _, secret := range []string{secrets.revoked, "wrong"} {
			stale := r.helm(t, secret)
			if got := statusOf(stale.login()); got != http.StatusUnauthorized {
				t.Errorf("a stale log-in ended with %d, want 401", got)
			}
			if got := statusOf(stale.push("demo/chart", "2.0.0", content(9))); got != http.StatusUnauthorized {
				t.Errorf("a stale push ended with %d, want 401", got)
			}
		}
		r.admin(t).wantTags("demo/chart", "1.2.3")
	})
}

// secrets are those of the machines of two projects, demo and other.
type secrets struct{ robot, revoked, runner, stranger string }

func newSecrets(t *testing.T, r *registry) secrets {
	t.Helper()
	owner := r.newProject(t, "demo")
	stale := newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush})
	revoked, err := owner.RevokeRobotWithResponse(t.Context(), "demo", stale.Robot.ID)
	must(t, err)
	if revoked.StatusCode() != http.StatusNoContent {
		t.Fatalf("revoking a robot: %s", revoked.Status())
	}
	elsewhere := r.newProject(t, "other")
	runner, err := owner.CreateRunnerWithResponse(t.Context(), "demo", nil, client.RunnerCreate{Name: "rack"})
	must(t, err)
	stranger, err := elsewhere.CreateRunnerWithResponse(t.Context(), "other", nil, client.RunnerCreate{Name: "rack"})
	must(t, err)
	return secrets{
		robot:   newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush}).Secret,
		revoked: stale.Secret, runner: runner.JSON201.Secret, stranger: stranger.JSON201.Secret,
	}
}
