// Package events is the transactional outbox: whatever changes something that others may want to hear of appends an
// [Event] to its own transaction, so that there is an event exactly where there is a change. Package webhooks delivers.
//
// An event becomes a row for each enabled webhook of its project that asked for its kind, and none where there is no such
// webhook: then it costs one look-up in the batch of the change. Events of one object are delivered in the order of
// their rows; they are in the order in which the object changed, because whoever changes it holds its lock when it
// appends.
package events

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// Kind is what happened.
type Kind string

// The kinds of events. The names are part of the contract of the product API.
const (
	ManifestPushed  Kind = "manifest.pushed"  // a manifest was stored, anew or again
	ManifestDeleted Kind = "manifest.deleted" // a manifest was deleted, and with it its tags
	TagMoved        Kind = "tag.moved"        // a tag names another manifest than before, or is new
	TagDeleted      Kind = "tag.deleted"      // a tag was deleted, alone or with its manifest
	ProjectClaimed  Kind = "project.claimed"  // an unclaimed project got an owner
	QuotaExceeded   Kind = "quota.exceeded"   // a push was refused for a quota; once an hour at most
	Ping            Kind = "webhook.ping"     // somebody tests a webhook
)

// Kinds are all that a webhook can ask for. A ping comes unasked.
func Kinds() []Kind {
	return []Kind{ManifestPushed, ManifestDeleted, TagMoved, TagDeleted, ProjectClaimed, QuotaExceeded}
}

// Event is what happened, to be told to the webhooks of a project.
type Event struct {
	// Project is whose webhooks are told.
	Project uuid.UUID
	// Kind is what happened.
	Kind Kind
	// Object is what it happened to: events of the same object are delivered in order. See [TagObject] and
	// [ManifestObject].
	Object string
	// Data is what the payload says besides: a value that encoding/json encodes as an object, such as Content. It must
	// not hold a secret.
	Data any
}

// Content is the data of events about manifests and tags.
type Content struct {
	// Repository is the path below the project; it may be empty.
	Repository string `json:"repository"`
	// Digest is the manifest, of a tag what it names now.
	Digest string `json:"digest,omitempty"`
	// MediaType and Size are the manifest's.
	MediaType string `json:"media_type,omitempty"`
	Size      int64  `json:"size,omitempty"`
	// Tags are those that a push named.
	Tags []string `json:"tags,omitempty"`
	// Actor is the principal who did it: anonymous, user:<id>, robot:<id>, runner:<id> or system.
	Actor string `json:"actor"`
}

// Pinged is the data of a ping.
type Pinged struct {
	// Actor is who asked for it.
	Actor string `json:"actor"`
}

// TagObject is the object of events about a tag.
func TagObject(repository, tag string) string { return repository + ":" + tag }

// ManifestObject is the object of events about a manifest.
func ManifestObject(repository, digest string) string { return repository + "@" + digest }

const (
	insert = `
	INSERT INTO events_outbox (id, webhook_id, kind, object, data, next_attempt_at, created_at, previous_digest)
	SELECT {newid}, w.id, {text:$2}, `
	// subscribed is the webhooks w of the project $1 that ask for what the pattern $3 finds.
	subscribed = ` w.project_id = $1 AND w.enabled AND w.events LIKE {pattern:$3}`
)

var appendEvent = database.SQL(insert + `{text:$4}, {text:$5}, {bigint:$6}, {bigint:$6}, NULL
	FROM webhooks w WHERE` + subscribed)

// Append adds an event to the transaction of what it tells. It comes after the guard, and where the object is locked; now
// is the time that the rest of the transaction writes.
func Append(b *database.Batch, e Event, now int64) {
	b.Exec(appendEvent, e.Project, string(e.Kind), pattern(e.Kind), e.Object, Encoded(e.Data), now)
}

// pattern finds a kind in webhooks.events, where each stands between blanks.
func pattern(k Kind) string { return "% " + string(k) + " %" }

// Encoded is the data of an event as its row has it.
func Encoded(data any) string {
	if data == nil {
		return "{}"
	}
	document, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("events: %v", err)) // a mistake in the program: data is plain values
	}
	return string(document)
}
