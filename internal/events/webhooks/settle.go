package webhooks

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/berthregistry/berth/internal/database"
)

var (
	// lockClaimed comes before all that changes events of a webhook, as in the changes that people make.
	lockClaimed = database.SQL(`SELECT 1 FROM webhooks WHERE id = $1 {update}`)

	// None of these changes what somebody has asked to be sent again meanwhile: that has another instant at which it is due.
	markDelivered = database.SQL(`
		UPDATE events_outbox SET state = 'delivered', attempts = attempts + 1, last_status = {bigint:$3}, last_error = '', finished_at = $4
		WHERE webhook_id = $1 AND id = $2 AND state = 'pending' AND next_attempt_at = {bigint:$5}`)
	markFailed = database.SQL(`
		UPDATE events_outbox SET attempts = attempts + 1, last_status = {bigint:$4}, last_error = {text:$5}, next_attempt_at = {bigint:$6}
		WHERE webhook_id = $1 AND id = $2 AND state = 'pending' AND next_attempt_at = {bigint:$3}`)
	markDead = database.SQL(`
		UPDATE events_outbox SET state = 'dead', attempts = attempts + 1, last_status = {bigint:$4}, last_error = {text:$5}, finished_at = {bigint:$6}
		WHERE webhook_id = $1 AND id = $2 AND state = 'pending' AND next_attempt_at = {bigint:$3}`)
	// wakeNext makes the next event of an object due, which may have waited for the one before.
	wakeNext = database.SQL(`
		UPDATE events_outbox SET next_attempt_at = $3
		WHERE seq = (SELECT e.seq FROM events_outbox e
			WHERE e.webhook_id = $1 AND e.object = $2 AND e.state = 'pending' ORDER BY e.seq LIMIT 1)
		  AND attempts = 0 AND next_attempt_at > $3`)

	works = database.SQL(`UPDATE webhooks SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL`)
	fails = database.SQL(`UPDATE webhooks SET failing_since = $2 WHERE id = $1 AND failing_since IS NULL`)
	// giveUp disables a webhook that has failed since before $3, or where that is the future, at once.
	giveUp = database.SQL(`
		UPDATE webhooks SET enabled = false, disabled_reason = $4, updated_at = $2, version = version + 1
		WHERE id = $1 AND enabled AND failing_since <= $3`)
)

// Reasons of webhooks that the server disabled.
const (
	reasonGone    = "the receiver answered 410 Gone"
	reasonFailing = "every attempt failed for five days"
)

// settle writes down what came of a round of attempts, all of it in one transaction, also where the server is stopping:
// what was taken need not come again.
func (s *Service) settle(ctx context.Context, h *claimed, results []result) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	now := s.now()
	b := &database.Batch{}
	b.Exec(lockClaimed, h.id)
	for i := range results {
		s.settleOne(b, h, &results[i])
	}
	switch {
	case slices.ContainsFunc(results, func(r result) bool { return r.delivered() }):
		b.Exec(works, h.id)
	case slices.ContainsFunc(results, func(r result) bool { return !r.cut }):
		b.Exec(fails, h.id, database.ToMicros(now))
		b.Exec(giveUp, h.id, database.ToMicros(now), database.ToMicros(now.Add(-givenUpAfter)), reasonFailing)
		b.Exec(dropPending, h.id, database.ToMicros(now))
	}
	if slices.ContainsFunc(results, func(r result) bool { return r.status == http.StatusGone }) {
		b.Exec(fails, h.id, database.ToMicros(now))
		b.Exec(giveUp, h.id, database.ToMicros(now), database.ToMicros(now), reasonGone)
		b.Exec(dropPending, h.id, database.ToMicros(now))
	}
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("write down what was sent: %w", err)
	}
	for i := range results {
		s.counts.add(&results[i], s.last(&results[i]))
	}
	return nil
}

func (s *Service) settleOne(b *database.Batch, h *claimed, r *result) {
	e, now := r.event, s.now()
	switch {
	case r.cut:
		return
	case r.delivered():
		b.Exec(markDelivered, h.id, e.id, int64(r.status), database.ToMicros(now), e.due)
	case s.last(r):
		b.Exec(markDead, h.id, e.id, e.due, status(r), r.err, database.ToMicros(now))
	default:
		wait := r.after
		if wait == 0 {
			wait = delay(e.attempts + 1)
		}
		b.Exec(markFailed, h.id, e.id, e.due, status(r), r.err, database.ToMicros(now.Add(wait)))
		return
	}
	b.Exec(wakeNext, h.id, e.object, database.ToMicros(now))
}

// last tells whether a failed attempt was the last one of its event.
func (s *Service) last(r *result) bool { return r.event.attempts+1 >= s.MaxAttempts }

// status is that of a response, nil for none.
func status(r *result) *int64 {
	if r.status == 0 {
		return nil
	}
	code := int64(r.status)
	return &code
}
