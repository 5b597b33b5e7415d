package webhooks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
)

// maxDescription bounds a description, in characters.
const maxDescription = 200

// NewWebhook is a webhook to be made.
type NewWebhook struct {
	Project          uuid.UUID
	URL, Description string
	Events           []events.Kind
	// Secret is what to sign with, as whsec_ and base64. Empty: one is made.
	Secret    string
	CreatedBy string
}

// Change is what to change of a webhook; what is nil stays.
type Change struct {
	URL, Description *string
	Events           *[]events.Kind
	Enabled          *bool
}

var (
	lockList = database.SQL(`SELECT {lock:$1}`)
	roomLeft = database.SQL(`SELECT 1 WHERE (SELECT count(*) FROM webhooks WHERE project_id = $1) < {bigint:$2}`)
	insert   = database.SQL(`
		INSERT INTO webhooks (id, project_id, url, description, events, secret, created_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)`)
	// A webhook is locked before its events.
	lockWebhook = database.SQL(`SELECT 1 FROM webhooks WHERE project_id = $1 AND id = $2 {update}`)
	thisVersion = database.SQL(`SELECT 1 FROM webhooks WHERE id = $1 AND version = $2`)
	isEnabled   = database.SQL(`SELECT 1 FROM webhooks WHERE id = $1 AND enabled`)
	update      = database.SQL(`
		UPDATE webhooks SET url = coalesce({text:$2}, url), description = coalesce({text:$3}, description),
			events = coalesce({text:$4}, events), updated_at = $5, version = version + 1 WHERE id = $1`)
	enable = database.SQL(`
		UPDATE webhooks SET enabled = true, disabled_reason = '', failing_since = NULL WHERE id = $1 AND NOT enabled`)
	disable = database.SQL(`UPDATE webhooks SET enabled = false, disabled_reason = '' WHERE id = $1 AND enabled`)
	// dropPending gives up what a webhook that is disabled still had to get.
	dropPending = database.SQL(`
		UPDATE events_outbox SET state = 'dead', finished_at = $2, last_error = 'the webhook was disabled'
		WHERE webhook_id = $1 AND state = 'pending'
		  AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.id = events_outbox.webhook_id AND w.enabled)`)
	rotate = database.SQL(`
		UPDATE webhooks SET previous_secret = secret, previous_until = $3, secret = $2, updated_at = $4, version = version + 1
		WHERE id = $1`)
	deleteEvents  = database.SQL(`DELETE FROM events_outbox WHERE webhook_id = $1`)
	deleteWebhook = database.SQL(`DELETE FROM webhooks WHERE id = $1`)
)

// Create makes a webhook and gives its secret, which is not shown again. Errors: ErrTooMany, *InputError.
func (s *Service) Create(ctx context.Context, guard Guard, n NewWebhook) (secret string, w Webhook, err error) {
	if err := s.check(&n.URL, &n.Description, &n.Events); err != nil {
		return "", Webhook{}, err
	}
	stored, err := secretOf(n.Secret)
	if err != nil {
		return "", Webhook{}, err
	}
	id := uuid.Must(uuid.NewV7())
	b := begin(guard)
	b.Exec(lockList, "webhooks "+n.Project.String())
	b.Require(ErrTooMany, roomLeft, n.Project, s.MaxPerProject)
	b.Exec(insert, id, n.Project, n.URL, n.Description, kindsText(n.Events), stored, n.CreatedBy, s.micros())
	audit.Append(ctx, b, audit.Entry{Action: audit.WebhookCreate, Project: n.Project, Object: id.String(), Detail: detail(&n.URL, &n.Events, nil)})
	w, err = s.commit(ctx, b, n.Project, id)
	return secretPrefix + stored, w, err
}

// Change changes a webhook that has the version ifVersion (0: any). What was still to be sent is given up when it is
// disabled. Errors: ErrNotFound, ErrVersion, *InputError.
func (s *Service) Change(ctx context.Context, guard Guard, project, id uuid.UUID, c Change, ifVersion int64) (Webhook, error) {
	if err := s.check(c.URL, c.Description, c.Events); err != nil {
		return Webhook{}, err
	}
	var kinds *string
	if c.Events != nil {
		text := kindsText(*c.Events)
		kinds = &text
	}
	b := s.beginChange(guard, project, id, ifVersion)
	b.Exec(update, id, c.URL, c.Description, kinds, s.micros())
	if c.Enabled != nil && *c.Enabled {
		b.Exec(enable, id)
	}
	if c.Enabled != nil && !*c.Enabled {
		b.Exec(disable, id)
		b.Exec(dropPending, id, s.micros())
	}
	audit.Append(ctx, b, audit.Entry{Action: audit.WebhookChange, Project: project, Object: id.String(), Detail: detail(c.URL, c.Events, c.Enabled)})
	return s.commit(ctx, b, project, id)
}

// Rotate gives a webhook another secret, and returns it. The former one goes on signing for a day beside it. Errors:
// ErrNotFound, ErrVersion, *InputError.
func (s *Service) Rotate(
	ctx context.Context, guard Guard, project, id uuid.UUID, given string, ifVersion int64,
) (secret string, w Webhook, err error) {
	stored, err := secretOf(given)
	if err != nil {
		return "", Webhook{}, err
	}
	now := s.now()
	b := s.beginChange(guard, project, id, ifVersion)
	b.Exec(rotate, id, stored, database.ToMicros(now.Add(previousSecretIs)), database.ToMicros(now))
	audit.Append(ctx, b, audit.Entry{Action: audit.WebhookRotate, Project: project, Object: id.String()})
	w, err = s.commit(ctx, b, project, id)
	return secretPrefix + stored, w, err
}

// Delete removes a webhook with all that was to be sent to it. Errors: ErrNotFound, ErrVersion.
func (s *Service) Delete(ctx context.Context, guard Guard, project, id uuid.UUID, ifVersion int64) error {
	b := s.beginChange(guard, project, id, ifVersion)
	b.Exec(deleteEvents, id)
	b.Exec(deleteWebhook, id)
	audit.Append(ctx, b, audit.Entry{Action: audit.WebhookDelete, Project: project, Object: id.String()})
	return wrapped("delete a webhook", s.DB.Run(ctx, b))
}

func begin(guard Guard) *database.Batch {
	b := &database.Batch{}
	if guard != nil {
		guard.Require(b)
	}
	return b
}

// beginChange is how the transaction of each change of a webhook begins: it is there, locked, and as the caller saw it.
func (s *Service) beginChange(guard Guard, project, id uuid.UUID, ifVersion int64) *database.Batch {
	b := begin(guard)
	b.Require(ErrNotFound, lockWebhook, project, id)
	if ifVersion != 0 {
		b.Require(ErrVersion, thisVersion, id, ifVersion)
	}
	return b
}

// commit runs a change, and gives the webhook as it is then.
func (s *Service) commit(ctx context.Context, b *database.Batch, project, id uuid.UUID) (w Webhook, err error) {
	b.Query(func(r database.Rows) error {
		w, err = s.scan(r)
		return err
	}, webhookByID, project, id)
	if err := s.DB.Run(ctx, b); err != nil {
		return Webhook{}, wrapped("change a webhook", err)
	}
	return w, nil
}

// wrapped says what failed, of errors that do not say it themselves.
func wrapped(what string, err error) error {
	for _, own := range []error{nil, ErrNotFound, ErrVersion, ErrTooMany, ErrDisabled} {
		if errors.Is(err, own) {
			return err
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// check judges what is not nil.
func (s *Service) check(address, description *string, kinds *[]events.Kind) error {
	if address != nil {
		if err := s.Networks.CheckURL(*address); err != nil {
			return err
		}
	}
	if description != nil {
		switch text := *description; {
		case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
			return &InputError{Field: "description", Reason: "it is not text"}
		case utf8.RuneCountInString(text) > maxDescription:
			return &InputError{Field: "description", Reason: fmt.Sprintf("it is longer than %d characters", maxDescription)}
		}
	}
	if kinds == nil {
		return nil
	}
	if len(*kinds) == 0 {
		return &InputError{Field: "events", Reason: "it is empty"}
	}
	for _, kind := range *kinds {
		if !slices.Contains(events.Kinds(), kind) {
			return &InputError{Field: "events", Reason: fmt.Sprintf("%q is no kind of event", kind)}
		}
	}
	return nil
}

// kindsText is kinds as the column has them: each once, between blanks.
func kindsText(kinds []events.Kind) string {
	text := " "
	for _, kind := range events.Kinds() {
		if slices.Contains(kinds, kind) {
			text += string(kind) + " "
		}
	}
	return text
}

func kindsOf(text string) []events.Kind {
	fields := strings.Fields(text)
	kinds := make([]events.Kind, len(fields))
	for i, field := range fields {
		kinds[i] = events.Kind(field)
	}
	return kinds
}

// changed is what the audit log says of a change. Paths and queries of URLs are often secrets.
type changed struct {
	Host    string        `json:"host,omitempty"`
	Events  []events.Kind `json:"events,omitempty"`
	Enabled *bool         `json:"enabled,omitempty"`
}

func detail(address *string, kinds *[]events.Kind, enabled *bool) changed {
	d := changed{Enabled: enabled}
	if address != nil {
		if u, err := url.Parse(*address); err == nil {
			d.Host = u.Host
		}
	}
	if kinds != nil {
		d.Events = *kinds
	}
	return d
}
