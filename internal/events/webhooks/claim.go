package webhooks

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
)

const (
	// perWebhook is how many requests one webhook has under way at most.
	perWebhook = 4
	// leaseMargin is how much longer a lease lasts than an attempt may take.
	leaseMargin = 30 * time.Second
)

// claimed is a webhook that this replica serves for now.
type claimed struct {
	id, project, lease uuid.UUID
	owner              string // whose share of the slots it takes
	slug, url          string
	secret, previous   string
	previousUntil      time.Time
}

// secrets are those that sign at a time.
func (h *claimed) secrets(at time.Time) []string {
	if h.previous != "" && at.Before(h.previousUntil) {
		return []string{h.secret, h.previous}
	}
	return []string{h.secret}
}

// owner is whose share of the slots a webhook of the project p takes: the account's, with all of its projects.
const owner = `CAST(coalesce(p.account_id, p.id) AS text)`

// due is an event that is to be sent now.
type due struct {
	id             uuid.UUID
	kind           events.Kind
	object, data   string
	previousDigest *string
	attempts       int64
	due            int64 // when the attempt was, as the row says
	createdAt      time.Time
}

var (
	// claim takes webhooks that have something to do: one of each owner before a second one of any, and of one owner those
	// first that were served longest ago. What an owner has under way ($5) counts, and nobody gets more than a share ($6).
	// The webhooks that wait are found by hopping along the index, whatever number of events each has. A project that is
	// suspended or deleted tells nobody anything; its events wait.
	claim = database.SQL(`
		WITH RECURSIVE waiting(id) AS (
			SELECT (SELECT o.webhook_id FROM events_outbox o WHERE o.state = 'pending' ORDER BY o.webhook_id LIMIT 1)
			UNION ALL
			SELECT (SELECT o.webhook_id FROM events_outbox o WHERE o.state = 'pending' AND o.webhook_id > waiting.id
				ORDER BY o.webhook_id LIMIT 1)
			FROM waiting WHERE waiting.id IS NOT NULL),
		ready AS MATERIALIZED (
			SELECT w.id, row_number() OVER (PARTITION BY ` + owner + ` ORDER BY w.leased_until, w.id)
				+ (SELECT count(*) FROM {each:$5} WHERE each.value = ` + owner + `) AS place
			FROM webhooks w JOIN projects p ON p.id = w.project_id AND p.state IN ('active', 'unclaimed')
			WHERE w.id IN (SELECT waiting.id FROM waiting) AND w.enabled AND w.leased_until <= {instant}
			  AND EXISTS (SELECT 1 FROM events_outbox o
				WHERE o.webhook_id = w.id AND o.state = 'pending' AND o.next_attempt_at <= $1)),
		free AS MATERIALIZED (
			SELECT w.id FROM webhooks w JOIN ready ON ready.id = w.id
			WHERE ready.place <= {bigint:$6} AND w.enabled AND w.leased_until <= {instant}
			ORDER BY ready.place, w.leased_until, w.id LIMIT {limit:$2} {skip})
		UPDATE webhooks SET lease = {uuid:$3}, leased_until = {instant} + {bigint:$4}
		WHERE id IN (SELECT free.id FROM free) AND leased_until <= {instant}
		RETURNING id, project_id, (SELECT ` + owner + ` FROM projects p WHERE p.id = webhooks.project_id),
			(SELECT coalesce(p.slug, '') FROM projects p WHERE p.id = webhooks.project_id),
			url, secret, previous_secret, previous_until`)
	// renew fails where the lease has ended, or the webhook was disabled or deleted.
	renew = database.SQL(`
		UPDATE webhooks SET leased_until = {instant} + {bigint:$3} WHERE id = $1 AND lease = $2 AND enabled RETURNING 1`)
	// heads are the events that are due and have no earlier one of the same object before them.
	heads = database.SQL(`
		SELECT o.id, o.kind, o.object, o.data, o.previous_digest, o.attempts, o.next_attempt_at, o.created_at FROM events_outbox o
		WHERE o.webhook_id = $1 AND o.state = 'pending' AND o.next_attempt_at <= $2 AND NOT EXISTS (
			SELECT 1 FROM events_outbox e
			WHERE e.webhook_id = $1 AND e.state = 'pending' AND e.object = o.object AND e.seq < o.seq)
		ORDER BY o.next_attempt_at, o.seq LIMIT {limit:$3}`)
	// postpone lets those that wait for an earlier one of their object come back together with that.
	postpone = database.SQL(`
		UPDATE events_outbox SET next_attempt_at = (SELECT e.next_attempt_at FROM events_outbox e
			WHERE e.webhook_id = $1 AND e.state = 'pending' AND e.object = events_outbox.object ORDER BY e.seq LIMIT 1)
		WHERE webhook_id = $1 AND state = 'pending' AND next_attempt_at <= $2 AND (SELECT e.next_attempt_at FROM events_outbox e
			WHERE e.webhook_id = $1 AND e.state = 'pending' AND e.object = events_outbox.object ORDER BY e.seq LIMIT 1) > $2`)
	release = database.SQL(`UPDATE webhooks SET leased_until = {instant}, lease = NULL WHERE id = $1 AND lease = $2`)
)

func (s *Service) leaseTime() int64 { return (s.Timeout + leaseMargin).Microseconds() }

// claim takes up to a number of webhooks, each for one lease.
func (s *Service) claim(ctx context.Context, limit int) ([]*claimed, error) {
	lease := uuid.New()
	var taken []*claimed
	b := &database.Batch{}
	b.Query(func(r database.Rows) error {
		h := &claimed{lease: lease}
		var until int64
		err := r.Scan(&h.id, &h.project, &h.owner, &h.slug, &h.url, &h.secret, &h.previous, &until)
		h.previousUntil = database.FromMicros(until)
		taken = append(taken, h)
		return err //nolint:wrapcheck // below
	}, claim, s.micros(), int64(limit), lease, s.leaseTime(), database.Strings(s.shares.inUse()), int64(s.shares.most))
	if err := s.DB.Run(ctx, b); err != nil {
		return nil, fmt.Errorf("take webhooks: %w", err)
	}
	return taken, nil
}

// load renews the lease and gives what is to be sent. Errors: errLost, the context's and the database's.
func (s *Service) load(ctx context.Context, h *claimed) ([]*due, error) {
	var all []*due
	b := &database.Batch{}
	b.Require(errLost, renew, h.id, h.lease, s.leaseTime())
	b.Query(func(r database.Rows) error {
		e := &due{}
		var created int64
		err := r.Scan(&e.id, &e.kind, &e.object, &e.data, &e.previousDigest, &e.attempts, &e.due, &created)
		e.createdAt = database.FromMicros(created)
		all = append(all, e)
		return err //nolint:wrapcheck // below
	}, heads, h.id, s.micros(), int64(perWebhook))
	if err := s.DB.Run(ctx, b); err != nil {
		return nil, fmt.Errorf("take events: %w", err)
	}
	return all, nil
}

// release ends the lease, also where the server is stopping.
func (s *Service) release(ctx context.Context, h *claimed) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	b := &database.Batch{}
	b.Exec(lockClaimed, h.id)
	b.Exec(postpone, h.id, s.micros())
	b.Exec(release, h.id, h.lease)
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("give a webhook back: %w", err)
	}
	return nil
}
