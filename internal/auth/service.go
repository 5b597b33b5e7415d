// Package auth answers who is asking: users and their passwords, registry tokens, and the bearer JWTs that are issued for
// them. A JWT proves an identity and narrows it; what the credential behind it is worth is looked up each time, so that a
// revocation is seen within the life of a cached answer.
package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/rbac"
	"github.com/berthregistry/berth/internal/recent"
)

// Defaults of Options.
const (
	DefaultTokenTTL    = 5 * time.Minute
	DefaultCacheTTL    = 4 * time.Second
	DefaultKeyLifetime = 30 * 24 * time.Hour
	DefaultSessionTTL  = 12 * time.Hour
	DefaultRetention   = 90 * 24 * time.Hour
)

// cacheSize bounds each cache. An entry takes less than a kilobyte.
const cacheSize = 10_000

// Options configure a Service.
type Options struct {
	Clock       func() time.Time // default: time.Now
	Issuer      string           // of bearer tokens; required
	Service     string           // their audience; required
	TokenTTL    time.Duration    // their life; default: DefaultTokenTTL
	CacheTTL    time.Duration    // how long an answer of the database holds; default: DefaultCacheTTL
	KeyLifetime time.Duration    // how long a key signs; default: DefaultKeyLifetime
	SessionTTL  time.Duration    // life of a session of the product API; default: DefaultSessionTTL
	Limits      limits.Server    // how many tokens, robots and sessions there may be
	Retention   time.Duration    // how long what has ended is kept; default: DefaultRetention
	SignUp      SignUpMode       // who may sign up; default: SignUpClosed
	Hashers     int              // passwords hashed at once, 64 MiB each; default: one per CPU, at most 4
}

// Service answers who is asking. It is safe for concurrent use; any number of replicas share one database.
type Service struct {
	db        *database.DB
	opts      Options
	now       func() time.Time
	passwords *hasher
	bySecret  *recent.Cache[secretHash, Credential]
	byID      *recent.Cache[uuid.UUID, Credential]
	verified  *recent.Cache[secretHash, verifiedToken]
	signing   *recent.Cache[purpose, signingKey]
	keys      *recent.Cache[keyName, signingKey]
	sessions  *recent.Cache[secretHash, Credential]
	used      *uses
}

// NewService makes a Service. It asks the database nothing. Errors: plain ones, for options that cannot work.
func NewService(db *database.DB, opts Options) (*Service, error) {
	if opts.Issuer == "" || opts.Service == "" {
		return nil, errors.New("auth: an issuer and a service are required")
	}
	opts.setDefaults()
	if opts.TokenTTL < time.Second {
		return nil, fmt.Errorf("auth: a token life of %s is less than a second", opts.TokenTTL)
	}
	if opts.KeyLifetime < opts.CacheTTL {
		return nil, fmt.Errorf("auth: a key life of %s is less than that of a cached answer", opts.KeyLifetime)
	}
	if opts.SessionTTL < 0 || !opts.SignUp.valid() {
		return nil, fmt.Errorf("auth: a session life of %s, or sign-up %q, is not possible", opts.SessionTTL, opts.SignUp)
	}
	s := &Service{
		db: db, opts: opts, now: opts.Clock, passwords: newHasher(defaultArgon, opts.Hashers), used: newUses(opts.Clock),
	}
	return s, errors.Join(
		makeCache(&s.bySecret, opts), makeCache(&s.byID, opts), makeCache(&s.verified, opts),
		makeCache(&s.signing, opts), makeCache(&s.keys, opts), makeCache(&s.sessions, opts),
	)
}

// by gives the context of what a user does who is only now known to be one, with the token of the log-in if it was one.
func by(ctx context.Context, userID, tokenID uuid.UUID) context.Context {
	o := audit.From(ctx)
	o.Actor, o.Token = Principal{Kind: rbac.KindUser, ID: userID}.String(), tokenID
	return audit.With(ctx, o)
}

func (o *Options) setDefaults() {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = DefaultTokenTTL
	}
	if o.CacheTTL == 0 {
		o.CacheTTL = DefaultCacheTTL
	}
	if o.SessionTTL == 0 {
		o.SessionTTL = DefaultSessionTTL
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.SignUp == "" {
		o.SignUp = SignUpClosed
	}
	if o.KeyLifetime == 0 {
		o.KeyLifetime = DefaultKeyLifetime
	}
}

func makeCache[K comparable, V any](into **recent.Cache[K, V], opts Options) error {
	cache, err := recent.New[K, V](cacheSize, opts.CacheTTL, opts.Clock)
	*into = cache
	return err
}
