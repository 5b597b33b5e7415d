package config

import (
	"net/netip"
	"slices"
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

// sensitive are networks in which a request is answered by the server's own machine, or by the metadata service of a cloud,
// which hands out credentials to whoever asks from that machine.
var sensitive = []struct {
	what     string
	networks []netip.Prefix
}{
	{"the server's own machine (loopback)", []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("::/127"),
		netip.MustParsePrefix("64:ff9b::7f00:0/104"), // by NAT64
	}},
	{"link-local addresses, the cloud's metadata service among them", []netip.Prefix{
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("64:ff9b::a9fe:0/112"),
	}},
	{"the cloud's metadata service", []netip.Prefix{
		netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("fd20:ce::254/128"), netip.MustParsePrefix("100.100.100.200/32"),
	}},
}

// warnings tell of networks that no receiver of webhooks is in.
func (w Webhooks) warnings() []string {
	const variable, remedy = "BERTH_WEBHOOK_ALLOWED_NETWORKS ", ": name only the networks or addresses of the receivers"
	var out []string
	for _, network := range w.Networks() {
		if network.Bits() == 0 {
			out = append(out, variable+network.String()+" lets every owner of a project send requests to anything that this server reaches, itself and the cloud's metadata service included"+remedy)
			continue
		}
		for _, place := range sensitive {
			if slices.ContainsFunc(place.networks, network.Overlaps) {
				out = append(out, variable+network.String()+" lets every owner of a project send requests to "+place.what+remedy)
				break
			}
		}
	}
	return out
}
