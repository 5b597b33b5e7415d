package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is a buffer that the server and the test share.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// instance is a whole server in this process.
type instance struct {
	server.Addresses
	stdout, log *output
	stop        func() error // ends it and returns what Run returned
}

// settings are the defaults on free ports and in a folder of the test.
func settings(dir string) config.Config {
	cfg := config.Default()
	cfg.HTTP.Addr = "127.0.0.1:0"
	cfg.Operation.MetricsAddr = ""
	cfg.Database.URL = config.SecretURL("sqlite:" + filepath.Join(dir, "berth.db"))
	cfg.Storage.URL = config.SecretURL("file:" + filepath.Join(dir, "objects"))
	cfg.Log.Level = "debug"
	return cfg
}

// start runs a server until the test ends.
func start(t *testing.T, cfg config.Config, change ...func(*server.Options)) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	i := &instance{stdout: &output{}, log: &output{}}
	ready, ended := make(chan server.Addresses, 1), make(chan error, 1)
	go func() {
		opts := server.Options{
			Logger: server.NewLogger(i.log, cfg.Log), Stdout: i.stdout, Version: "test",
			Ready: func(a server.Addresses) { ready <- a },
		}
		for _, one := range change {
			one(&opts)
		}
		ended <- server.Run(ctx, cfg, opts)
	}()
	i.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := i.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case i.Addresses = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("Run: %v\n%s", err, i.log)
	}
	return i
}

func (i *instance) get(t *testing.T, path string, prepare func(*http.Request)) (status int, header http.Header, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.Endpoints.PublicURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(request)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

var (
	printedToken    = regexp.MustCompile(`(?m)^  registry token  (\S+)$`)
	printedPassword = regexp.MustCompile(`(?m)^  password        (\S+)$`)
)

func TestFirstStart(t *testing.T) {
	t.Parallel()
	cfg := settings(t.TempDir())
	first := start(t, cfg)
	out := first.stdout.String()
	token, password := printedToken.FindStringSubmatch(out), printedPassword.FindStringSubmatch(out)
	if token == nil || password == nil {
		t.Fatalf("no credentials on standard output:\n%s", out)
	}
	host := first.API.String()
	for _, expected := range []string{
		"URL             http://" + host, "e-mail          admin@localhost", "export BERTH_TOKEN='" + token[1] + "'",
		`echo "$BERTH_TOKEN" | docker login ` + host, "docker push " + host + "/demo/app:1",
		"auth login " + host, "skopeo login --tls-verify=false " + host, "berth is listening on " + host,
	} {
		if !strings.Contains(out, expected) {
			t.Errorf("%q is missing on standard output:\n%s", expected, out)
		}
	}

	status, header, _ := first.get(t, "/v2/", nil)
	challenge := header.Get("WWW-Authenticate")
	if status != http.StatusUnauthorized || !strings.Contains(challenge, `realm="http://`+host+`/auth/token"`) || !strings.Contains(challenge, `service="`+host+`"`) {
		t.Errorf("challenge: %d %s", status, challenge)
	}
	status, _, body := first.get(t, "/auth/token?service="+host, func(r *http.Request) { r.SetBasicAuth("anything", token[1]) })
	var issued struct{ Token string }
	if err := json.Unmarshal([]byte(body), &issued); status != http.StatusOK || err != nil || issued.Token == "" {
		t.Fatalf("token endpoint: %d %s", status, body)
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+issued.Token) }
	if status, _, body := first.get(t, "/v2/", bearer); status != http.StatusOK {
		t.Errorf("with a bearer token: %d %s", status, body)
	}
	if status, _, body := first.get(t, "/readyz", nil); status != http.StatusOK {
		t.Errorf("readiness: %d %s", status, body)
	}
	if err := first.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}

	second := start(t, cfg)
	if out := second.stdout.String(); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "berth is listening on ") {
		t.Errorf("the second start says:\n%s", out)
	}
	if status, _, _ := second.get(t, "/v2/", func(r *http.Request) { r.SetBasicAuth("x", token[1]) }); status != http.StatusOK {
		t.Errorf("the token does not work after a restart: %d", status)
	}
	logged := first.log.String() + second.log.String()
	for _, secret := range []string{token[1], password[1], issued.Token} {
		if strings.Contains(logged, secret) {
			t.Errorf("a secret is logged:\n%s", logged)
		}
	}
	if !strings.Contains(logged, "path=/auth/token") {
		t.Errorf("requests are not logged:\n%s", logged)
	}
}

func TestGivenCredentialsAreNotShown(t *testing.T) {
	t.Parallel()
	cfg := settings(t.TempDir())
	cfg.Admin = config.Admin{Email: "ops@example.com", Password: "a password of the operator", Token: "a-token-of-the-operator"}
	cfg.HTTP.PublicURL = "https://registry.example.com"
	i := start(t, cfg)
	if status, _, _ := i.ask(t, "http://"+i.API.String()+"/v2/", "a-token-of-the-operator"); status != http.StatusOK {
		t.Errorf("the given token does not work: %d", status)
	}
	shown := i.stdout.String() + i.log.String()
	if strings.Contains(shown, "of the operator") || strings.Contains(shown, "of-the-operator") {
		t.Errorf("what the operator gave is shown:\n%s", shown)
	}
	for _, expected := range []string{
		"as set in BERTH_ADMIN_PASSWORD", "as set in BERTH_ADMIN_TOKEN", `echo "$BERTH_ADMIN_TOKEN" | crane auth login registry.example.com`,
		"ops@example.com", "BERTH_ADMIN_TOKEN=REDACTED",
	} {
		if !strings.Contains(shown, expected) {
			t.Errorf("%q is missing:\n%s", expected, shown)
		}
	}
	if strings.Contains(i.stdout.String(), "tls-verify=false") {
		t.Errorf("commands for a server with TLS:\n%s", i.stdout)
	}
}

// ask asks a URL with a token.
func (i *instance) ask(t *testing.T, url, token string) (status int, header http.Header, body string) {
	t.Helper()
	other := *i
	other.Endpoints.PublicURL = url
	return other.get(t, "", func(r *http.Request) { r.SetBasicAuth("x", token) })
}

func TestReplicasStartAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blocks := 0
	for _, i := range []*instance{start(t, settings(dir)), start(t, settings(dir))} {
		if strings.Contains(i.stdout.String(), "first start") {
			blocks++
		}
		if status, _, body := i.get(t, "/readyz", nil); status != http.StatusOK {
			t.Errorf("readiness: %d %s", status, body)
		}
	}
	if blocks != 1 {
		t.Errorf("%d replicas showed credentials", blocks)
	}
}

func TestProfilesHaveAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	cfg := settings(t.TempDir())
	cfg.Operation.MetricsAddr = "127.0.0.1:0"
	i := start(t, cfg)
	for path, want := range map[string]int{
		"/debug/pprof/": http.StatusOK, "/debug/pprof/goroutine": http.StatusOK, "/debug/pprof/cmdline": http.StatusForbidden, "/v2/": http.StatusNotFound,
	} {
		if status, _, _ := i.ask(t, "http://"+i.Operator.String()+path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	if status, _, _ := i.get(t, "/debug/pprof/", nil); status != http.StatusNotFound {
		t.Errorf("profiles on the public address: %d", status)
	}

	taken := settings(t.TempDir())
	taken.Operation.MetricsAddr = i.Operator.String()
	other := start(t, taken)
	if other.Operator != nil || !strings.Contains(other.log.String(), "the address for metrics and profiles is taken") {
		t.Errorf("operator address %v, log:\n%s", other.Operator, other.log)
	}
}

func TestWhatKeepsAServerFromStarting(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	file := filepath.Join(t.TempDir(), "a-file")
	for variable, set := range map[string]func(*config.Config){
		"BERTH_ADDR":           func(c *config.Config) { c.HTTP.Addr = taken.Addr().String() },
		"BERTH_TLS_CERT":       func(c *config.Config) { c.TLS.Cert, c.TLS.Key = file, file },
		"BERTH_STORAGE_URL":    func(c *config.Config) { c.Storage.URL = "file:/dev/null/objects" },
		"BERTH_DATABASE_URL":   func(c *config.Config) { c.Database.URL = "sqlite:/dev/null/berth.db" },
		"BERTH_METRICS_ADDR":   func(c *config.Config) { c.Operation.MetricsAddr = "192.0.2.1:1" },
		"BERTH_LOG_LEVEL":      func(c *config.Config) { c.Log.Level = "loud" },
		"administrator":        func(c *config.Config) { c.Operation.Migrate = false }, // there are no tables
		"BERTH_ADMIN_TOKEN":    func(c *config.Config) { c.Admin.Token = "short" },
		"BERTH_ADMIN_PASSWORD": func(c *config.Config) { c.Admin.Password = "x" },
		"BERTH_ADMIN_TOKEN: begins with berth_": func(c *config.Config) {
			c.Admin.Token = config.Secret("berth_pat_" + strings.Repeat("A", 49)) // the form is right, the checksum is not
		},
	} {
		cfg := settings(t.TempDir())
		set(&cfg)
		err := server.Run(t.Context(), cfg, server.Options{})
		if err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

func TestPasswordsOfURLsAreNotInErrors(t *testing.T) {
	t.Parallel()
	cfg := settings(t.TempDir())
	cfg.Database.URL = "postgres://berth:hunter2@127.0.0.1:1/berth?connect_timeout=1"
	var log output
	err := server.Run(t.Context(), cfg, server.Options{Logger: server.NewLogger(&log, cfg.Log)})
	if err == nil || strings.Contains(err.Error()+log.String(), "hunter2") {
		t.Errorf("error %v, log:\n%s", err, &log)
	}
}

func TestAStopDuringTheStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.Run(ctx, settings(t.TempDir()), server.Options{}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}
