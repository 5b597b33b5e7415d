package config

import (
	"net/netip"
	"time"
)

// Bounds of settings of webhooks.
const (
	maxWebhooks           = 1000
	maxWebhookConcurrency = 1000
	maxWebhookAttempts    = 100
	maxWebhookTimeout     = time.Minute
)

// Webhooks are how projects tell others what happened in them.
type Webhooks struct {
	// AllowedNetworks are CIDRs, or single addresses, that webhooks may reach although they are not the public internet;
	// those need no TLS either.
	AllowedNetworks []string `name:"webhook-allowed-networks" env:"BERTH_WEBHOOK_ALLOWED_NETWORKS" placeholder:"CIDR" help:"CIDRs beside the public internet that webhooks may reach, there also without TLS. Default: none."`
	// MaxPerProject is how many webhooks a project may have.
	MaxPerProject int `name:"webhook-max-per-project" env:"BERTH_WEBHOOK_MAX_PER_PROJECT" default:"20" help:"Most webhooks of a project."`
	// Timeout is how long a receiver may take to answer.
	Timeout time.Duration `name:"webhook-timeout" env:"BERTH_WEBHOOK_TIMEOUT" default:"10s" help:"Time for one attempt to deliver an event."`
	// Concurrency is how many webhooks this replica serves at once, each with up to four requests.
	Concurrency int `name:"webhook-concurrency" env:"BERTH_WEBHOOK_CONCURRENCY" default:"8" help:"Webhooks that a replica serves at once, each with up to four requests under way."`
	// OwnerPercent is the part of them that one account's webhooks may take, in per cent.
	OwnerPercent int `name:"webhook-owner-percent" env:"BERTH_WEBHOOK_OWNER_PERCENT" default:"25" help:"Part of those webhooks that may be of one account at a time, in per cent; one at the least."`
	// MaxAttempts is after how many attempts an event is given up.
	MaxAttempts int `name:"webhook-max-attempts" env:"BERTH_WEBHOOK_MAX_ATTEMPTS" default:"10" help:"Attempts to deliver an event before it is given up; ten take about two days."`
	// Retention is how long deliveries are listed after their end.
	Retention time.Duration `name:"webhook-retention" env:"BERTH_WEBHOOK_RETENTION" default:"720h" help:"Time that events are kept after they were delivered or given up."`
}

func (w Webhooks) check(refuse refuseFunc) {
	for _, cidr := range w.AllowedNetworks {
		checkNetwork(refuse, "BERTH_WEBHOOK_ALLOWED_NETWORKS", cidr)
	}
	checkRange(refuse, "BERTH_WEBHOOK_MAX_PER_PROJECT", w.MaxPerProject, 0, maxWebhooks)
	checkPositive(refuse, "BERTH_WEBHOOK_TIMEOUT", w.Timeout)
	if w.Timeout > maxWebhookTimeout {
		refuse("BERTH_WEBHOOK_TIMEOUT", "%s is more than %s", w.Timeout, maxWebhookTimeout)
	}
	checkRange(refuse, "BERTH_WEBHOOK_CONCURRENCY", w.Concurrency, 1, maxWebhookConcurrency)
	checkRange(refuse, "BERTH_WEBHOOK_OWNER_PERCENT", w.OwnerPercent, 1, 100)
	checkRange(refuse, "BERTH_WEBHOOK_MAX_ATTEMPTS", w.MaxAttempts, 1, maxWebhookAttempts)
	checkPositive(refuse, "BERTH_WEBHOOK_RETENTION", w.Retention)
}

// Networks are the AllowedNetworks, which have been checked.
func (w Webhooks) Networks() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range w.AllowedNetworks {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			all = append(all, prefix.Masked())
		} else if addr, err := netip.ParseAddr(text); err == nil {
			all = append(all, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return all
}
