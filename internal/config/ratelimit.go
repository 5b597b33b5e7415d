package config

// Bounds of rate limits.
const (
	maxRate     = 100_000_000 // requests per minute, and bursts
	maxReplicas = 10_000
	minKeys     = 1_000
	maxKeys     = 100_000_000
)

// RateLimit bounds how often callers may ask: users, the robots of a project, runners and the addresses of clients
// without an account, each on its own. Rates are requests per minute and 0 takes the limit away; bursts are how many may
// come at once. The defaults let an image of 100 layers be pushed and pulled, and the conformance suites run, at once.
type RateLimit struct {
	// Enabled switches all limits.
	Enabled bool `name:"ratelimit-enabled" env:"BERTH_RATELIMIT_ENABLED" default:"true" negatable:"" help:"Limit how often callers may ask."`
	// TokenRate and TokenBurst are for the token endpoint.
	TokenRate  int `name:"ratelimit-token-rate" env:"BERTH_RATELIMIT_TOKEN_RATE" default:"1200" help:"Token requests a minute; 0 means no limit."`
	TokenBurst int `name:"ratelimit-token-burst" env:"BERTH_RATELIMIT_TOKEN_BURST" default:"600" help:"Token requests at once."`
	// ReadRate and ReadBurst are for GET and HEAD in the registry.
	ReadRate  int `name:"ratelimit-read-rate" env:"BERTH_RATELIMIT_READ_RATE" default:"12000" help:"Reads from the registry a minute; 0 means no limit."`
	ReadBurst int `name:"ratelimit-read-burst" env:"BERTH_RATELIMIT_READ_BURST" default:"4000" help:"Reads from the registry at once."`
	// WriteRate and WriteBurst are for what changes the registry. An upload counts once, when it begins.
	WriteRate  int `name:"ratelimit-write-rate" env:"BERTH_RATELIMIT_WRITE_RATE" default:"3000" help:"Writes to the registry a minute, an upload counting once; 0 means no limit."`
	WriteBurst int `name:"ratelimit-write-burst" env:"BERTH_RATELIMIT_WRITE_BURST" default:"1500" help:"Writes to the registry at once."`
	// APIRate and APIBurst are for the product API.
	APIRate  int `name:"ratelimit-api-rate" env:"BERTH_RATELIMIT_API_RATE" default:"1200" help:"Requests to the product API a minute; 0 means no limit."`
	APIBurst int `name:"ratelimit-api-burst" env:"BERTH_RATELIMIT_API_BURST" default:"300" help:"Requests to the product API at once."`
	// LoginRate and LoginBurst are for log-ins that fail, to one account; an address has five times as many.
	LoginRate  int `name:"ratelimit-login-rate" env:"BERTH_RATELIMIT_LOGIN_RATE" default:"10" help:"Failed log-ins to one account a minute; one address may fail five times as often; 0 means no limit."`
	LoginBurst int `name:"ratelimit-login-burst" env:"BERTH_RATELIMIT_LOGIN_BURST" default:"20" help:"Failed log-ins to one account at once; one address may fail five times as often."`
	// AnonymousPercent is how much of the rates and bursts an address has whose callers have no account.
	AnonymousPercent int `name:"ratelimit-anonymous-percent" env:"BERTH_RATELIMIT_ANONYMOUS_PERCENT" default:"50" help:"Part of the rates and bursts that an address has whose callers have no account, in percent."`
	// Replicas is how many servers share the work. Rates and bursts are divided by it, for each server counts alone.
	Replicas int `name:"ratelimit-replicas" env:"BERTH_RATELIMIT_REPLICAS" default:"1" help:"Servers that share the work; rates and bursts are divided by it."`
	// DryRun refuses nothing, and counts and logs what it would.
	DryRun bool `name:"ratelimit-dry-run" env:"BERTH_RATELIMIT_DRY_RUN" default:"false" negatable:"" help:"Only count and log what would be refused."`
	// Keys is how many callers are kept apart at once, each in each class; those beyond share.
	Keys int `name:"ratelimit-keys" env:"BERTH_RATELIMIT_KEYS" default:"200000" help:"Most callers that are told apart at a time, counted in each class; further ones share a limit. 100,000 take some 20 MiB."`
}

func (r RateLimit) check(refuse refuseFunc) {
	for _, limit := range []struct {
		class       string
		rate, burst int
	}{
		{"TOKEN", r.TokenRate, r.TokenBurst},
		{"READ", r.ReadRate, r.ReadBurst},
		{"WRITE", r.WriteRate, r.WriteBurst},
		{"API", r.APIRate, r.APIBurst},
		{"LOGIN", r.LoginRate, r.LoginBurst},
	} {
		checkRange(refuse, "BERTH_RATELIMIT_"+limit.class+"_RATE", limit.rate, 0, maxRate)
		checkRange(refuse, "BERTH_RATELIMIT_"+limit.class+"_BURST", limit.burst, 1, maxRate)
	}
	checkRange(refuse, "BERTH_RATELIMIT_ANONYMOUS_PERCENT", r.AnonymousPercent, 1, 100)
	checkRange(refuse, "BERTH_RATELIMIT_REPLICAS", r.Replicas, 1, maxReplicas)
	checkRange(refuse, "BERTH_RATELIMIT_KEYS", r.Keys, minKeys, maxKeys)
}
