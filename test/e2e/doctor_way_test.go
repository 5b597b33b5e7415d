package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/doctor"
	"github.com/berthregistry/berth/internal/testenv"
)

// faulty is a proxy with one fault at a time.
type faulty struct {
	server *httptest.Server
	mu     sync.Mutex
	target *url.URL
	from   *http.Transport
	fault  planted
}

// planted is a fault of a proxy.
type planted struct {
	request  func(*http.Request)                           // changes what is passed on
	client   func(in, out *http.Request)                   // the same, by what the client sent
	instead  func(http.ResponseWriter, *http.Request) bool // answers by itself
	response func(*http.Response)                          // changes what comes back
}

func newFaulty(t *testing.T, from *http.Transport) *faulty {
	t.Helper()
	f := &faulty{from: from, server: httptest.NewUnstartedServer(nil)}
	f.server.Config.Handler = http.HandlerFunc(f.serve)
	t.Cleanup(f.server.Close)
	t.Cleanup(from.CloseIdleConnections)
	return f
}

func (f *faulty) address() string { return f.server.Listener.Addr().String() }

func (f *faulty) passTo(t *testing.T, target string) {
	t.Helper()
	var err error
	f.target, err = url.Parse(target)
	must(t, err)
}

func (f *faulty) plant(p planted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = p
}

func (f *faulty) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	p := f.fault
	f.mu.Unlock()
	if p.instead != nil && p.instead(w, r) {
		return
	}
	(&httputil.ReverseProxy{
		Transport: f.from, FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(f.target)
			pr.Out.Host = pr.In.Host
			if p.request != nil {
				p.request(pr.Out)
			}
			if p.client != nil {
				p.client(pr.In, pr.Out)
			}
		},
		ModifyResponse: func(answer *http.Response) error {
			if p.response != nil {
				p.response(answer)
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}).ServeHTTP(w, r)
}

// answers makes a fault that answers requests by itself.
func answers(status int, when func(*http.Request) bool, header ...string) planted {
	return planted{instead: func(w http.ResponseWriter, r *http.Request) bool {
		if !when(r) {
			return false
		}
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		return true
	}}
}

func at(path string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, path) }
}

func uploads(r *http.Request) bool { return r.Method == http.MethodPatch }

func testDoctorWay(t *testing.T, program string) {
	f := newFaulty(t, &http.Transport{DialContext: dialFrom, DisableKeepAlives: true})
	b := embedded(t)
	public := "BERTH_PUBLIC_URL=http://" + f.address()
	c := startChild(t, program, b, public, "BERTH_TRUSTED_PROXIES="+proxyAddress)
	f.passTo(t, c.base)
	f.server.Start()
	settings := []string{"BERTH_DATABASE_URL=" + b.database, "BERTH_STORAGE_URL=" + b.storage, public, "BERTH_TRUSTED_PROXIES=" + proxyAddress}
	forwarded := func(r *http.Request) { r.Header.Set("X-Forwarded-For", "127.0.0.1") }
	for _, tt := range []struct {
		name    string
		fault   planted
		more    []string
		check   string
		level   doctor.Level
		message string
	}{
		{"as it should be", planted{request: forwarded}, nil, "proxy.forwarded", doctor.OK, "trusted proxy"},
		{"nobody there", planted{}, []string{"BERTH_PUBLIC_URL=http://127.0.0.1:1"}, "client.reach", doctor.Failure, "nothing answers"},
		{"a redirect", answers(301, at("/v2/"), "Location", "https://elsewhere.example/v2/"), nil, "client.challenge", doctor.Failure, "redirects to https://elsewhere.example/v2/"},
		{"no challenge", answers(200, at("/v2/")), nil, "client.challenge", doctor.Failure, "answers 200"},
		{"a broken proxy", answers(502, at("/v2/")), nil, "client.challenge", doctor.Failure, "answers 502"},
		{"another realm", planted{}, []string{"BERTH_TOKEN_REALM=http://127.0.0.1:1/auth/token"}, "client.realm", doctor.Failure, "/auth/token"},
		{"another service", planted{}, []string{"BERTH_TOKEN_SERVICE=another"}, "client.service", doctor.Failure, "another"},
		{"no token endpoint", answers(404, at("/auth/")), nil, "client.token", doctor.Failure, "404"},
		{"a limited token endpoint", answers(429, at("/auth/")), nil, "client.token", doctor.Warning, "limits"},
		{"another time", planted{response: func(a *http.Response) {
			a.Header.Set("Date", time.Now().Add(-5*time.Minute).UTC().Format(http.TimeFormat))
		}}, nil, "clock.server", doctor.Failure, "differs by -"},
		{"another Location", planted{response: func(a *http.Response) {
			if a.Header.Get("Location") != "" {
				a.Header.Set("Location", "http://internal:5000"+a.Header.Get("Location"))
			}
		}}, nil, "proxy.location", doctor.Failure, "http://internal:5000/healthz"},
		{"no probe", answers(404, at("/healthz")), nil, "proxy.probe", doctor.Warning, "404"},
		{"a client is believed", planted{client: func(in, out *http.Request) { out.Header.Set("X-Forwarded-For", in.Header.Get("X-Forwarded-For")) }}, nil, "proxy.spoof", doctor.Failure, "any address"},
		{"another scheme", planted{request: func(r *http.Request) {
			forwarded(r)
			r.Header.Set("X-Forwarded-Proto", "https")
		}}, nil, "proxy.proto", doctor.Warning, `"https"`},
		{"another host", planted{request: func(r *http.Request) {
			forwarded(r)
			r.Host = "backend:5000"
		}}, nil, "proxy.host", doctor.Warning, `"backend:5000"`},
		{"a realm by header", planted{response: func(a *http.Response) {
			if host := a.Request.Header.Get("X-Asked-Host"); host != "" {
				a.Header.Set("WWW-Authenticate", `Bearer realm="https://`+host+`/auth/token",service="x"`)
			}
		}, client: func(in, out *http.Request) { out.Header.Set("X-Asked-Host", in.Header.Get("X-Forwarded-Host")) }}, nil, "proxy.realm", doctor.Failure, "elsewhere.invalid"},
		{"small bodies only", answers(413, func(r *http.Request) bool { return r.ContentLength > 1<<20 }), nil, "proxy.body", doctor.Failure, "413"},
		{"no uploads", answers(405, uploads), nil, "proxy.body", doctor.Warning, "405"},
		{"gathered bodies", planted{instead: func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			return false
		}}, nil, "proxy.buffering", doctor.Failure, "gathers"},
		{"cut uploads", planted{instead: func(_ http.ResponseWriter, r *http.Request) bool {
			if uploads(r) {
				panic(http.ErrAbortHandler)
			}
			return false
		}}, nil, "proxy.body", doctor.Warning, "ends when"},
	} {
		f.plant(tt.fault)
		e := examine(t, program, append(settings, tt.more...)...)
		e.finds(tt.check, tt.level, tt.message)
		if t.Failed() {
			t.Fatalf("%s (above)", tt.name)
		}
	}
	examine(t, program, "BERTH_DATABASE_URL="+b.database, "BERTH_STORAGE_URL="+b.storage, public).finds("proxy.forwarded", doctor.OK, "without")
	testDoctorStranger(t, program)
	testDoctorTLS(t, program)
}

// testDoctorStranger has a proxy that the server does not trust.
func testDoctorStranger(t *testing.T, program string) {
	t.Helper()
	f := newFaulty(t, &http.Transport{DialContext: dialFrom, DisableKeepAlives: true})
	b, public := embedded(t), "BERTH_PUBLIC_URL=http://"+f.address()
	c := startChild(t, program, b, public)
	f.passTo(t, c.base)
	f.plant(planted{request: func(r *http.Request) { r.Header.Set("X-Forwarded-For", "127.0.0.1") }})
	f.server.Start()
	examine(t, program, "BERTH_DATABASE_URL="+b.database, "BERTH_STORAGE_URL="+b.storage, public).finds("proxy.forwarded", doctor.Warning, "not among BERTH_TRUSTED_PROXIES")
}

func tlsWith(pair tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// testDoctorTLS has a proxy that ends TLS.
func testDoctorTLS(t *testing.T, program string) {
	t.Helper()
	for _, tt := range []struct {
		life    time.Duration
		trusted bool
		check   string
		level   doctor.Level
	}{
		{1000 * time.Hour, true, "tls.expiry", doctor.OK},
		{1000 * time.Hour, false, "tls.trust", doctor.Failure},
		{100 * time.Hour, true, "tls.expiry", doctor.Warning},
		{-time.Hour, true, "tls.expiry", doctor.Failure},
	} {
		cert, _, pair := certificate(t, tt.life)
		f := newFaulty(t, &http.Transport{DialContext: dialFrom, DisableKeepAlives: true})
		f.server.TLS = tlsWith(pair)
		b, public := embedded(t), "BERTH_PUBLIC_URL=https://"+f.address()
		c := startChild(t, program, b, public)
		f.passTo(t, c.base)
		f.server.StartTLS()
		settings := []string{"BERTH_DATABASE_URL=" + b.database, "BERTH_STORAGE_URL=" + b.storage, public}
		if tt.trusted {
			settings = append(settings, "SSL_CERT_FILE="+cert)
		}
		e := examine(t, program, settings...)
		e.finds(tt.check, tt.level, "")
		e.finds("proxy.forwarded", doctor.Warning, "ends TLS")
		e.finds("proxy.body", doctor.OK, "")
		if tt.trusted && len(e.of("tls.trust")) > 0 {
			t.Errorf("a trusted certificate: %+v", e.of("tls.trust"))
		}
	}
}

func testDoctorBucket(t *testing.T, program string) {
	bucket, err := url.Parse(testenv.S3(t))
	must(t, err)
	query := bucket.Query()
	f := newFaulty(t, &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8})
	f.passTo(t, query.Get("endpoint"))
	query.Set("endpoint", "http://"+f.address())
	bucket.RawQuery = query.Encode()
	f.server.Start()
	b := backends{database: embedded(t).prepare(t).database, storage: bucket.String()}
	signed := func(r *http.Request) bool { return r.URL.Query().Has("X-Amz-Signature") }
	header := func(method string) func(*http.Request) bool {
		return func(r *http.Request) bool {
			return r.Method == method && !signed(r) && !r.URL.Query().Has("list-type")
		}
	}
	removes := func(r *http.Request) bool {
		return r.Method == http.MethodDelete && !r.URL.Query().Has("uploadId") || r.Method == http.MethodPost && r.URL.Query().Has("delete")
	}
	for _, tt := range []struct {
		name  string
		fault planted
		more  []string
		check string
		level doctor.Level
	}{
		{"as it should be", planted{}, []string{"BERTH_STORAGE_REDIRECT=true"}, "storage.presign", doctor.OK},
		{"no bucket", answers(404, func(*http.Request) bool { return true }), nil, "storage.reach", doctor.Failure},
		{"no writing", answers(403, header(http.MethodPut)), nil, "storage.write", doctor.Failure},
		{"only small objects", answers(413, func(r *http.Request) bool { return r.ContentLength > 1<<20 }), nil, "storage.write", doctor.Failure},
		{"slow writing", planted{response: func(a *http.Response) {
			if a.Request.Method == http.MethodPut {
				<-time.NewTimer(300 * time.Millisecond).C
			}
		}}, nil, "storage.write", doctor.Warning},
		{"no reading", answers(403, header(http.MethodGet)), nil, "storage.read", doctor.Failure},
		{"no ranges", planted{request: func(r *http.Request) { r.Header.Del("Range") }}, nil, "storage.range", doctor.Failure},
		{"no listing", answers(403, func(r *http.Request) bool { return r.URL.Query().Has("list-type") }), nil, "storage.list", doctor.Failure},
		{"no copying", answers(501, func(r *http.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" }), nil, "storage.copy", doctor.Failure},
		{"no URLs", answers(403, signed), []string{"BERTH_STORAGE_REDIRECT=true"}, "storage.presign", doctor.Failure},
		{"another time", planted{response: func(a *http.Response) {
			a.Header.Set("Date", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
		}}, nil, "clock.storage", doctor.Failure},
		{"no deleting", answers(403, removes), nil, "storage.delete", doctor.Failure},
		{"spools in memory", planted{}, []string{"BERTH_UPLOAD_SPOOL_DIR=" + inMemory(t)}, "storage.spool", doctor.Warning},
		{"no folder for spools", planted{}, []string{"BERTH_UPLOAD_SPOOL_DIR=/dev/null/x"}, "storage.spool", doctor.Failure},
		{"no folder for copies", planted{}, []string{"BERTH_BLOB_CACHE=/dev/null/x"}, "storage.cache", doctor.Failure},
		{"a file for copies", planted{}, []string{"BERTH_BLOB_CACHE=" + program}, "storage.cache", doctor.Failure},
		{"a new folder for copies", planted{}, []string{"BERTH_BLOB_CACHE=" + t.TempDir() + "/new"}, "storage.cache", doctor.Warning},
		{"copies in memory", planted{}, []string{"BERTH_BLOB_CACHE=" + inMemory(t)}, "storage.cache", doctor.Warning},
		{"many copies", planted{}, []string{"BERTH_BLOB_CACHE_SIZE=1000TiB", "BERTH_BLOB_CACHE=" + t.TempDir()}, "storage.cache", doctor.Warning},
		{"room for copies", planted{}, []string{"BERTH_BLOB_CACHE_SIZE=64MiB", "BERTH_BLOB_CACHE=" + t.TempDir()}, "storage.cache", doctor.OK},
		{"huge spools", planted{}, []string{"BERTH_UPLOAD_SPOOL_MAX=1000TiB", "BERTH_UPLOAD_SPOOL_DIR=" + t.TempDir()}, "storage.spool", doctor.Warning},
	} {
		f.plant(tt.fault)
		e := examine(t, program, append(b.local(), tt.more...)...)
		e.finds(tt.check, tt.level, "")
		if t.Failed() {
			t.Fatalf("%s (above)", tt.name)
		}
	}
}
