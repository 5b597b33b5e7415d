package webhooks_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/events/webhooks"
	"github.com/berthregistry/berth/internal/projects"
)

// told is how many events about its quota a project has.
func (w *world) told(project uuid.UUID) (n int) {
	w.t.Helper()
	check(w.t, w.db.Gorm().WithContext(w.t.Context()).Raw(`SELECT count(*) FROM events_outbox e JOIN webhooks h ON h.id = e.webhook_id
		WHERE h.project_id = ? AND e.kind = 'quota.exceeded'`, project).Scan(&n).Error)
	return n
}

// TestQuotaNoticesOfTwoReplicas: however often a push is refused, and through whichever replica, a webhook hears of it once
// an hour.
func TestQuotaNoticesOfTwoReplicas(t *testing.T) {
	each(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		s := w.service()
		w.hook(s, "https://example.com/")
		tenants := projects.NewService(w.db, projects.Options{Clock: w.now, UnclaimedPush: true})
		var replicas []*events.QuotaNotices
		var own []uuid.UUID // a project that only one replica tells of
		for _, slug := range []string{"first", "second"} {
			notices := events.NewQuotaNotices(w.db, w.now, slog.New(slog.DiscardHandler))
			running.Go(func() { _ = notices.Run(ctx) })
			p, err := tenants.Ensure(ctx, slug, projects.Creator{Principal: "anonymous"})
			check(w.t, err)
			_, _, err = s.Create(ctx, nil, webhooks.NewWebhook{Project: p.ID, URL: "https://example.com/", Events: events.Kinds(), CreatedBy: "test"})
			check(w.t, err)
			replicas, own = append(replicas, notices), append(own, p.ID)
		}
		for hour := 1; hour <= 3; hour++ {
			for range 20 {
				for _, one := range replicas {
					one.Exceeded(w.project, events.OverQuota{Scope: "project"})
				}
			}
			for i, one := range replicas { // comes after what was noted before
				one.Exceeded(own[i], events.OverQuota{Scope: "project"})
			}
			for w.told(own[0]) < hour || w.told(own[1]) < hour {
				if w.t.Context().Err() != nil {
					return
				}
			}
			if n := w.told(w.project); n != hour {
				w.t.Errorf("hour %d: %d events", hour, n)
			}
			w.advance(59 * time.Minute)
			replicas[0].Exceeded(w.project, events.OverQuota{Scope: "project"})
			w.advance(2 * time.Minute)
		}
	})
}
