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

// As returns a context whose changes are those of an actor, from where ctx says: who logs in is known when that is done.
func As(ctx context.Context, actor string) context.Context {
	o := From(ctx)
	o.Actor = actor
	return With(ctx, o)
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

const insertEntry = `
	INSERT INTO audit_log (id, at, actor, token_id, session_id, remote_ip, user_agent, request_id,
		action, outcome, project_id, repository, object, detail) `

var (
	appendEntry = database.SQL(insertEntry + `
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`)
	appendCreated = database.SQL(insertEntry + `
		SELECT {uuid:$1}, {bigint:$2}, {text:$3}, {uuid:$4}, {uuid:$5}, {text:$6}, {text:$7}, {text:$8}, {text:$9}, {text:$10},
			p.id, {text:$12}, {text:$13}, {text:$14}
		FROM projects p WHERE p.id = $11`)
	appendAboutUser = database.SQL(insertEntry + `
		SELECT {uuid:$1}, {bigint:$2}, {text:$3}, {uuid:$4}, {uuid:$5}, {text:$6}, {text:$7}, {text:$8}, {text:$9}, {text:$10},
			{uuid:$11}, {text:$12}, CAST(u.id AS text), {text:$14}
		FROM users u WHERE u.email = {text:$13}`)
	// appendExpiry looks at a row that is locked by then.
	lockExpired = database.SQL(`
		SELECT 1 FROM projects WHERE slug = $1 AND state = 'unclaimed' AND expires_at <= $2 {update}`)
	appendExpiry = database.SQL(insertEntry + `
		SELECT {uuid:$3}, {bigint:$4}, '` + ActorSystem + `', NULL, NULL, '', '', '', '` + ProjectExpire + `', '` + OutcomeDone + `',
			p.id, '', p.slug, ''
		FROM projects p WHERE p.slug = $1 AND p.state = 'unclaimed' AND p.expires_at <= $2`)
)

// Append adds to b the entry of what b does, and returns its ID. The time is that of the program, not the database's. The
// statement locks nothing, and so may stand anywhere in b; it comes after the guard.
func Append(ctx context.Context, b *database.Batch, e Entry) uuid.UUID {
	return appendTo(ctx, b, appendEntry, e)
}

// AppendCreated is Append for a project that b creates unless somebody else was faster: without a project of e's ID there is
// no entry. It comes after the statement that creates.
func AppendCreated(ctx context.Context, b *database.Batch, e Entry) {
	appendTo(ctx, b, appendCreated, e)
}

// AppendAboutUser is Append for an entry whose Object is the e-mail address of a user who exists; it gets the user's ID.
func AppendAboutUser(ctx context.Context, b *database.Batch, e Entry) {
	appendTo(ctx, b, appendAboutUser, e)
}

// AppendExpiry adds the entry for an unclaimed project that has expired and is about to lose its slug to another one, if
// there is one. It comes before the statement that takes the slug.
func AppendExpiry(b *database.Batch, slug string, now int64) {
	id, at := newID()
	b.Exec(lockExpired, slug, now)
	b.Exec(appendExpiry, slug, now, id, at)
}

func appendTo(ctx context.Context, b *database.Batch, stmt database.Stmt, e Entry) uuid.UUID {
	id, at := newID()
	o := From(ctx)
	b.Exec(stmt, id, at, o.Actor, nullable(o.Token), nullable(o.Session),
		text(o.RemoteIP), text(o.UserAgent), text(o.RequestID), e.Action, OutcomeDone, nullable(e.Project),
		text(e.Repository), text(e.Object), encoded(e.Detail))
	return id
}

// newID makes an ID and gives its time, in microseconds, so that entries are in one order by either.
func newID() (id uuid.UUID, at int64) {
	id = uuid.Must(uuid.NewV7())
	return id, timeOf(id) * 1000
}

// timeOf gives the milliseconds since 1970 that a UUIDv7 begins with.
func timeOf(id uuid.UUID) int64 {
	var ms int64
	for _, part := range id[:6] {
		ms = ms<<8 | int64(part)
	}
	return ms
}

// boundary is less than every UUIDv7 of the millisecond in which t is, or of the next one unless t begins it, and greater
// than all before.
func boundary(t time.Time) (id uuid.UUID) {
	ms := (max(database.ToMicros(t), 0) + 999) / 1000
	for i := 5; i >= 0; i-- {
		id[i] = byte(ms)
		ms >>= 8
	}
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
