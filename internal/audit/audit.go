// Package audit is the record of who did what to which object, from where, with which token and with what outcome.
//
// Whatever changes something appends one [Entry] to its own transaction, so that there is an entry exactly where there
// is a change. Who asks is in the context of the request ([With]); what is done is known where it is done ([Append]).
// Entries are never changed, and removed only by age. An entry never holds a secret.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// Actors that are no principals of a request.
const (
	ActorSystem   = "system"   // the server by itself, such as the expiry of a project
	ActorOperator = "operator" // somebody with access to the machine, by a sub-command
)

// Outcomes.
const (
	OutcomeDone    = "done"
	OutcomeRefused = "refused"
)

// maxText bounds each text of an entry, in bytes.
const maxText = 512

// Origin is who asks, and from where.
type Origin struct {
	// Actor is the principal: anonymous, user:<id>, robot:<id>, runner:<id>, or one of the Actor constants.
	Actor string
	// Token is the registry token that was used, Session the log-in; both may be uuid.Nil.
	Token, Session uuid.UUID
	// RemoteIP is the client's address, as far as the server believes it; empty if it is not known.
	RemoteIP string
	// UserAgent is what the client calls itself.
	UserAgent string
	// RequestID is that of the access log.
	RequestID string
}

type originKey struct{}

// With returns a context whose changes are those of o.
func With(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// From returns the origin that With has put into ctx, or that of the server itself.
func From(ctx context.Context) Origin {
	if o, ok := ctx.Value(originKey{}).(Origin); ok {
		return o
	}
	return Origin{Actor: ActorSystem}
}

// Entry is what is done.
type Entry struct {
	// Action is the kind of object and what is done to it, such as "robot.create" or "manifest.push".
	Action string
	// Project is the project that it is about; uuid.Nil if it is about none.
	Project uuid.UUID
	// Repository is the path of the repository below the project, where it is about one.
	Repository string
	// Object names what it is done to: an ID, a digest, a tag.
	Object string
	// Detail is what else there is to say: a value that encoding/json can encode, or nil. It must not hold a secret.
	Detail any
}

var appendEntry = database.SQL(`
	INSERT INTO audit_log (id, at, actor, token_id, session_id, remote_ip, user_agent, request_id,
		action, outcome, project_id, repository, object, detail)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`)

// Append adds to b the entry of what b does, and returns its ID. The time is that of the program, not the database's. The
// statement locks nothing, and so may stand anywhere in b; it comes after the guard.
func Append(ctx context.Context, b *database.Batch, e Entry) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	o := From(ctx)
	b.Exec(appendEntry, id, database.ToMicros(time.Now()), o.Actor, nullable(o.Token), nullable(o.Session),
		text(o.RemoteIP), text(o.UserAgent), text(o.RequestID), e.Action, OutcomeDone, nullable(e.Project),
		text(e.Repository), text(e.Object), encoded(e.Detail))
	return id
}

func nullable(id uuid.UUID) uuid.NullUUID { return uuid.NullUUID{UUID: id, Valid: id != uuid.Nil} }

// text is what every database takes for text, and no longer than maxText.
func text(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	for len(s) > maxText {
		_, size := utf8.DecodeLastRuneInString(s[:maxText])
		s = s[:maxText-size]
	}
	return s
}

func encoded(detail any) string {
	if detail == nil {
		return ""
	}
	document, err := json.Marshal(detail)
	if err != nil {
		panic(fmt.Sprintf("audit: %v", err)) // a mistake in the program: details are plain values
	}
	return string(document)
}
