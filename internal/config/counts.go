package config

import "time"

// maxCount bounds every count.
const maxCount = 1_000_000_000

// Counts bound how many things somebody may have. 0 is no bound. An admin can give single users and projects others.
type Counts struct {
	// Projects is how many projects an account may have, those in the trash apart.
	Projects int `name:"max-projects" env:"BERTH_MAX_PROJECTS" default:"100" help:"Most projects of an account; 0 means no limit."`
	// UserCreations is how many projects a user may create in a day.
	UserCreations int `name:"max-creations-user" env:"BERTH_MAX_CREATIONS_USER" default:"200" help:"Most projects that a user creates in a day; 0 means no limit."`
	// AddressCreations is how many projects may be created in a day from one address without an account.
	AddressCreations int `name:"max-creations-address" env:"BERTH_MAX_CREATIONS_ADDRESS" default:"50" help:"Most projects created in a day from one address without an account; 0 means no limit."`
	// Uploads is how many upload sessions a principal may have open.
	Uploads int `name:"max-uploads" env:"BERTH_MAX_UPLOADS" default:"1000" help:"Most open upload sessions of a caller; 0 means no limit."`
	// Tags is how many tags a repository may have.
	Tags int `name:"max-tags" env:"BERTH_MAX_TAGS" default:"100000" help:"Most tags of a repository; 0 means no limit."`
	// Tokens is how many personal tokens a user may have.
	Tokens int `name:"max-tokens" env:"BERTH_MAX_TOKENS" default:"100" help:"Most tokens of a user; 0 means no limit."`
	// Sessions is how many log-ins a user may have at once; the oldest ends for one more.
	Sessions int `name:"max-sessions" env:"BERTH_MAX_SESSIONS" default:"100" help:"Most log-ins of a user at once, of which the oldest ends for one more; 0 means no limit."`
	// Robots is how many robots a project may have.
	Robots int `name:"max-robots" env:"BERTH_MAX_ROBOTS" default:"100" help:"Most robots of a project; 0 means no limit."`
	// Members is how many members a project may have.
	Members int `name:"max-members" env:"BERTH_MAX_MEMBERS" default:"1000" help:"Most members of a project; 0 means no limit."`
	// RunnerGrants is how many runners a project may grant anything.
	RunnerGrants int `name:"max-runner-grants" env:"BERTH_MAX_RUNNER_GRANTS" default:"1000" help:"Most runners that a project grants anything; 0 means no limit."`
	// Retention is how long tokens, log-ins and invitations are kept that have ended.
	Retention time.Duration `name:"credential-retention" env:"BERTH_CREDENTIAL_RETENTION" default:"2160h" help:"Time for which tokens, log-ins and invitations that have ended are kept."`
}

func (c Counts) check(refuse refuseFunc) {
	for _, one := range []struct {
		variable string
		value    int
	}{
		{"PROJECTS", c.Projects}, {"CREATIONS_USER", c.UserCreations}, {"CREATIONS_ADDRESS", c.AddressCreations},
		{"UPLOADS", c.Uploads}, {"TAGS", c.Tags}, {"TOKENS", c.Tokens}, {"SESSIONS", c.Sessions}, {"ROBOTS", c.Robots},
		{"MEMBERS", c.Members}, {"RUNNER_GRANTS", c.RunnerGrants},
	} {
		checkRange(refuse, "BERTH_MAX_"+one.variable, one.value, 0, maxCount)
	}
	checkPositive(refuse, "BERTH_CREDENTIAL_RETENTION", c.Retention)
}
