package server

import (
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/ratelimit"
)

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
	})
}
