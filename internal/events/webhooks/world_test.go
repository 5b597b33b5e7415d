package webhooks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/events/webhooks"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/testenv"
)

// loopback is where the receivers of these tests are.
var loopback = webhooks.Networks{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// world is a database with a project, and a clock that the test moves.
type world struct {
	t       *testing.T
	url     string
	db      *database.DB
	project uuid.UUID

	mu    sync.Mutex
	clock time.Time
}

// each runs f as the subtests "sqlite" and "postgres", each with a world of its own.
func each(t *testing.T, f func(w *world)) {
	t.Parallel()
	t.Run(database.SQLite, func(t *testing.T) {
		t.Parallel()
		f(newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "berth.db")))
	})
	t.Run(database.Postgres, func(t *testing.T) {
		t.Parallel()
		f(newWorld(t, testenv.Postgres(t)))
	})
}

func newWorld(t *testing.T, url string) *world {
	w := &world{t: t, url: url, db: dbtest.Open(t, url), clock: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	tenants := projects.NewService(w.db, projects.Options{Clock: w.now, UnclaimedPush: true})
	p, err := tenants.Ensure(t.Context(), "demo", projects.Creator{Principal: "anonymous"})
	check(t, err)
	w.project = p.ID
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// service is a replica's, with what tests want otherwise.
func (w *world) service(changes ...func(*webhooks.Config)) *webhooks.Service {
	cfg := webhooks.Config{
		DB: w.db, Networks: loopback, Timeout: 5 * time.Second, Concurrency: 2, OwnerPercent: 100, MaxAttempts: 10, MaxPerProject: 20,
		Retention: 24 * time.Hour, Clock: w.now,
	}
	for _, change := range changes {
		change(&cfg)
	}
	return webhooks.New(cfg)
}

// hook makes a webhook for all events, and gives its secret.
func (w *world) hook(s *webhooks.Service, url string) (webhooks.Webhook, string) {
	w.t.Helper()
	secret, hook, err := s.Create(w.t.Context(), nil, webhooks.NewWebhook{
		Project: w.project, URL: url, Events: events.Kinds(), CreatedBy: "test",
	})
	check(w.t, err)
	return hook, secret
}

// push appends that a manifest was pushed, the n-th event of an object.
func (w *world) push(object string, n int) {
	w.t.Helper()
	b := &database.Batch{}
	events.Append(b, events.Event{
		Project: w.project, Kind: events.ManifestPushed, Object: object, Data: events.Content{Repository: object, Size: int64(n)},
	}, database.ToMicros(w.now()))
	check(w.t, w.db.Run(w.t.Context(), b))
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	check(w.t, w.db.Gorm().WithContext(w.t.Context()).Exec(query, args...).Error)
}

// deliveries are those of a webhook, the oldest first.
func (w *world) deliveries(s *webhooks.Service, hook uuid.UUID, state webhooks.State) []webhooks.Delivery {
	w.t.Helper()
	all, err := s.Deliveries(w.t.Context(), w.project, hook, state, database.Page{Limit: 1000})
	check(w.t, err)
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// message is what a receiver got.
type message struct {
	id, object string
	n          int64
	body       []byte
	header     http.Header
}

// receiver takes what webhooks send. What it answers is the test's to say.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []message
	answer func(message) int
}

func newReceiver(t *testing.T, answer func(message) int) *receiver {
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var content struct {
		Data struct {
			Repository string
			Size       int64
		}
	}
	if err := json.Unmarshal(body, &content); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m := message{
		id: request.Header.Get("Webhook-Id"), object: content.Data.Repository, n: content.Data.Size, body: body, header: request.Header,
	}
	r.mu.Lock()
	r.got = append(r.got, m)
	answer := r.answer
	r.mu.Unlock()
	status := http.StatusOK
	if answer != nil {
		status = answer(m)
	}
	w.WriteHeader(status)
}

func (r *receiver) answers(answer func(message) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// taken gives what came since the last call.
func (r *receiver) taken() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func always(status int) func(message) int { return func(message) int { return status } }

// inOrder fails the test unless each of a number of objects has its events 0 to n-1 among the messages, in order, each at
// least once; repetitions of one may only follow it directly.
func inOrder(t *testing.T, got []message, objects, n int) {
	t.Helper()
	next := map[string]int64{}
	for _, m := range got {
		switch want := next[m.object]; m.n {
		case want:
			next[m.object]++
		case want - 1: // again
		default:
			t.Errorf("%s: event %d came, want %d", m.object, m.n, want)
		}
	}
	for i := range objects {
		if object := fmt.Sprintf("o%d", i); next[object] != int64(n) {
			t.Errorf("%s: %d events of %d", object, next[object], n)
		}
	}
}

func verify(t *testing.T, secret string, m message) {
	t.Helper()
	key, err := standard.NewWebhook(secret)
	check(t, err)
	if err := key.VerifyIgnoringTimestamp(m.body, m.header); err != nil {
		t.Errorf("signature: %v, of %v %s", err, m.header, m.body)
	}
}

// drain delivers what is due, and lets time pass until nothing waits any more.
func (w *world) drain(s *webhooks.Service, hook uuid.UUID) {
	w.t.Helper()
	for range 60 {
		check(w.t, s.Dispatch(w.t.Context()))
		if len(w.deliveries(s, hook, webhooks.Pending)) == 0 {
			return
		}
		w.advance(time.Hour)
	}
	w.t.Fatal("something waits for ever")
}

// other is a handle of the same database that a test may close when it likes.
func (w *world) other() *database.DB {
	w.t.Helper()
	db, err := database.Open(context.WithoutCancel(w.t.Context()), database.Config{URL: w.url})
	check(w.t, err)
	return db
}
