package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	server, lines := newFront(t, nil)
	tests := map[string]struct {
		sent []string
		kept bool
	}{
		"none":           {nil, false},
		"sane":           {[]string{"abc-123_x.Y"}, true},
		"longest":        {[]string{strings.Repeat("a", 64)}, true},
		"too long":       {[]string{strings.Repeat("a", 65)}, false},
		"empty":          {[]string{""}, false},
		"log injection":  {[]string{"a\nlevel=ERROR"}, false},
		"two of them":    {[]string{"a", "b"}, false},
		"beyond ASCII":   {[]string{"ä"}, false},
		"with a newline": {[]string{"abc\n"}, false},
	}
	for name, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/x/"+strings.ReplaceAll(name, " ", "-"), nil)
		r.Header[requestIDHeader] = tt.sent
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		id := w.Header().Get(requestIDHeader)
		if kept := len(tt.sent) == 1 && id == tt.sent[0]; kept != tt.kept {
			t.Errorf("%s: %q became %q", name, tt.sent, id)
		}
		if parsed, err := uuid.Parse(id); !tt.kept && (err != nil || parsed.Version() != 7) {
			t.Errorf("%s: the new ID %q is no UUIDv7", name, id)
		}
		var body struct {
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.RequestID != id {
			t.Errorf("%s: body %s, want the ID %s", name, w.Body, id)
		}
	}
	for _, line := range lines.with(t, "request") {
		if line["request_id"] == nil || line["request_id"] == "" {
			t.Errorf("line without an ID: %v", line)
		}
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	server, lines := newFront(t, func(c *Config) { c.HTTP.TrustedProxies = []string{"192.0.2.0/24"} }, routes{
		"/v2/*path": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			reqlog.Set(r.Context(), reqlog.Principal, "user:7")
			reqlog.Set(r.Context(), reqlog.Route, "blob.upload.chunk")
			reqlog.Fail(r.Context(), errors.New("disk on fire"))
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "sorry")
		},
	})
	r := httptest.NewRequest(http.MethodPatch, "/v2/a/blobs/uploads/1?_state=hidden-state", strings.NewReader("0123456789"))
	r.Header.Set("Authorization", "Bearer hidden-token")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	r.Header.Set("User-Agent", "crane/1")
	server.ServeHTTP(httptest.NewRecorder(), r)

	found := lines.with(t, "request")
	if len(found) != 1 {
		t.Fatalf("log:\n%s", lines)
	}
	line := found[0]
	for _, key := range []string{"time", "duration", "request_id"} {
		if line[key] == nil {
			t.Errorf("%s is missing", key)
		}
		delete(line, key)
	}
	want := map[string]any{
		"level": "WARN", "msg": "request", "method": "PATCH", "path": "/v2/a/blobs/uploads/1", "route": "blob.upload.chunk",
		"status": 503.0, "bytes_in": 10.0, "bytes_out": 5.0, "principal": "user:7", "remote_ip": "203.0.113.9",
		"user_agent": "crane/1", "error": "disk on fire",
	}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if strings.Contains(lines.String(), "hidden") {
		t.Errorf("a secret is logged:\n%s", lines)
	}
}

func TestForwardedForIsBelievedOnlyFromTrustedProxies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		trusted []string
		want    string
	}{
		"no proxies":    {nil, "192.0.2.1"},
		"another proxy": {[]string{"198.51.100.0/24"}, "192.0.2.1"},
		"its proxy":     {[]string{"192.0.2.1"}, "203.0.113.9"},
	} {
		server, lines := newFront(t, func(c *Config) { c.HTTP.TrustedProxies = tt.trusted })
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil) // from 192.0.2.1
		r.Header.Set("X-Forwarded-For", "10.9.9.9, 203.0.113.9")
		r.Header.Set("X-Real-Ip", "10.8.8.8")
		server.ServeHTTP(httptest.NewRecorder(), r)
		if got := lines.with(t, "request")[0]["remote_ip"]; got != tt.want {
			t.Errorf("%s: remote IP %v, want %s", name, got, tt.want)
		}
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	server, lines := newFront(t, nil, routes{
		"/v2/*path": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:x")
			panic("internal-detail")
		},
		"/api/v1/*path": func(http.ResponseWriter, *http.Request) { panic(errors.New("internal-detail")) },
	})
	for path, contentType := range map[string]string{"/v2/a": "application/json", "/api/v1/a": "application/problem+json"} {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusInternalServerError || w.Header().Get("Content-Type") != contentType {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if strings.Contains(w.Body.String(), "internal-detail") || w.Header().Get("Docker-Content-Digest") != "" {
			t.Errorf("%s: headers %v, body %s", path, w.Header(), w.Body)
		}
		if w.Header().Get(requestIDHeader) == "" {
			t.Errorf("%s: no request ID", path)
		}
	}
	reports := lines.with(t, "a handler panicked")
	if len(reports) != 2 || !strings.Contains(fmt.Sprint(reports[0]["stack"]), "edge_test.go") || reports[0]["request_id"] == nil {
		t.Errorf("log:\n%s", lines)
	}
	for _, line := range lines.with(t, "request") {
		if line["error"] != "panic: internal-detail" || line["aborted"] != true || line["status"] != 500.0 {
			t.Errorf("access log: %v", line)
		}
	}
}

func TestAPanicInTheMiddleOfAnAnswerBreaksTheConnection(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]any{"panic": "late", "abort": http.ErrAbortHandler} {
		server, lines := newFront(t, nil, routes{"/half": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(cause)
		}})
		r := serve(t, server, listen(t))
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get("http://" + r.addr + "/half")
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); err == nil {
			t.Errorf("%s: the client takes %q for a whole answer", name, body)
		}
		_ = response.Body.Close()
		r.stop()
		<-r.closed
		r.ended <- <-r.ended
		if lines := lines.with(t, "request"); len(lines) != 1 || lines[0]["aborted"] != true {
			t.Errorf("%s: log %v", name, lines)
		}
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	server, _ := newFront(t, nil, routes{"/v2/*path": func(http.ResponseWriter, *http.Request) {}})
	tests := []struct {
		method, path string
		status       int
		contentType  string
		allow        bool
	}{
		{http.MethodGet, "/", 404, "application/problem+json", false},
		{http.MethodGet, "/v2x", 404, "application/problem+json", false},
		{http.MethodGet, "/api/v1/none", 404, "application/problem+json", false},
		{http.MethodGet, "/V2/", 404, "application/problem+json", false},
		{http.MethodGet, "//v2/", 404, "application/problem+json", false},
		{http.MethodGet, "/auth/none", 404, "application/json", false},
		{http.MethodHead, "/auth/none", 404, "application/json", false},
		{http.MethodDelete, "/healthz", 405, "application/problem+json", true},
		{"PROPFIND", "/v2/a", 405, "application/json", true},
		{http.MethodGet, "/v2/a/%2F/b", 200, "", false},
		{http.MethodGet, "/healthz/", 404, "application/problem+json", false},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || w.Header().Get("Content-Type") != tt.contentType || (w.Header().Get("Allow") != "") != tt.allow {
			t.Errorf("%s %s: %d %v", tt.method, tt.path, w.Code, w.Header())
		}
		if w.Header().Get("Location") != "" {
			t.Errorf("%s %s: redirected", tt.method, tt.path)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	authenticated := routes{"/v2/*path": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }}
	on, _ := newFront(t, func(c *Config) { c.HTTP.CORSOrigins = []string{"https://ui.example.com"} }, authenticated)
	off, _ := newFront(t, nil, authenticated)
	tests := map[string]struct {
		server       *Server
		method, path string
		origin       string
		preflight    bool
		status       int
		allowed      bool
	}{
		"preflight":              {on, http.MethodOptions, "/v2/a/blobs/uploads/", "https://ui.example.com", true, 204, true},
		"request":                {on, http.MethodGet, "/v2/", "https://ui.example.com", false, 401, true},
		"options, no preflight":  {on, http.MethodOptions, "/v2/", "https://ui.example.com", false, 401, true},
		"other origin preflight": {on, http.MethodOptions, "/v2/", "https://evil.example.com", true, 401, false},
		"other origin":           {on, http.MethodGet, "/v2/", "https://ui.example.com.evil.example", false, 401, false},
		"other path":             {on, http.MethodOptions, "/healthz", "https://ui.example.com", true, 405, false},
		"off":                    {off, http.MethodOptions, "/v2/", "https://ui.example.com", true, 401, false},
	}
	for name, tt := range tests {
		r := httptest.NewRequest(tt.method, tt.path, nil)
		r.Header.Set("Origin", tt.origin)
		if tt.preflight {
			r.Header.Set("Access-Control-Request-Method", http.MethodPatch)
			r.Header.Set("Access-Control-Request-Headers", "authorization,content-range")
		}
		w := httptest.NewRecorder()
		tt.server.ServeHTTP(w, r)
		header := w.Header()
		if w.Code != tt.status || (header.Get("Access-Control-Allow-Origin") == tt.origin) != tt.allowed {
			t.Errorf("%s: %d %v", name, w.Code, header)
		}
		if header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: credentials are allowed", name)
		}
		if tt.allowed {
			for _, exposed := range []string{"Docker-Content-Digest", "Link", "Location", "Range", "OCI-Subject", "WWW-Authenticate"} {
				if !strings.Contains(header.Get("Access-Control-Expose-Headers"), exposed) {
					t.Errorf("%s: %s is not exposed", name, exposed)
				}
			}
		}
		if tt.status == http.StatusNoContent && !strings.Contains(header.Get("Access-Control-Allow-Methods"), http.MethodPatch) {
			t.Errorf("%s: methods %q", name, header.Get("Access-Control-Allow-Methods"))
		}
		if varies := strings.Contains(strings.Join(header.Values("Vary"), ","), "Origin"); varies != (tt.server == on && tt.path != "/healthz") {
			t.Errorf("%s: Vary %v", name, header.Values("Vary"))
		}
	}
}

// TestAccessLogOfClientsThatLeave: a client that cancels as often as it likes is no failure of the server.
func TestAccessLogOfClientsThatLeave(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var status int
	server, lines := newFront(t, nil, routes{"/v2/*path": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/gone" {
			cancel()
		}
		reqlog.Fail(r.Context(), errors.Join(errors.New("disk on fire"), r.Context().Err()))
		w.WriteHeader(status)
	}})
	for _, status = range []int{http.StatusServiceUnavailable, http.StatusInternalServerError} {
		server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v2/stays", nil))
		server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v2/gone", nil).WithContext(ctx))
	}
	server.edge.cutting.Store(true)
	server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v2/gone", nil).WithContext(ctx))
	var got []string
	for _, line := range lines.with(t, "request") {
		got = append(got, fmt.Sprint(line["level"], line["path"], line["client_gone"]))
	}
	want := []string{
		"WARN/v2/stays<nil>", "INFO/v2/gonetrue", "ERROR/v2/stays<nil>", "INFO/v2/gonetrue", "ERROR/v2/gone<nil>",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAccessLogOfResetStreams resets streams of HTTP/2 under their handlers.
func TestAccessLogOfResetStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, lines := newFront(t, idleSettings, routes{"/v2/*path": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusServiceUnavailable)
		}})
		listener := newPipes()
		serve(t, server, listener)
		client := listener.client(t, true)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://berth/v2/reset", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if response, err := client.Do(request); err == nil {
				t.Errorf("answer %s", response.Status)
				_ = response.Body.Close()
			}
			cancel()
		}
		synctest.Wait()
		found := lines.with(t, "request")
		if len(found) != 20 {
			t.Errorf("%d lines", len(found))
		}
		for _, line := range found {
			if line["level"] != "INFO" || line["client_gone"] != true {
				t.Errorf("logged %v", line)
			}
		}
	})
}
