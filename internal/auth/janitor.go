package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// janitorInterval is about how often a replica looks for credentials that have ended long ago.
	janitorInterval = 10 * time.Minute
	// janitorBatch is how many it takes at a time.
	janitorBatch = 200
)

// Rows that another replica or a request holds are left for the next round.
var (
	removeSessions = database.SQL(`
		DELETE FROM sessions WHERE id IN (
			SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT {limit:$2} {skip})
		RETURNING 1`)
	removeInvites = database.SQL(`
		DELETE FROM invites WHERE id IN (
			SELECT id FROM invites WHERE expires_at <= $1 ORDER BY expires_at LIMIT {limit:$2} {skip})
		RETURNING 1`)
	// A session may outlive what its token was: the token stays until that is removed.
	removeGrantsOfRevoked = database.SQL(`DELETE FROM runner_grants WHERE token_id IN (` + revokedTokens + `)`)
	removeRevoked         = database.SQL(removeTokens + `(` + revokedTokens + ` {skip}) RETURNING 1`)
	removeGrantsOfExpired = database.SQL(`DELETE FROM runner_grants WHERE token_id IN (` + expiredTokens + `)`)
	removeExpired         = database.SQL(removeTokens + `(` + expiredTokens + ` {skip}) RETURNING 1`)
)

const (
	removeTokens  = `DELETE FROM tokens WHERE NOT EXISTS (SELECT 1 FROM runner_grants g WHERE g.token_id = tokens.id) AND id IN `
	withoutUse    = `AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.token_id = t.id) `
	revokedTokens = `SELECT t.id FROM tokens t WHERE t.revoked_at <= $1 ` + withoutUse + `ORDER BY t.revoked_at LIMIT {limit:$2}`
	expiredTokens = `SELECT t.id FROM tokens t WHERE t.expires_at <= $1 ` + withoutUse + `ORDER BY t.expires_at LIMIT {limit:$2}`
)

// Janitor removes log-ins, invites and tokens that ended longer ago than Options.Retention. Any number of replicas may do
// so at once.
type Janitor struct {
	service *Service
	logger  *slog.Logger
}

// Janitor makes the service's Janitor.
func (s *Service) Janitor(logger *slog.Logger) *Janitor { return &Janitor{service: s, logger: logger} }

// Run works until ctx ends. It returns nil: what fails is logged and tried again.
func (j *Janitor) Run(ctx context.Context) error {
	for {
		if err := j.Tidy(ctx); err != nil && ctx.Err() == nil {
			j.logger.WarnContext(ctx, "remove old credentials", slog.String("error", err.Error()))
		}
		timer := time.NewTimer(janitorInterval/2 + rand.N(janitorInterval)) // spreads replicas out
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Tidy does one round of what Run does: everything that is due when it is called.
func (j *Janitor) Tidy(ctx context.Context) error {
	none := database.Stmt{}
	return errors.Join(
		j.remove(ctx, "log-ins", none, removeSessions), j.remove(ctx, "invites", none, removeInvites),
		j.remove(ctx, "revoked tokens", removeGrantsOfRevoked, removeRevoked),
		j.remove(ctx, "expired tokens", removeGrantsOfExpired, removeExpired),
	)
}

func (j *Janitor) remove(ctx context.Context, what string, before, stmt database.Stmt) error {
	due := database.ToMicros(j.service.now().Add(-j.service.opts.Retention))
	for {
		n := 0
		b := &database.Batch{}
		if before != (database.Stmt{}) {
			b.Exec(before, due, int64(janitorBatch))
		}
		b.Query(func(database.Rows) error {
			n++
			return nil
		}, stmt, due, int64(janitorBatch))
		if err := j.service.db.Run(ctx, b); err != nil {
			return fmt.Errorf("auth: remove %s: %w", what, err)
		}
		if n < janitorBatch {
			return nil
		}
	}
}
