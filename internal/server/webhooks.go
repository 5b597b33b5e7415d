package server

import (
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/events/webhooks"
)

// newWebhooks makes what keeps webhooks, and delivers to them in the background.
func newWebhooks(b *backends, cfg config.Webhooks, opts Options) *webhooks.Service {
	return webhooks.New(webhooks.Config{
		DB: b.db, Networks: webhooks.Networks{Allowed: cfg.Networks()}, Timeout: cfg.Timeout, Concurrency: cfg.Concurrency,
		OwnerPercent: cfg.OwnerPercent, MaxAttempts: int64(cfg.MaxAttempts), MaxPerProject: int64(cfg.MaxPerProject), Retention: cfg.Retention,
		Clock: opts.Clock, Logger: opts.Logger,
	})
}
