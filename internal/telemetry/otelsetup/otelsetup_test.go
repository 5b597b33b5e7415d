package otelsetup_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/berthregistry/berth/internal/telemetry/observe"
	"github.com/berthregistry/berth/internal/telemetry/otelsetup"
)

// collector takes what is sent by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	sent map[string][]byte // by path
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{sent: make(map[string][]byte)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sent[r.URL.Path] = append(c.sent[r.URL.Path], body...)
	}))
	t.Cleanup(c.Close)
	return c
}

// got are the bytes at a path; texts stand in them as they are.
func (c *collector) got(path string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[path]
}

func startWith(t *testing.T, scrape bool, env ...string) (*otelsetup.Telemetry, error) {
	t.Helper()
	for _, variable := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(variable, "")
	}
	for i := 0; i+1 < len(env); i += 2 {
		t.Setenv(env[i], env[i+1])
	}
	started, err := otelsetup.Start(t.Context(), otelsetup.Config{
		Version: "1.2.3", Scrape: scrape, Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		t.Cleanup(func() { _ = started.Stop(context.Background()) })
	}
	return started, err
}

// use makes a span and a metric, and ends.
func use(t *testing.T, telemetry *otelsetup.Telemetry) error {
	t.Helper()
	o := telemetry.Observer()
	if tracer := o.Tracer(); tracer != nil {
		_, span := tracer.Start(t.Context(), "a-span-of-the-test")
		span.End()
	}
	o.Publish(observe.Figure{
		Name: "a.figure.of.the.test", Unit: "{thing}", Help: "Things.", Kind: observe.Counter,
		Read: observe.Value(func() int64 { return 7 }),
	})
	return telemetry.Stop(t.Context())
}

func TestEverythingGoesToTheCollector(t *testing.T) { //nolint:paralleltest // sets the environment
	to := newCollector(t)
	telemetry, err := startWith(t, false, "OTEL_EXPORTER_OTLP_ENDPOINT", to.URL, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf",
		"OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=under-test")
	if err != nil {
		t.Fatal(err)
	}
	if telemetry.Handler() != nil {
		t.Error("metrics to scrape, which nobody asked for")
	}
	if err := use(t, telemetry); err != nil {
		t.Fatal(err)
	}
	for path, told := range map[string][]string{
		"/v1/traces":  {"a-span-of-the-test", "service.name", "berth", "1.2.3", "under-test"},
		"/v1/metrics": {"a.figure.of.the.test", "service.name", "berth", "1.2.3", "under-test", "go.goroutine.count"},
	} {
		for _, text := range told {
			if !bytes.Contains(to.got(path), []byte(text)) {
				t.Errorf("%s: %q is missing in %d bytes", path, text, len(to.got(path)))
			}
		}
	}
}

func TestWhatTheEnvironmentAsksFor(t *testing.T) { //nolint:paralleltest // sets the environment
	to := newCollector(t)
	const endpoint, protocol, http = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
	for name, tt := range map[string]struct {
		env             []string
		traces, metrics bool
	}{
		"nothing":       {nil, false, false},
		"disabled":      {[]string{"OTEL_SDK_DISABLED", "true", endpoint, to.URL, protocol, http}, false, false},
		"both":          {[]string{endpoint, to.URL, protocol, http}, true, true},
		"a name":        {[]string{"OTEL_SERVICE_NAME", "other", endpoint, to.URL, protocol, http}, true, true},
		"no metrics":    {[]string{endpoint, to.URL, protocol, http, "OTEL_METRICS_EXPORTER", "none"}, true, false},
		"traces alone":  {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", to.URL + "/v1/traces", protocol, http}, true, false},
		"metrics alone": {[]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", to.URL + "/v1/metrics", protocol, http}, false, true},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // sets the environment
			to.mu.Lock()
			clear(to.sent)
			to.mu.Unlock()
			telemetry, err := startWith(t, false, tt.env...)
			if err != nil {
				t.Fatal(err)
			}
			if err := use(t, telemetry); err != nil {
				t.Fatal(err)
			}
			if (telemetry.Observer() != nil) != (tt.traces || tt.metrics) {
				t.Errorf("observer %v", telemetry.Observer())
			}
			if traces, metrics := len(to.got("/v1/traces")) > 0, len(to.got("/v1/metrics")) > 0; traces != tt.traces || metrics != tt.metrics {
				t.Errorf("traces %t, metrics %t", traces, metrics)
			}
			if named := bytes.Contains(to.got("/v1/traces"), []byte("other")); named != (name == "a name") {
				t.Errorf("named by OTEL_SERVICE_NAME: %t", named)
			}
		})
	}
}

func TestWhatCannotWork(t *testing.T) { //nolint:paralleltest // sets the environment
	for _, env := range [][]string{
		{"OTEL_TRACES_EXPORTER", "zipkin"}, {"OTEL_METRICS_EXPORTER", "prometheus"}, {"OTEL_METRICS_EXPORTER", "statsd"},
	} {
		if _, err := startWith(t, false, env...); err == nil || !strings.Contains(err.Error(), env[0]+"="+env[1]) {
			t.Errorf("%v: %v", env, err)
		}
	}
}

// TestACollectorThatIsNotThere costs nothing but what it should have had.
func TestACollectorThatIsNotThere(t *testing.T) { //nolint:paralleltest // sets the environment
	to := newCollector(t)
	to.Close()
	telemetry, err := startWith(t, true, "OTEL_EXPORTER_OTLP_ENDPOINT", to.URL, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf",
		"OTEL_EXPORTER_OTLP_TIMEOUT", "500")
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	telemetry.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "go_goroutine_count") {
		t.Errorf("scrape: %d %s", answer.Code, answer.Body)
	}
	if err := use(t, telemetry); err == nil {
		t.Error("the last telemetry went somewhere")
	}
}
