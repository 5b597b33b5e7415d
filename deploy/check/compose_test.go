package check

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeFolder = "../compose"

// project reads the compose file as docker compose does: strictly, against its schema, with the variables of .env.
func project(t *testing.T) *types.Project {
	t.Helper()
	variables := types.Mapping{}
	for line := range strings.Lines(string(read(t, filepath.Join(composeFolder, ".env.example")))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			if value == "" {
				value = "0123456789abcdef01234567"
			}
			variables[name] = value
		}
	}
	file := filepath.Join(composeFolder, "compose.yaml")
	loaded, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: composeFolder, ConfigFiles: []types.ConfigFile{{Filename: file}}, Environment: variables,
	}, func(o *loader.Options) { o.SetProjectName("berth", true) })
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestCompose(t *testing.T) {
	p := project(t)
	want := []string{"berth-1", "berth-2", "collector", "grafana", "postgres", "prometheus", "proxy", "s3"}
	if got := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(got, want) {
		t.Errorf("services are %v, want %v", got, want)
	}
	for name, service := range p.Services {
		if service.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s restarts %q", name, service.Restart)
		}
		if service.Deploy == nil || service.Deploy.Resources.Limits == nil || service.Deploy.Resources.Limits.MemoryBytes == 0 {
			t.Errorf("%s may take all memory", name)
		}
		if service.Privileged || !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain privileges: %v", name, service.SecurityOpt)
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				mustExist(t, name, volume.Source)
			}
		}
	}
}

func mustExist(t *testing.T, service, path string) {
	t.Helper()
	if found, err := filepath.Glob(path); err != nil || len(found) != 1 {
		t.Errorf("%s mounts %s, which is not there", service, path)
	}
}

// TestComposeWatchesHealth: a service that another one waits for says when it is well; Berth's image does so by itself.
func TestComposeWatchesHealth(t *testing.T) {
	p := project(t)
	for name, service := range p.Services {
		for needed, how := range service.DependsOn {
			if how.Condition != types.ServiceConditionHealthy {
				continue
			}
			inImage := strings.HasPrefix(p.Services[needed].Image, "berth:")
			if p.Services[needed].HealthCheck == nil && !inImage {
				t.Errorf("%s waits for %s, which has no health check", name, needed)
			}
		}
	}
}

func TestComposePublishesTheProxyAlone(t *testing.T) {
	for name, service := range project(t).Services {
		for _, port := range service.Ports {
			if name != "proxy" && port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q", name, port.Published, port.HostIP)
			}
		}
	}
}

// TestComposeReplicas: equal but for their volumes and addresses, and as the proxy and Prometheus name them.
func TestComposeReplicas(t *testing.T) {
	p := project(t)
	one, two, proxy := p.Services["berth-1"], p.Services["berth-2"], p.Services["proxy"]
	for name, value := range one.Environment {
		if other := two.Environment[name]; value == nil || other == nil || *value != *other {
			t.Errorf("%s differs between the replicas", name)
		}
	}
	if !one.ReadOnly || !slices.Contains(one.CapDrop, "ALL") {
		t.Error("a replica may write to its root, or has capabilities")
	}
	address := func(service types.ServiceConfig) string { return service.Networks["inside"].Ipv4Address }
	for variable, replica := range map[string]types.ServiceConfig{"REPLICA_ONE": one, "REPLICA_TWO": two} {
		if got := *proxy.Environment[variable]; got != address(replica)+":5000" {
			t.Errorf("%s is %s, the replica is at %s", variable, got, address(replica))
		}
	}
	if got := *one.Environment["BERTH_TRUSTED_PROXIES"]; got != address(proxy) || got == "" {
		t.Errorf("%s is trusted, the proxy is at %s", got, address(proxy))
	}
	if grace := one.StopGracePeriod; grace == nil || grace.String() != "1m25s" {
		t.Errorf("the grace period is %v, want delay, timeout and 15 s", grace)
	}
	var scraped struct {
		ScrapeConfigs []struct {
			JobName       string                       `json:"job_name"`
			StaticConfigs []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	parse(t, read(t, filepath.Join(composeFolder, "prometheus.yml")), &scraped)
	if job := scraped.ScrapeConfigs[0]; job.JobName != "berth" || !slices.Equal(job.StaticConfigs[0].Targets, []string{"berth-1:9090", "berth-2:9090"}) {
		t.Errorf("Prometheus scrapes %+v", scraped)
	}
}

// TestImagesArePinned: by a version, and the S3 server by that with which the tests run.
func TestImagesArePinned(t *testing.T) {
	version := regexp.MustCompile(`:v?[0-9]+(\.[0-9]+)*$`)
	gateway := regexp.MustCompile(`(?m)^versitygw\s+\S+\s+(v\S+)$`).FindStringSubmatch(string(read(t, "../../tools.versions")))
	if gateway == nil {
		t.Fatal("tools.versions has no versitygw")
	}
	for name, service := range project(t).Services {
		if !strings.HasPrefix(name, "berth-") && !version.MatchString(service.Image) {
			t.Errorf("%s has the image %s", name, service.Image)
		}
		if name == "s3" && !strings.HasSuffix(service.Image, ":"+gateway[1]) {
			t.Errorf("the image is %s, the tests use %s", service.Image, gateway[1])
		}
	}
}
