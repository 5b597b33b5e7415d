package server

import (
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/ratelimit"
)

// counts are how many things there may be, as the domain takes them.
func counts(cfg config.Counts) limits.Server {
	return limits.Server{
		Projects: int64(cfg.Projects), UserCreations: int64(cfg.UserCreations), AddressCreations: int64(cfg.AddressCreations),
		Uploads: int64(cfg.Uploads), Tags: int64(cfg.Tags), Tokens: int64(cfg.Tokens), Sessions: int64(cfg.Sessions),
		Robots: int64(cfg.Robots), Members: int64(cfg.Members), RunnerGrants: int64(cfg.RunnerGrants),
	}
}

// newLimiter makes the rate limiter of all planes, nil where there is to be none.
func newLimiter(cfg config.RateLimit, clock func() time.Time) (*ratelimit.Limiter, error) {
	if !cfg.Enabled {
		return nil, nil
	}
	return ratelimit.New(ratelimit.Config{ //nolint:wrapcheck // says what it is about
		Limits: ratelimit.Limits{
			Token: ratelimit.Limit{PerMinute: cfg.TokenRate, Burst: cfg.TokenBurst},
			Read:  ratelimit.Limit{PerMinute: cfg.ReadRate, Burst: cfg.ReadBurst},
			Write: ratelimit.Limit{PerMinute: cfg.WriteRate, Burst: cfg.WriteBurst},
			API:   ratelimit.Limit{PerMinute: cfg.APIRate, Burst: cfg.APIBurst},
			Login: ratelimit.Limit{PerMinute: cfg.LoginRate, Burst: cfg.LoginBurst},
		},
		Replicas: cfg.Replicas, Keys: cfg.Keys, DryRun: cfg.DryRun, Clock: clock,
		Anonymous: float64(cfg.AnonymousPercent) / 100,
	})
}
