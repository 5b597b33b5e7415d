package webhooks

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
)

// State is what has become of a delivery.
type State string

// The states of deliveries.
const (
	Pending   State = "pending"   // it is to be sent, or sent again
	Delivered State = "delivered" // the receiver has taken it
	Dead      State = "dead"      // it was given up
)

// Delivery is an event on its way to one webhook.
type Delivery struct {
	// ID is also the header webhook-id of its requests.
	ID     uuid.UUID
	Kind   events.Kind
	Object string
	State  State
	// Attempts is how many have ended.
	Attempts int64
	// Status is that of the last response, 0 for none; Error says why the last attempt failed.
	Status int64
	Error  string
	// NextAttemptAt is when it is sent next; zero where it is not.
	NextAttemptAt time.Time
	CreatedAt     time.Time
	// FinishedAt is when it was delivered or given up; zero while it is pending.
	FinishedAt time.Time

	seq int64
}

// Key is what a list goes on after.
func (d Delivery) Key() string { return strconv.FormatInt(d.seq, 10) }

const deliveryColumns = `SELECT o.seq, o.id, o.kind, o.object, o.state, o.attempts, coalesce(o.last_status, 0), o.last_error,
	o.next_attempt_at, o.created_at, coalesce(o.finished_at, 0) FROM events_outbox o `

var (
	deliveriesOf = database.SQL(deliveryColumns + `
		WHERE o.webhook_id = $1 AND o.seq < {bigint:$2} AND ({text:$3} = '' OR o.state = {text:$3})
		  AND EXISTS (SELECT 1 FROM webhooks w WHERE w.id = $1 AND w.project_id = $4)
		ORDER BY o.seq DESC LIMIT {limit:$5}`)
	deliveryByID = database.SQL(deliveryColumns + `WHERE o.webhook_id = $1 AND o.id = $2`)
	insertPing   = database.SQL(`
		INSERT INTO events_outbox (id, webhook_id, kind, object, data, next_attempt_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6)`)
	hasDelivery = database.SQL(`SELECT 1 FROM events_outbox WHERE webhook_id = $1 AND id = $2`)
	redeliver   = database.SQL(`
		UPDATE events_outbox SET state = 'pending', attempts = 0, finished_at = NULL,
			next_attempt_at = CASE WHEN next_attempt_at = $3 THEN {bigint:$3} - 1 ELSE {bigint:$3} END
		WHERE webhook_id = $1 AND id = $2`)
)

// maxSeq is more than any row has.
const maxSeq = 1<<63 - 1

// Deliveries gives a page of a webhook's deliveries, the newest first; an empty state is any. Errors: ErrNotFound,
// *InputError for a page that is none, the context's and the database's.
func (s *Service) Deliveries(ctx context.Context, project, id uuid.UUID, state State, page database.Page) ([]Delivery, error) {
	before := int64(maxSeq)
	if page.After != "" {
		var err error
		if before, err = strconv.ParseInt(page.After, 10, 64); err != nil {
			return nil, &InputError{Field: "after", Reason: "it is from no list"}
		}
	}
	if _, err := s.Get(ctx, project, id); err != nil {
		return nil, err
	}
	rows, err := s.DB.Query(ctx, deliveriesOf, id, before, string(state), project, int64(page.Limit))
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	defer rows.Close()
	var all []Delivery
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return all, nil
}

func scanDelivery(r database.Rows) (Delivery, error) {
	var d Delivery
	var next, created, finished int64
	err := r.Scan(&d.seq, &d.ID, &d.Kind, &d.Object, &d.State, &d.Attempts, &d.Status, &d.Error, &next, &created, &finished)
	if err != nil {
		return Delivery{}, fmt.Errorf("read delivery: %w", err)
	}
	d.CreatedAt = database.FromMicros(created)
	if d.State == Pending {
		d.NextAttemptAt = database.FromMicros(next)
	} else {
		d.FinishedAt = database.FromMicros(finished)
	}
	return d, nil
}

// Ping sends a test event to a webhook, whatever events it asks for. Errors: ErrNotFound, ErrDisabled.
func (s *Service) Ping(ctx context.Context, guard Guard, project, id uuid.UUID, actor string) (Delivery, error) {
	ping := uuid.New()
	b := s.beginChange(guard, project, id, 0)
	b.Require(ErrDisabled, isEnabled, id)
	b.Exec(insertPing, ping, id, string(events.Ping), "ping "+ping.String(), events.Encoded(events.Pinged{Actor: actor}), s.micros())
	audit.Append(ctx, b, audit.Entry{Action: audit.WebhookPing, Project: project, Object: id.String(), Detail: delivered{Delivery: ping}})
	return s.commitDelivery(ctx, b, id, ping)
}

// Redeliver sends an event again that was delivered or given up, or at once one that waits. Errors: ErrNotFound,
// ErrDisabled.
func (s *Service) Redeliver(ctx context.Context, guard Guard, project, id, delivery uuid.UUID) (Delivery, error) {
	b := s.beginChange(guard, project, id, 0)
	b.Require(ErrNotFound, hasDelivery, id, delivery)
	b.Require(ErrDisabled, isEnabled, id)
	b.Exec(redeliver, id, delivery, s.micros())
	audit.Append(ctx, b, audit.Entry{Action: audit.WebhookRedeliver, Project: project, Object: id.String(), Detail: delivered{Delivery: delivery}})
	return s.commitDelivery(ctx, b, id, delivery)
}

// delivered is what the audit log says of one delivery.
type delivered struct {
	Delivery uuid.UUID `json:"delivery"`
}

func (s *Service) commitDelivery(ctx context.Context, b *database.Batch, id, delivery uuid.UUID) (d Delivery, err error) {
	b.Query(func(r database.Rows) error {
		d, err = scanDelivery(r)
		return err
	}, deliveryByID, id, delivery)
	if err := s.DB.Run(ctx, b); err != nil {
		return Delivery{}, wrapped("send an event", err)
	}
	s.look()
	return d, nil
}
