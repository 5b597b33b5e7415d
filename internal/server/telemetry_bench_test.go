package server_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

// discard takes spans and forgets them.
type discard struct{}

// ExportSpans implements sdktrace.SpanExporter.
func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }

// Shutdown implements sdktrace.SpanExporter.
func (discard) Shutdown(context.Context) error { return nil }

const benchToken = "an-administrator's-token-for-benchmarks"

// BenchmarkTelemetry answers the GET of a manifest by a whole server in this process, without a network, with more and
// more telemetry: docs/telemetry.md has what it showed. Every request is traced where any is.
func BenchmarkTelemetry(b *testing.B) {
	for _, mode := range []struct {
		name    string
		address string // of metrics
		spans   sdktrace.SpanExporter
	}{{"off", "", nil}, {"metrics", "127.0.0.1:0", nil}, {"metrics and traces", "127.0.0.1:0", discard{}}} {
		b.Run(mode.name, func(b *testing.B) {
			cfg := settings(b.TempDir())
			cfg.Operation.MetricsAddr, cfg.Admin.Token, cfg.RateLimit.Enabled = mode.address, benchToken, false
			handler := newHandler(b, cfg, server.Options{Spans: mode.spans})
			manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
			answer(b, handler, http.StatusCreated, http.MethodPut, "/v2/bench/app/manifests/v1", manifest)
			path := fmt.Sprintf("/v2/bench/app/manifests/sha256:%x", sha256.Sum256([]byte(manifest)))
			b.ReportAllocs()
			for b.Loop() {
				answer(b, handler, http.StatusOK, http.MethodGet, path, "")
			}
		})
	}
}

func newHandler(tb testing.TB, cfg config.Config, opts server.Options) http.Handler {
	tb.Helper()
	handler, end, err := server.NewHandler(tb.Context(), cfg, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := end(); err != nil {
			tb.Error(err)
		}
	})
	return handler
}

func answer(tb testing.TB, handler http.Handler, status int, method, path, body string) {
	tb.Helper()
	request := httptest.NewRequestWithContext(tb.Context(), method, path, strings.NewReader(body))
	request.SetBasicAuth("x", benchToken)
	if body != "" {
		request.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if recorder.Code != status {
		tb.Fatalf("%s %s: %d %s", method, path, recorder.Code, recorder.Body)
	}
}

// TestMetricsAllocateLittle holds what a request costs more with metrics than without.
func TestMetricsAllocateLittle(t *testing.T) { //nolint:paralleltest // counts allocations
	allocations := func(address string) float64 {
		cfg := settings(t.TempDir())
		cfg.Operation.MetricsAddr, cfg.Admin.Token, cfg.RateLimit.Enabled = address, benchToken, false
		cfg.Log.Level = "error"
		handler := newHandler(t, cfg, server.Options{})
		return testing.AllocsPerRun(200, func() {
			answer(t, handler, http.StatusOK, http.MethodGet, "/v2/", "")
		})
	}
	off, on := allocations(""), allocations("127.0.0.1:0")
	if on > off+3 {
		t.Errorf("%v allocations without metrics, %v with", off, on)
	}
}

// BenchmarkRefused answers a caller who is over the limit, by a whole server in this process, without a network.
func BenchmarkRefused(b *testing.B) {
	for _, credential := range []struct{ name, header string }{{"user", ""}, {"address", "Bearer none"}} {
		b.Run(credential.name, func(b *testing.B) {
			cfg := settings(b.TempDir())
			cfg.Admin.Token, cfg.Log.Level = benchToken, "info"
			cfg.RateLimit.ReadRate, cfg.RateLimit.ReadBurst = 1, 1
			handler := newHandler(b, cfg, server.Options{})
			ask := func() int {
				request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v2/bench/app/manifests/v1", nil)
				request.SetBasicAuth("x", benchToken)
				if credential.header != "" {
					request.Header.Set("Authorization", credential.header)
				}
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, request)
				return recorder.Code
			}
			ask()
			b.ReportAllocs()
			for b.Loop() {
				if status := ask(); status != http.StatusTooManyRequests {
					b.Fatalf("status %d", status)
				}
			}
		})
	}
}
