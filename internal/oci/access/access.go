package access

import (
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/ratelimit"
	"github.com/berthregistry/berth/internal/rbac"
)

// Config is what an Access works with. All fields are required but Limits, Audit and Decisions.
type Config struct {
	Auth     *auth.Service
	Projects *projects.Service
	Policy   *rbac.Enforcer
	// Realm is the URL of the token endpoint as clients reach it.
	Realm string
	// Service names this registry in challenges and token requests.
	Service string
	// Limits says how often callers may ask. Nil: as often as they like.
	Limits *ratelimit.Limiter
	// Audit takes what is refused. Nil: nothing does.
	Audit *audit.Recorder
	// Decisions counts what is decided. Nil: nobody wants to know.
	Decisions *rbac.Tally
}

// Access authenticates and authorizes requests of the OCI plane. It is safe for concurrent use.
type Access struct {
	auth     *auth.Service
	projects *projects.Service
	policy   *rbac.Enforcer
	realm    string
	service  string
	limits   *ratelimit.Limiter
	audit    *audit.Recorder
	tally    *rbac.Tally
}

// New makes an Access.
func New(cfg Config) *Access {
	return &Access{
		auth:     cfg.Auth,
		projects: cfg.Projects,
		policy:   cfg.Policy,
		realm:    cfg.Realm,
		service:  cfg.Service,
		limits:   cfg.Limits,
		audit:    cfg.Audit,
		tally:    cfg.Decisions,
	}
}
