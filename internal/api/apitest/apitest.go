// Package apitest runs whole servers for tests of the product API: on each kind of database, as many replicas as a test
// wants, with the clock and the log in the test's hands. Every answer is held against the contract. The package that uses
// it hands its TestMain over to testenv.Main.
package apitest

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/server"
	"github.com/berthregistry/berth/internal/testenv"
)

// What every server knows from its first start on.
const (
	AdminEmail    = "first@example.dev"
	AdminPassword = "a long password for tests"
	AdminToken    = "an-administrator's-token-for-tests"
)

// tokenService is the audience of bearer tokens, the same for all replicas.
const tokenService = "berth-test"

// memoryLife is longer than any replica remembers a token, a project or a role.
const memoryLife = 5 * time.Second

// Env is a database and a folder that replicas share, and what a test holds in its hands.
type Env struct {
	// DB is the database, through a handle of the test's own.
	DB *database.DB
	// Auth and Projects are services on it that remember nothing: what they do is done as by another replica.
	Auth     *auth.Service
	Projects *projects.Service
	// Log is what all replicas have logged.
	Log *Log

	databaseURL, storageURL string
	ahead                   atomic.Int64
}

// Each runs f as the subtests "sqlite" and "postgres", each with an Env of its own.
func Each(t *testing.T, f func(t *testing.T, env *Env)) {
	t.Helper()
	t.Run(database.SQLite, func(t *testing.T) {
		f(t, newEnv(t, "sqlite:"+filepath.Join(t.TempDir(), "berth.db")))
	})
	t.Run(database.Postgres, func(t *testing.T) { f(t, newEnv(t, testenv.Postgres(t))) })
}

func newEnv(tb testing.TB, databaseURL string) *Env {
	tb.Helper()
	e := &Env{
		DB: dbtest.Open(tb, databaseURL), Log: &Log{},
		databaseURL: databaseURL, storageURL: "file:" + filepath.Join(tb.TempDir(), "objects"),
	}
	const nothing = time.Nanosecond
	var err error
	e.Auth, err = auth.NewService(e.DB, auth.Options{Clock: e.Now, Issuer: "tests", Service: "tests", CacheTTL: nothing})
	Check(tb, err)
	e.Projects = projects.NewService(e.DB, projects.Options{Clock: e.Now, CacheTTL: nothing, UnclaimedPush: true})
	return e
}

// Now is the time for all replicas.
func (e *Env) Now() time.Time { return time.Now().Add(time.Duration(e.ahead.Load())) }

// Advance moves the time on.
func (e *Env) Advance(d time.Duration) { e.ahead.Add(int64(d)) }

// ForgetAll lets so much time pass that no replica remembers a token, a project or a role.
func (e *Env) ForgetAll() { e.Advance(memoryLife) }

// Replica is a running server.
type Replica struct {
	// URL is where it listens, without a slash at the end.
	URL  string
	http *http.Client
}

// Serve starts a server, which ends with the test. Without changes it has the product's defaults.
func (e *Env) Serve(tb testing.TB, changes ...func(*config.Config)) *Replica {
	tb.Helper()
	cfg := e.settings()
	for _, change := range changes {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan server.Addresses, 1), make(chan error, 1)
	go func() {
		ended <- server.Run(ctx, cfg, server.Options{
			Logger: server.NewLogger(e.Log, cfg.Log), Clock: e.Now, Version: "test",
			Ready: func(a server.Addresses) { ready <- a },
		})
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		Check(tb, <-ended)
	})
	select {
	case addresses := <-ready:
		return &Replica{URL: "http://" + addresses.API.String(), http: &http.Client{Transport: transport}}
	case err := <-ended:
		ended <- nil
		tb.Fatalf("the server does not start: %v\n%s", err, e.Log)
		return nil
	}
}

func (e *Env) settings() config.Config {
	cfg := config.Default()
	cfg.RateLimit.Enabled = false // these tests ask more than any caller would; limits have tests of their own
	cfg.GC.Enabled = false        // it changes rows by itself, and these tests look whether requests do
	cfg.Scrub.Enabled = false     // likewise
	cfg.HTTP.Addr = "127.0.0.1:0"
	cfg.HTTP.PublicURL = "http://registry.test"
	cfg.Operation.MetricsAddr = ""
	cfg.Database.URL = config.SecretURL(e.databaseURL)
	cfg.Storage.URL = config.SecretURL(e.storageURL)
	cfg.Tokens.Service = tokenService
	cfg.Log.Level = "debug"
	cfg.Admin = config.Admin{Email: AdminEmail, Password: AdminPassword, Token: AdminToken}
	return cfg
}

// Log is what servers log, all of it.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Check ends the test for an error.
func Check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
