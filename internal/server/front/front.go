// Package front is the HTTP front of Berth: what every request passes before it reaches one of the planes, and how the
// process listens, drains and stops.
package front

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// Config is what a [Server] is made of. HTTP and Logger are required.
type Config struct {
	// HTTP holds the limits; its addresses are not used.
	HTTP config.HTTP
	// TLS makes the server speak HTTPS.
	TLS config.TLS
	// Planes are mounted in order.
	Planes []Plane
	// Workers run in the background from the start of serving until after the last request.
	Workers []Worker
	// Checks decide about readiness.
	Checks []Check
	// Logger takes the access log and the server's own words.
	Logger *slog.Logger
	// Requests watches every request. Nil: nobody does.
	Requests *observe.Requests
	// Clock tells the time to what is not about the network. Nil: time.Now.
	Clock func() time.Time
}

// Server is the front with its planes. Make one with [New].
type Server struct {
	http         *http.Server
	edge         *edge
	health       *health
	planes       []Plane
	workers      []Worker
	drainDelay   time.Duration
	drainTimeout time.Duration
	logger       *slog.Logger
}

// New builds a server; it neither listens nor starts anything. Errors are about the TLS files and the trusted proxies
// and name their variables.
func New(cfg Config) (*Server, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	health := newHealth(cfg.Checks, cfg.HTTP.TrustedProxies, cfg.Clock)
	engine, err := newEngine(cfg.HTTP.TrustedProxies, health, cfg.Planes)
	if err != nil {
		return nil, err
	}
	edge := &edge{
		next: engine, logger: cfg.Logger, bodyIdle: cfg.HTTP.BodyIdleTimeout, cors: cors{origins: cfg.HTTP.CORSOrigins},
		copies: newCopySlots(), requests: cfg.Requests,
	}
	s := &Server{
		http: newHTTPServer(cfg.HTTP, edge, cfg.Logger), edge: edge, health: health, planes: cfg.Planes, workers: cfg.Workers,
		drainDelay: cfg.HTTP.DrainDelay, drainTimeout: cfg.HTTP.DrainTimeout, logger: cfg.Logger,
	}
	if cfg.TLS.Enabled() {
		certificates, err := newCertificates(cfg.TLS.Cert, cfg.TLS.Key, cfg.Logger, cfg.Clock)
		if err != nil {
			return nil, fmt.Errorf("BERTH_TLS_CERT, BERTH_TLS_KEY: %w", err)
		}
		s.http.TLSConfig = certificates.tlsConfig()
	}
	return s, nil
}

// ServeHTTP implements http.Handler: it answers one request without a listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.edge.ServeHTTP(w, r) }
