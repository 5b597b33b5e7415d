package ratelimit

import (
	"context"

	"golang.org/x/time/rate"
)

// CheckLogin tells, before a secret is looked at, whether too many log-ins failed to this account or from the address
// in ctx. It takes nothing, so those that succeed are never limited by their number. Errors: an *Error.
func (l *Limiter) CheckLogin(ctx context.Context, account Key) error {
	if l == nil || IsExempt(ctx) {
		return nil
	}
	for _, id := range loginSlots(ctx, account) {
		shard, hash := l.find(id)
		if err := l.judge(ctx, id.class, shard.look(id, hash, l.now)); err != nil {
			return err
		}
	}
	return nil
}

// FailedLogin counts a log-in that failed after CheckLogin let it pass.
func (l *Limiter) FailedLogin(ctx context.Context, account Key) {
	if l == nil {
		return
	}
	for _, id := range loginSlots(ctx, account) {
		l.take(id)
	}
}

// Login is a log-in that is counted as failed until it succeeds.
type Login struct {
	limiter *Limiter
	held    [2]held
}

type held struct {
	shard *shard
	from  *rate.Limiter
}

// BeginLogin is CheckLogin and FailedLogin at once, for secrets that can be guessed: so no number of attempts at the
// same time gets past the limit. Call Succeeded when it did not fail. Errors: an *Error.
func (l *Limiter) BeginLogin(ctx context.Context, account Key) (*Login, error) {
	login := &Login{limiter: l}
	if l == nil || IsExempt(ctx) {
		return login, nil
	}
	for i, id := range loginSlots(ctx, account) {
		shard, hash := l.find(id)
		wait, from := shard.take(id, hash, l.measures.Load(), l.now)
		if err := l.judge(ctx, id.class, wait); err != nil {
			login.Succeeded() // what was refused did not fail
			return nil, err
		}
		if wait == 0 && from != nil {
			login.held[i] = held{shard, from}
		}
	}
	return login, nil
}

// Succeeded takes back that the log-in failed.
func (g *Login) Succeeded() {
	for _, h := range g.held {
		if h.shard != nil {
			h.shard.giveBack(h.from, g.limiter.now)
		}
	}
}

// loginSlots are what a log-in counts for, the account first: where that refuses, the address is not charged.
func loginSlots(ctx context.Context, account Key) [2]slot {
	return [2]slot{{LoginAccount, account}, {LoginAddress, AddressOf(ctx)}}
}
