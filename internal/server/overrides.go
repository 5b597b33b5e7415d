package server

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/ratelimit"
)

// overridesInterval is about how often a replica learns which subjects have rates of their own. It takes at most half as
// long again.
const overridesInterval = 3 * time.Second

// overrides tells the limiter of the rates of single subjects, so that no request has to ask for them.
type overrides struct {
	store   *limits.Store
	limiter *ratelimit.Limiter
	logger  *slog.Logger
}

// Run looks until ctx ends. It returns nil: what fails is logged and tried again, and what was known holds meanwhile.
func (o *overrides) Run(ctx context.Context) error {
	for {
		if err := o.Refresh(ctx); err != nil && ctx.Err() == nil {
			o.logger.WarnContext(ctx, "read the rates of single subjects", slog.String("error", err.Error()))
		}
		timer := time.NewTimer(overridesInterval/2 + rand.N(overridesInterval)) // spreads replicas out
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Refresh is one round of Run. Errors: the context's and the database's.
func (o *overrides) Refresh(ctx context.Context) error {
	if o.limiter == nil {
		return nil
	}
	rates, err := o.store.Rates(ctx)
	if err != nil {
		return err //nolint:wrapcheck // says what it is about
	}
	all := make(map[ratelimit.Key]ratelimit.Override, len(rates))
	for subject, own := range rates {
		all[keyOf(subject)] = overrideOf(own)
	}
	o.limiter.Override(all)
	return nil
}

func keyOf(subject limits.Subject) ratelimit.Key {
	return map[limits.Kind]func(uuid.UUID) ratelimit.Key{
		limits.KindUser: ratelimit.User, limits.KindProject: ratelimit.Project, limits.KindRunner: ratelimit.Runner,
	}[subject.Kind](subject.ID)
}

func overrideOf(rates map[string]limits.Rate) ratelimit.Override {
	of := func(class ratelimit.Class) *ratelimit.Limit {
		rate, has := rates[class.String()]
		if !has {
			return nil
		}
		return &ratelimit.Limit{PerMinute: int(rate.PerMinute), Burst: int(rate.Burst)}
	}
	return ratelimit.Override{
		Token: of(ratelimit.Token), Read: of(ratelimit.Read), Write: of(ratelimit.Write), API: of(ratelimit.API),
	}
}
