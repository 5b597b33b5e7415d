// Package telemetry_test holds what telemetry promises against whole servers.
package telemetry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// output is a buffer that the server and the test share.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
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
	log  *output
	stop func() error // ends it and returns what Run returned
}

const observedToken = "an-administrator's-token-for-telemetry"

// settings are the defaults on free ports and in a folder of the test.
func settings(dir string) config.Config {
	cfg := config.Default()
	cfg.HTTP.Addr, cfg.Operation.MetricsAddr = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Database.URL = config.SecretURL("sqlite:" + filepath.Join(dir, "berth.db"))
	cfg.Storage.URL = config.SecretURL("file:" + filepath.Join(dir, "objects"))
	cfg.Admin.Token = observedToken
	return cfg
}

// start runs a server until the test ends.
func start(t *testing.T, cfg config.Config, kept *spans) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	i := &instance{log: &output{}}
	ready, ended := make(chan server.Addresses, 1), make(chan error, 1)
	opts := server.Options{
		Logger: server.NewLogger(i.log, cfg.Log), Version: "test", Ready: func(a server.Addresses) { ready <- a },
	}
	if kept != nil {
		opts.Spans = kept
	}
	go func() { ended <- server.Run(ctx, cfg, opts) }()
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

// do sends a request; headers are pairs.
func (i *instance) do(t *testing.T, method, path, body string, headers ...string) (status int, header http.Header, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, i.Endpoints.PublicURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n+1 < len(headers); n += 2 {
		request.Header.Add(headers[n], headers[n+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
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

// want is do that expects a status.
func (i *instance) want(t *testing.T, status int, method, path, body string, headers ...string) http.Header {
	t.Helper()
	got, header, answer := i.do(t, method, path, body, headers...)
	if got != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, answer)
	}
	return header
}

// scrape reads /metrics as Prometheus does.
func (i *instance) scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+i.Operator.String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %d, %v", response.StatusCode, err)
	}
	return families
}

func basic(token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+token))
}

// pusher talks to the registry, in one trace if it has a parent.
type pusher struct {
	*instance
	parent string // traceparent
}

func (p pusher) send(t *testing.T, status int, method, path, body string, headers ...string) http.Header {
	t.Helper()
	headers = append(headers, "Authorization", basic(observedToken))
	if p.parent != "" {
		headers = append(headers, "Traceparent", p.parent)
	}
	return p.want(t, status, method, path, body, headers...)
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// push pushes an image in every way that there is: its layer in a session, its config in one request.
func (p pusher) push(t *testing.T, name string, layer []byte) (layerDigest string) {
	t.Helper()
	layerDigest, configDigest := digestOf(layer), digestOf([]byte("{}"))
	uploads := "/v2/" + name + "/blobs/uploads/"
	session := p.send(t, http.StatusAccepted, http.MethodPost, uploads, "").Get("Location")
	session = p.send(t, http.StatusAccepted, http.MethodPatch, session, string(layer)).Get("Location")
	p.send(t, http.StatusCreated, http.MethodPut, session+"&digest="+layerDigest, "")
	p.send(t, http.StatusCreated, http.MethodPost, uploads+"?digest="+configDigest, "{}")
	p.send(t, http.StatusCreated, http.MethodPost, uploads+"?mount="+layerDigest, "")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/json","digest":%q,"size":2},`+
		`"layers":[{"mediaType":"application/octet-stream","digest":%q,"size":%d}]}`, manifestType, configDigest, layerDigest, len(layer))
	p.send(t, http.StatusCreated, http.MethodPut, "/v2/"+name+"/manifests/v1", manifest, "Content-Type", manifestType)
	return layerDigest
}

func (p pusher) pull(t *testing.T, name, layerDigest string) {
	t.Helper()
	p.send(t, http.StatusOK, http.MethodGet, "/v2/"+name+"/manifests/v1", "")
	p.send(t, http.StatusOK, http.MethodGet, "/v2/"+name+"/blobs/"+layerDigest, "")
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }
