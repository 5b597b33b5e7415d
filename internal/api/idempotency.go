package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/database"
)

const (
	idempotencyHeader = "Idempotency-Key"
	replayedHeader    = "Idempotency-Replayed"
	// answerLife is how long an answer is kept for repetitions of its request.
	answerLife = 24 * time.Hour
	// keepTimeout bounds how long an answer waits for being kept.
	keepTimeout = 10 * time.Second
)

// idempotent answers the repetition of a creation with the first answer.
//
// The key is taken before the work begins and answered before the answer is sent. A request that was cut off in between
// leaves a key without an answer: nobody knows what it did, so its repetition is told so, and does nothing.
func (a *API) idempotent(c *gin.Context) {
	one := callOf(c.Request.Context())
	key := c.GetHeader(idempotencyHeader)
	if !one.op.idempotent || key == "" {
		return
	}
	ctx := c.Request.Context()
	id := answerID{credential: credentialID(one), key: digest(key), request: requestDigest(c.Request, one.body)}
	seal, err := newSealer(one.secret, key)
	if err != nil {
		refuse(c, err)
		return
	}
	earlier, err := a.answers.begin(ctx, id)
	switch {
	case err != nil:
		refuse(c, err)
	case earlier != nil:
		replay(c, seal, *earlier)
	default:
		a.answerOnce(c, id, seal)
	}
}

func credentialID(one *call) uuid.UUID {
	if one.credential.SessionID != uuid.Nil {
		return one.credential.SessionID
	}
	return one.credential.TokenID
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func requestDigest(r *http.Request, body []byte) string {
	return digest(r.Method + " " + r.URL.RequestURI() + "\n" + string(body))
}

// answer is what is kept of one.
type answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// replay sends an earlier answer. One that another secret of the same credential sealed cannot be read any more.
func replay(c *gin.Context, seal *sealer, sealed []byte) {
	var kept answer
	text, err := seal.open(sealed)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		refuse(c, fmt.Errorf("api: read the answer of an idempotency key: %w", err))
		return
	}
	for name, values := range kept.Header {
		c.Writer.Header()[name] = values
	}
	c.Header(replayedHeader, "true")
	c.Status(kept.Status)
	_, _ = c.Writer.Write(kept.Body) // the client may be gone
	c.Abort()
}

// answerOnce lets the handler answer, keeps the answer, and sends it.
func (a *API) answerOnce(c *gin.Context, id answerID, seal *sealer) {
	held := &heldWriter{ResponseWriter: c.Writer, header: http.Header{}}
	c.Writer = held
	c.Next()
	c.Writer = held.ResponseWriter
	a.keep(c.Request.Context(), id, seal, held)
	held.send()
}

// keep stores what the request did: an answer that says so is kept; after one that says that nothing was done the key is
// free again; and where it is not clear, it stays without an answer.
func (a *API) keep(ctx context.Context, id answerID, seal *sealer, held *heldWriter) {
	failure := callOf(ctx).failure
	// Whoever sent the request may be gone by now; what it did has to be kept all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	var err error
	switch {
	case held.status >= http.StatusOK && held.status < http.StatusMultipleChoices:
		err = a.keepAnswer(ctx, id, seal, answer{Status: held.status, Header: held.header, Body: held.body.Bytes()})
	case errors.Is(failure, database.ErrUnclear), held.status == http.StatusInternalServerError:
		return
	default:
		err = a.answers.forget(ctx, id)
	}
	if err != nil { // the answer is true nevertheless, and its repetition will be told that it is in progress
		a.logger.WarnContext(ctx, "the answer of an idempotency key was not kept", slog.String("error", err.Error()))
	}
}

func (a *API) keepAnswer(ctx context.Context, id answerID, seal *sealer, kept answer) error {
	text, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("api: keep answer: %w", err)
	}
	sealed, err := seal.seal(text)
	if err != nil {
		return err
	}
	return a.answers.finish(ctx, id, kept.Status, sealed)
}

// answerID names the answer to a request.
type answerID struct {
	credential   uuid.UUID
	key, request string // digests
}

// answers are the answers that are kept, in the database.
type answers struct {
	db  *database.DB
	now func() time.Time
}

var (
	// takeKey takes a key that nobody has, or whose time is over.
	takeKey = database.SQL(`
		INSERT INTO idempotency_keys (credential, key_hash, request_hash, created_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (credential, key_hash) DO UPDATE SET
			request_hash = excluded.request_hash, created_at = excluded.created_at, status = NULL, answer = NULL
		WHERE idempotency_keys.created_at <= $5
		RETURNING 1`)
	readKey = database.SQL(`
		SELECT request_hash, status, answer FROM idempotency_keys WHERE credential = $1 AND key_hash = $2`)
	answerKey = database.SQL(`
		UPDATE idempotency_keys SET status = $3, answer = $4 WHERE credential = $1 AND key_hash = $2`)
	forgetKey  = database.SQL(`DELETE FROM idempotency_keys WHERE credential = $1 AND key_hash = $2`)
	forgetKeys = database.SQL(`DELETE FROM idempotency_keys WHERE created_at <= $1`)
)

// begin takes the key for a request, or gives the sealed answer to an earlier one. Errors: KeyReused, InProgress, the
// context's and the database's.
func (a *answers) begin(ctx context.Context, id answerID) (sealed *[]byte, err error) {
	now := a.now()
	var b database.Batch
	taken := false
	b.Query(func(r database.Rows) error {
		var one int
		taken = true
		return r.Scan(&one)
	}, takeKey, id.credential, id.key, id.request, database.ToMicros(now), database.ToMicros(now.Add(-answerLife)))
	var row struct {
		request string
		status  *int64
		answer  []byte
	}
	b.Query(func(r database.Rows) error { return r.Scan(&row.request, &row.status, &row.answer) }, readKey, id.credential, id.key)
	if err := a.db.Run(ctx, &b); err != nil {
		return nil, fmt.Errorf("api: take an idempotency key: %w", err)
	}
	switch {
	case taken:
		return nil, nil
	case row.request != id.request:
		return nil, problem.KeyReused.With("Another request had this Idempotency-Key.")
	case row.status == nil:
		return nil, problem.InProgress.With("Look whether it was done before you use another key.").WithHeader("Retry-After", "5")
	}
	return &row.answer, nil
}

func (a *answers) finish(ctx context.Context, id answerID, status int, sealed []byte) error {
	return a.run(ctx, answerKey, id.credential, id.key, status, sealed)
}

func (a *answers) forget(ctx context.Context, id answerID) error {
	return a.run(ctx, forgetKey, id.credential, id.key)
}

func (a *answers) run(ctx context.Context, stmt database.Stmt, args ...any) error {
	var b database.Batch
	b.Exec(stmt, args...)
	if err := a.db.Run(ctx, &b); err != nil {
		return fmt.Errorf("api: keep an idempotency key: %w", err)
	}
	return nil
}

// sweepEvery is the time between two removals of old answers.
const sweepEvery = time.Hour

// Run implements the server's Worker: it removes answers whose time is over.
func (a *API) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := a.answers.run(ctx, forgetKeys, database.ToMicros(a.now().Add(-answerLife))); err != nil && ctx.Err() == nil {
			a.logger.WarnContext(ctx, "old idempotency keys were not removed", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
