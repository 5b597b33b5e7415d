package retention_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/content/retention"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var shareProject = database.SQL(`SELECT 1 FROM projects WHERE id = $1 {share}`)

// sharing is a guard that only locks the project, as every real one does.
type sharing struct{ project uuid.UUID }

func (s sharing) Require(b *database.Batch) { b.Exec(shareProject, s.project) }

// world is a project at a time that the test moves.
type world struct {
	*retention.Service
	*content.Store
	t       *testing.T
	db      *database.DB
	project uuid.UUID

	mu  sync.Mutex
	now time.Time
}

func each(t *testing.T, f func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := &world{t: t, db: db, project: uuid.Must(uuid.NewV7()), now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
		w.Service = w.replica()
		w.Store = content.New(content.Config{DB: db, Clock: w.clock, LinkLife: time.Hour, TrashLife: 24 * time.Hour})
		w.exec(`INSERT INTO projects (id, slug, state, created_by, created_at, updated_at) VALUES (?, 'demo', 'active', 'test', 0, 0)`, w.project)
		f(t, w)
	})
}

func (w *world) replica() *retention.Service {
	return retention.New(retention.Config{
		DB: w.db, Clock: w.clock, TrashLife: 24 * time.Hour, Interval: 24 * time.Hour, MaxRules: 100, Logger: slog.New(slog.DiscardHandler),
	})
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	w.must(w.db.Gorm().Exec(statement, args...).Error)
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	w.must(w.db.Gorm().Raw(query, args...).Scan(&n).Error)
	return n
}

func (w *world) place(path string) content.Place {
	return content.Place{Project: w.project, Path: path}
}

func (w *world) push(path, name string, tags ...string) digest.Digest {
	w.t.Helper()
	d := digest.FromString(name)
	w.must(w.PutManifest(w.t.Context(), w.place(path), content.NewManifest{
		Digest: d, MediaType: "application/json", Content: []byte(name), Tags: tags, Actor: "test",
	}, sharing{w.project}))
	return d
}

func (w *world) rule(r retention.Rule) retention.Rule {
	w.t.Helper()
	r.Enabled, r.CreatedBy = true, "test"
	r, err := w.Create(w.t.Context(), w.project, r, sharing{w.project})
	w.must(err)
	return r
}

func (w *world) tags(path string) []string {
	w.t.Helper()
	tags, err := w.Tags(w.t.Context(), w.place(path), "", 1000)
	w.must(err)
	return tags
}

// TestApply: what the preview says goes, once, with an entry in the log, and it can be restored; other repositories, immutable
// tags and other projects stay as they are.
func TestApply(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, guard := t.Context(), sharing{w.project}
		var all []string
		for i := range 250 {
			tag := fmt.Sprintf("pr-%03d", i)
			all = append(all, tag)
			w.push("app", tag, tag)
			w.advance(time.Second)
		}
		w.push("lib", "lib", "pr-1")
		w.push("app", "release", "v1")
		_, err := w.CreateTagRule(ctx, w.project, content.TagRule{Repositories: "app", Tags: "pr-000", CreatedBy: "test"}, guard)
		w.must(err)
		asked := retention.Rule{Repositories: "app", Tags: "pr-*", KeepLast: 5, UntaggedAfter: 24 * time.Hour}
		preview, err := w.Preview(ctx, w.project, retention.PreviewRequest{Rule: &asked, Limit: 10})
		w.must(err)
		if preview.Tags != 244 || preview.Manifests != 0 || len(preview.Items) != 10 || preview.Items[0].Tag != "pr-001" {
			t.Errorf("%+v", preview)
		}
		rule := w.rule(asked)
		w.exec(`INSERT INTO webhooks (id, project_id, url, events, secret, created_by, created_at, updated_at)
			VALUES (?, ?, 'https://example.com/', ' tag.deleted manifest.deleted ', '', 'test', 0, 0)`, uuid.Must(uuid.NewV7()), w.project)
		w.must(w.ApplyDue(ctx))
		if n := len(w.tags("app")); n != len(all)+1 {
			t.Errorf("%d tags before the rules are due", n)
		}
		w.advance(25 * time.Hour)
		preview, err = w.Preview(ctx, w.project, retention.PreviewRequest{Limit: 1000})
		w.must(err)
		var wait sync.WaitGroup
		for _, replica := range []*retention.Service{w.Service, w.replica()} {
			wait.Go(func() {
				if err := replica.ApplyDue(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		want := append(append([]string{"pr-000"}, all[245:]...), "v1")
		if got := w.tags("app"); !slices.Equal(got, want) {
			t.Errorf("%q stay, want %q", got, want)
		}
		if got := w.tags("lib"); !slices.Equal(got, []string{"pr-1"}) {
			t.Errorf("%q stay in lib", got)
		}
		entries := w.count(`SELECT count(*) FROM audit_log WHERE action = 'retention.delete' AND actor = 'system' AND detail LIKE ?`, "%"+rule.ID.String()+"%")
		if entries != 488 || preview.Tags != 244 || preview.Manifests != 244 {
			t.Errorf("%d entries, preview of %d tags and %d manifests", entries, preview.Tags, preview.Manifests)
		}
		if n := w.count(`SELECT count(*) FROM tag_history WHERE digest IS NULL AND previous_digest IS NOT NULL AND audit_id IS NOT NULL`); n != 244 {
			t.Errorf("%d entries of history", n)
		}
		for _, kind := range []string{"tag.deleted", "manifest.deleted"} {
			told := w.count(`SELECT count(DISTINCT object) FROM events_outbox WHERE kind = ? AND data LIKE '%"actor":"system"%'`, kind)
			if all := w.count(`SELECT count(*) FROM events_outbox WHERE kind = ?`, kind); told != 244 || all != 244 {
				t.Errorf("%s: %d events of %d objects", kind, all, told)
			}
		}
		usage, err := projects.NewService(w.db, projects.Options{}).Usage(ctx, w.project)
		w.must(err)
		if counted := w.count(`SELECT coalesce(sum(bytes), 0) FROM usage_deltas`); int64(counted) != usage.Bytes {
			t.Errorf("the ledger has %d bytes, the project %d", counted, usage.Bytes)
		}
		_, err = w.RestoreManifest(ctx, w.place("app"), digest.FromString("pr-001"), "test", guard)
		w.must(err)
		w.must(w.RestoreTag(ctx, w.place("app"), "pr-001", "test", guard))
		w.must(w.ApplyDue(ctx))
		if got := w.tags("app"); !slices.Contains(got, "pr-001") {
			t.Errorf("what was restored is gone again at once: %q", got)
		}
	})
}

// TestPreviewsWait: two are under way at once, whatever number is asked for, for each has a repository in memory.
func TestPreviewsWait(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		entered, leave := make(chan struct{}, 3), make(chan struct{})
		s := retention.New(retention.Config{DB: w.db, MaxRules: 100, Clock: func() time.Time {
			entered <- struct{}{}
			<-leave
			return w.clock()
		}})
		var wait sync.WaitGroup
		for range 2 {
			wait.Go(func() {
				if _, err := s.Preview(t.Context(), w.project, retention.PreviewRequest{}); err != nil {
					t.Error(err)
				}
			})
			<-entered
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		context.AfterFunc(ctx, func() { close(leave) })
		if _, err := s.Preview(ctx, w.project, retention.PreviewRequest{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third preview: %v", err)
		}
		wait.Wait()
		if len(entered) != 0 {
			t.Error("three previews were under way")
		}
	})
}

// TestApplyAgainstPushes: what is pushed while rules are applied stays.
func TestApplyAgainstPushes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.rule(retention.Rule{Repositories: "**", Tags: "**", KeepPushed: time.Hour, UntaggedAfter: time.Hour})
		for i := range 10 {
			for j := range 4 {
				w.push("app", fmt.Sprintf("old %d", j), fmt.Sprintf("old-%d", j))
			}
			w.advance(48 * time.Hour)
			fresh := fmt.Sprintf("old-%d", i%4)
			var wait sync.WaitGroup
			wait.Go(func() { w.push("app", fmt.Sprintf("old %d", i%4), fresh) })
			wait.Go(func() {
				if err := w.ApplyDue(ctx); err != nil {
					t.Error(err)
				}
			})
			wait.Wait()
			if _, err := w.ManifestByTag(ctx, w.place("app"), fresh, false); err != nil {
				t.Errorf("round %d: %v", i, err)
			}
		}
	})
}

// TestASuspendedProjectIsLeftAlone, and a lease keeps other replicas away until it runs out.
func TestASuspendedProjectIsLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.push("app", "old", "old")
		w.rule(retention.Rule{Repositories: "**", Tags: "**", KeepPushed: time.Hour})
		w.advance(48 * time.Hour)
		w.exec(`UPDATE projects SET state = 'suspended'`)
		w.must(w.ApplyDue(t.Context()))
		w.exec(`UPDATE projects SET state = 'active'`)
		w.exec(`UPDATE retention_schedule SET next_run_at = 0, lease_until = ?`, w.clock().Add(time.Minute).UnixMicro())
		w.must(w.ApplyDue(t.Context()))
		if got := w.tags("app"); len(got) != 1 {
			t.Errorf("%q", got)
		}
		w.advance(2 * time.Minute)
		w.must(w.ApplyDue(t.Context()))
		if got, stats := w.tags("app"), w.Service.Stats(); len(got) != 0 || stats != (retention.Stats{Tags: 1, Runs: 2}) {
			t.Errorf("%q, %+v", got, stats)
		}
	})
}
