package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rounds"
)

// overridesInterval is about how often a replica learns which subjects have rates of their own. It takes at most half as
// long again.
const overridesInterval = 3 * time.Second

// overrides tells the limiter of the rates of single subjects, so that no request has to ask for them.
type overrides struct {
	store   *limits.Store
	limiter *ratelimit.Limiter
	logger  *slog.Logger

	known   bool // the limiter has those of version
	version int64
}

// Run looks until ctx ends. It returns nil: what fails is logged and tried again, and what was known holds meanwhile.
func (o *overrides) Run(ctx context.Context) error {
	rounds.Every(ctx, overridesInterval, func(ctx context.Context) {
		if err := o.Refresh(ctx); err != nil && ctx.Err() == nil {
			o.logger.WarnContext(ctx, "read the rates of single subjects", slog.String("error", err.Error()))
		}
	})
	return nil
}

// Refresh is one round of Run, not for concurrent use. It reads the overrides where they have changed, which may be many.
// Errors: the context's and the database's.
func (o *overrides) Refresh(ctx context.Context) error {
	if o.limiter == nil {
		return nil
	}
	version, err := o.store.Version(ctx)
	if err != nil || o.known && version == o.version {
		return err //nolint:wrapcheck // says what it is about
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
	o.known, o.version = true, version
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
