package webhooks_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/events/webhooks"
	"github.com/berthregistry/berth/internal/testenv"
)

func newServer(t *testing.T, handler http.Handler) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// TestRotation: for a day both secrets sign, so that a receiver can change over when it likes.
func TestRotation(t *testing.T) {
	each(t, func(w *world) {
		r := newReceiver(w.t, nil)
		s := w.service()
		hook, first := w.hook(s, r.URL)
		second, hook, err := s.Rotate(w.t.Context(), nil, w.project, hook.ID, "", hook.Version)
		check(w.t, err)
		if first == second || hook.PreviousSecretUntil.IsZero() {
			w.t.Errorf("%+v", hook)
		}
		w.push("o0", 0)
		check(w.t, s.Dispatch(w.t.Context()))
		for _, m := range r.taken() {
			verify(w.t, first, m)
			verify(w.t, second, m)
		}
		w.advance(25 * time.Hour)
		w.push("o0", 1)
		check(w.t, s.Dispatch(w.t.Context()))
		got := r.taken()
		if len(got) != 1 || strings.Contains(got[0].header.Get("Webhook-Signature"), " ") {
			w.t.Fatalf("%+v", got)
		}
		verify(w.t, second, got[0])
	})
}

// TestTidy: what ended long ago goes; what a webhook that is gone or disabled still had to get does not stay either.
func TestTidy(t *testing.T) {
	each(t, func(w *world) {
		r := newReceiver(w.t, nil)
		s := w.service()
		hook, _ := w.hook(s, r.URL)
		w.push("o0", 0)
		check(w.t, s.Dispatch(w.t.Context()))
		w.advance(25 * time.Hour)
		w.push("o0", 1)
		check(w.t, s.Sample(w.t.Context()))
		w.advance(time.Minute)
		if stats := s.Stats(); stats.Pending != 1 || stats.OldestPending != time.Minute {
			w.t.Errorf("%+v", stats)
		}
		check(w.t, s.Tidy(w.t.Context()))
		if all := w.deliveries(s, hook.ID, ""); len(all) != 1 || all[0].State != webhooks.Pending {
			w.t.Errorf("%+v", all)
		}
		w.exec(`UPDATE webhooks SET enabled = false`) // while a push was under way
		check(w.t, s.Tidy(w.t.Context()))
		if all := w.deliveries(s, hook.ID, webhooks.Dead); len(all) != 1 {
			w.t.Errorf("%+v", all)
		}
		w.exec(`UPDATE events_outbox SET state = 'pending', finished_at = NULL`)
		w.exec(`DELETE FROM webhooks`)
		check(w.t, s.Tidy(w.t.Context()))
		check(w.t, s.Sample(w.t.Context()))
		if stats := s.Stats(); stats.Pending != 0 || stats.OldestPending != 0 {
			w.t.Errorf("%+v", stats)
		}
	})
}

// TestChanges: what is asked for is kept, what is wrong refused, and who saw an older version loses.
func TestChanges(t *testing.T) {
	each(t, func(w *world) {
		s := w.service(func(c *webhooks.Config) { c.MaxPerProject = 2 })
		hook, _ := w.hook(s, "http://127.0.0.1:8080/a")
		url, kinds, off, on := "http://127.0.0.1:8080/b", []events.Kind{events.TagMoved, events.ManifestPushed}, false, true
		changed, err := s.Change(w.t.Context(), nil, w.project, hook.ID, webhooks.Change{URL: &url, Events: &kinds}, hook.Version)
		check(w.t, err)
		if changed.URL != url || len(changed.Events) != 2 || changed.Version != hook.Version+1 {
			w.t.Errorf("%+v", changed)
		}
		if _, err := s.Change(w.t.Context(), nil, w.project, hook.ID, webhooks.Change{Enabled: &off}, hook.Version); !errors.Is(err, webhooks.ErrVersion) {
			w.t.Errorf("an old version: %v", err)
		}
		w.push("o0", 0)
		changed, err = s.Change(w.t.Context(), nil, w.project, hook.ID, webhooks.Change{Enabled: &off}, 0)
		check(w.t, err)
		if dead := w.deliveries(s, hook.ID, webhooks.Dead); changed.Enabled || len(dead) != 1 {
			w.t.Errorf("%+v %+v", changed, dead)
		}
		changed, err = s.Change(w.t.Context(), nil, w.project, hook.ID, webhooks.Change{Enabled: &on}, changed.Version)
		check(w.t, err)
		if !changed.Enabled {
			w.t.Errorf("%+v", changed)
		}
		w.hook(s, url)
		if _, _, err := s.Create(w.t.Context(), nil, webhooks.NewWebhook{Project: w.project, URL: url, Events: kinds}); !errors.Is(err, webhooks.ErrTooMany) {
			w.t.Errorf("one too many: %v", err)
		}
		for _, wrong := range []webhooks.NewWebhook{
			{URL: "ftp://example.com", Events: kinds},
			{URL: url},
			{URL: url, Events: []events.Kind{events.Ping}},
			{URL: url, Events: kinds, Secret: "whsec_c2hvcnQ="},
			{URL: url, Events: kinds, Description: strings.Repeat("x", 201)},
		} {
			wrong.Project = w.project
			var input *webhooks.InputError
			if _, _, err := s.Create(w.t.Context(), nil, wrong); !errors.As(err, &input) {
				w.t.Errorf("%+v: %v", wrong, err)
			}
		}
		check(w.t, s.Delete(w.t.Context(), nil, w.project, hook.ID, changed.Version))
		if _, err := s.Get(w.t.Context(), w.project, hook.ID); !errors.Is(err, webhooks.ErrNotFound) {
			w.t.Error(err)
		}
	})
}

// TestWorkGoesByIndexes: where a statement could use no index, PostgreSQL would read a whole table even though it is told to
// avoid that.
func TestWorkGoesByIndexes(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	dbtest.Open(t, url)
	conn, err := pgconn.Connect(t.Context(), url)
	check(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	ask := func(statements string) string {
		t.Helper()
		results, err := conn.Exec(t.Context(), statements).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", statements, err)
		}
		var lines strings.Builder
		for _, result := range results {
			for _, row := range result.Rows {
				lines.Write(row[0])
				lines.WriteByte('\n')
			}
		}
		return lines.String()
	}
	ask(`SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan`)
	for name, stmt := range webhooks.Statements {
		parameters := 0
		for strings.Contains(stmt.String(), "$"+string(rune('1'+parameters))) {
			parameters++
		}
		arguments := strings.TrimSuffix(strings.Repeat("NULL,", parameters), ",")
		if arguments != "" {
			arguments = "(" + arguments + ")"
		}
		plan := ask(`PREPARE asked AS ` + stmt.String() + `; EXPLAIN EXECUTE asked` + arguments + `; DEALLOCATE asked`)
		if strings.Contains(plan, "Seq Scan on") || !strings.Contains(plan, "Index") {
			t.Errorf("%s reads a whole table:\n%s", name, plan)
		}
	}
}
