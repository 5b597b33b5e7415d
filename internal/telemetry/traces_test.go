package telemetry_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/testenv"
)

// spans keeps what a server has traced.
type spans struct {
	mu  sync.Mutex
	all []sdktrace.ReadOnlySpan
}

// ExportSpans implements sdktrace.SpanExporter.
func (s *spans) ExportSpans(_ context.Context, more []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, more...)
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (s *spans) Shutdown(context.Context) error { return nil }

// of returns the spans of a trace. The server must have ended.
func (s *spans) of(id string) []sdktrace.ReadOnlySpan {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []sdktrace.ReadOnlySpan
	for _, one := range s.all {
		if one.SpanContext().TraceID().String() == id {
			found = append(found, one)
		}
	}
	return found
}

// text is all that the spans tell.
func (s *spans) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	for _, one := range s.all {
		fmt.Fprintln(&out, one.Name(), one.Attributes(), one.Events(), one.Status(), one.Resource())
	}
	return out.String()
}

// TestAPushAndAPullAreOneTraceEach holds the whole way of a request: HTTP, database, storage, and S3 behind that.
func TestAPushAndAPullAreOneTraceEach(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*config.Config){
		"SQLite and a folder": func(*config.Config) {},
		"PostgreSQL and S3": func(c *config.Config) {
			c.Database.URL, c.Storage.URL = config.SecretURL(testenv.Postgres(t)), config.SecretURL(testenv.S3(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, kept := settings(t.TempDir()), &spans{}
			cfg.Uploads.ChunkSize = 5 << 20
			prepare(&cfg)
			i := start(t, cfg, kept)
			const push, pull = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
			layer := bytes.Repeat([]byte("berth"), 12<<20/5) // in three chunks
			digest := pusher{i, "00-" + push + "-b7ad6b7169203331-01"}.push(t, "traced/app", layer)
			pusher{i, "00-" + pull + "-b7ad6b7169203331-01"}.pull(t, "traced/app", digest)
			i.want(t, http.StatusOK, http.MethodGet, "/healthz", "")
			if err := i.stop(); err != nil {
				t.Fatal(err)
			}
			pushed, pulled := nested(t, kept.of(push)), nested(t, kept.of(pull))
			write, read := []string{"storage.write"}, []string{"storage.read"}
			if strings.HasPrefix(cfg.Storage.URL.Reveal(), "s3:") {
				write, read = append(write, "storage.write/S3 PutObject"), append(read, "storage.read/S3 GetObject")
			}
			expect(t, pushed, map[string][]string{
				"oci.blob.upload.start": nil, "oci.blob.upload.chunk": append([]string{"BATCH"}, write...), "oci.blob.upload.complete": {"BATCH"},
				"oci.blob.upload.monolithic": append([]string{"BATCH"}, write...), "oci.blob.mount": {"BATCH"}, "oci.manifest.put": {"BATCH"},
			})
			expect(t, pulled, map[string][]string{"oci.manifest.get": {"SELECT "}, "oci.blob.get": append([]string{"SELECT "}, read...)})
			if n := count(pushed["oci.blob.upload.chunk"], "storage.write"); n < 2 {
				t.Errorf("%d objects in the span of a body of three chunks: %v", n, pushed["oci.blob.upload.chunk"])
			}
			tells := kept.text()
			for _, secret := range []string{observedToken, basic(observedToken), "_state", "digest=", "INSERT INTO"} {
				if strings.Contains(tells, secret) {
					t.Errorf("the spans tell %q", secret)
				}
			}
			if strings.Contains(tells, "healthz") {
				t.Error("a probe is traced")
			}
			if log := i.log.String(); !strings.Contains(log, "trace_id="+push) || !strings.Contains(log, "span_id=") {
				t.Errorf("no trace IDs in the log:\n%s", log)
			}
		})
	}
}

// nested checks a trace and returns, for each request in it, the paths of the spans below: "storage.write/S3 PutObject".
func nested(t *testing.T, all []sdktrace.ReadOnlySpan) map[string][]string {
	t.Helper()
	byID := make(map[trace.SpanID]sdktrace.ReadOnlySpan)
	for _, one := range all {
		byID[one.SpanContext().SpanID()] = one
	}
	below := make(map[string][]string)
	for _, one := range all {
		if one.Parent().IsRemote() {
			if one.SpanKind() != trace.SpanKindServer {
				t.Errorf("%s is the child of a client's span, and no server's", one.Name())
			}
			below[one.Name()] = append(below[one.Name()], "")
			continue
		}
		path, at := one.Name(), one
		for !at.Parent().IsRemote() {
			parent, ok := byID[at.Parent().SpanID()]
			if !ok {
				t.Fatalf("%s has no parent", at.Name())
			}
			if at.StartTime().Before(parent.StartTime()) || at.EndTime().After(parent.EndTime()) {
				t.Errorf("%s is not within %s", at.Name(), parent.Name())
			}
			if at = parent; !at.Parent().IsRemote() {
				path = at.Name() + "/" + path
			}
		}
		below[at.Name()] = append(below[at.Name()], path)
	}
	return below
}

// expect checks that exactly these requests were traced, each with at least these spans, by the beginnings of their paths.
func expect(t *testing.T, got map[string][]string, want map[string][]string) {
	t.Helper()
	if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
		t.Errorf("requests %v, want %v", a, b)
	}
	for request, paths := range want {
		for _, path := range paths {
			if count(got[request], path) == 0 {
				t.Errorf("%s: no span %s in %q", request, path, got[request])
			}
		}
	}
}

func count(paths []string, prefix string) (n int) {
	for _, path := range paths {
		if strings.HasPrefix(path, prefix) {
			n++
		}
	}
	return n
}
