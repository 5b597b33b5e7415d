package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// Config is how a Limiter works. Limits and Keys are required.
type Config struct {
	// Limits are those of the whole server.
	Limits Limits
	// Replicas is how many servers share the work: each has its part of the limits. 0: one.
	Replicas int
	// Keys is the most buckets in memory: half for users, projects and runners, half for addresses and log-ins, so that
	// a flood of addresses costs no user anything.
	Keys int
	// DryRun counts and logs what would be refused, and refuses nothing.
	DryRun bool
	// Anonymous is the part of the limits that an address has, from more than 0 to 1. 0: all of them.
	Anonymous float64
	// Clock tells the time. Nil: time.Now.
	Clock func() time.Time
}

// shardsOfTable is how many parts each half of the buckets has, each with a lock of its own.
const shardsOfTable = 32

// Limiter decides how often callers may do what. It is safe for concurrent use, and a nil one limits nothing.
type Limiter struct {
	whole     Config
	measures  atomic.Pointer[measures]
	dryRun    bool
	now       func() time.Time
	seed      maphash.Seed // so that nobody can aim at a shard
	known     [shardsOfTable]shard
	strangers [shardsOfTable]shard
}

// MinKeys is the least of Config.Keys: one bucket a shard.
const MinKeys = 2 * shardsOfTable

// New makes a Limiter. Errors: plain ones, for a Config that cannot work.
func New(cfg Config) (*Limiter, error) {
	if cfg.Keys < MinKeys {
		return nil, fmt.Errorf("ratelimit: %d keys are fewer than %d", cfg.Keys, MinKeys)
	}
	if cfg.Replicas < 0 {
		return nil, errors.New("ratelimit: a negative number of replicas")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Anonymous < 0 || cfg.Anonymous > 1 {
		return nil, fmt.Errorf("ratelimit: %v is no part of the limits", cfg.Anonymous)
	}
	if cfg.Anonymous == 0 {
		cfg.Anonymous = 1
	}
	cfg.Replicas = max(cfg.Replicas, 1)
	l := &Limiter{whole: cfg, dryRun: cfg.DryRun, now: cfg.Clock, seed: maphash.MakeSeed()}
	m := &measures{
		everybody: cfg.Limits.table(cfg.Replicas),
		addresses: cfg.Limits.anonymous(cfg.Anonymous).table(cfg.Replicas),
	}
	l.measures.Store(m)
	for i := range shardsOfTable {
		l.known[i].init(cfg.Keys/MinKeys, m.everybody)
		l.strangers[i].init(cfg.Keys/MinKeys, m.addresses)
	}
	return l, nil
}

// Error is a refusal.
type Error struct {
	// Class is what there was too much of.
	Class Class
	// Wait is how long the next request of the class has to wait.
	Wait time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("ratelimit: over the limit of class %s for %s", e.Class, e.Wait)
}

// RetryAfter is the value of the header: whole seconds, at least one.
func (e *Error) RetryAfter() string {
	seconds := (e.Wait + time.Second - 1) / time.Second
	return strconv.FormatInt(int64(max(seconds, 1)), 10)
}

// Take counts a request. Errors: an *Error where it is over the limit; then it is not counted.
func (l *Limiter) Take(ctx context.Context, class Class, key Key) error {
	if l == nil || IsExempt(ctx) {
		return nil
	}
	wait, _ := l.take(slot{class, key})
	return l.judge(ctx, class, wait)
}

// judge refuses what has to wait, and notes it for the log.
func (l *Limiter) judge(ctx context.Context, class Class, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	if l.dryRun {
		reqlog.Set(ctx, reqlog.OverLimit, class.String()+" (dry run)")
		return nil
	}
	reqlog.Set(ctx, reqlog.OverLimit, class.String())
	return &Error{Class: class, Wait: wait}
}

// take takes a token, and says how long there will be none if there is none. The limiter is the one that was asked, nil
// where there is no limit.
func (l *Limiter) take(id slot) (time.Duration, *rate.Limiter) {
	s, hash := l.find(id)
	return s.take(id, hash, l.measures.Load(), l.now)
}

// find gives the shard of a slot, and what it calls the slot there.
func (l *Limiter) find(id slot) (*shard, uint64) {
	hash := maphash.Comparable(l.seed, id)
	if id.key.stranger() {
		return &l.strangers[hash%shardsOfTable], hash
	}
	return &l.known[hash%shardsOfTable], hash
}

// Count is what became of the requests of a class.
type Count struct {
	Class   Class
	Allowed uint64
	Limited uint64 // refused, or would have been but for the dry run
	Shared  uint64 // of both, those of callers that had to share a bucket
}

// Stats are the numbers of a Limiter.
type Stats struct {
	Keys      int    // buckets in memory
	Evicted   uint64 // buckets that were dropped for others, all of them full
	Overrides int    // keys with limits of their own
	Classes   []Count
}

// Stats counts what has been decided since the start.
func (l *Limiter) Stats() Stats {
	stats := Stats{Classes: make([]Count, classes)}
	for class := range stats.Classes {
		stats.Classes[class].Class = Class(class)
	}
	if l == nil {
		return stats
	}
	stats.Overrides = len(l.measures.Load().own)
	for i := range shardsOfTable {
		l.known[i].addTo(&stats)
		l.strangers[i].addTo(&stats)
	}
	return stats
}
