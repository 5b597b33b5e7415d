package database

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What a PostgreSQL connection has when its URL does not say otherwise. The timeouts are the server's settings of the
// same names, in milliseconds; each ends in [ErrUnavailable].
const (
	// StatementTimeout bounds a statement: statement_timeout.
	StatementTimeout = 30 * time.Second
	// LockTimeout bounds the wait for a lock: lock_timeout.
	LockTimeout = 10 * time.Second
	// IdleInTransactionTimeout bounds an open transaction's silence: idle_in_transaction_session_timeout.
	IdleInTransactionTimeout = 60 * time.Second
	// ConnectTimeout bounds an attempt to connect: connect_timeout, in whole seconds.
	ConnectTimeout = 5 * time.Second
	// ApplicationName is what pg_stat_activity shows: application_name.
	ApplicationName = "berth"
)

const (
	// acquireTimeout bounds the wait for a free connection.
	acquireTimeout = 10 * time.Second
	// statementCache is how many prepared statements a connection keeps: all hot ones, and GORM's.
	statementCache = 1024
	// pingIdle is how long a connection may be idle and still be used without asking whether it lives.
	pingIdle = 30 * time.Second
	// A cancelled call first lets a short statement finish, then asks the server to cancel it, then gives the
	// connection up. So most cancelled calls have a known outcome and cost no connection.
	cancelDelay    = 50 * time.Millisecond
	cancelDeadline = 3 * time.Second
)

// postgresConfig is the pool's configuration. The engine's hooks are set in it.
func postgresConfig(p *postgres, cfg Config) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("the database URL is not valid: %w", err) // pgx masks the password
	}
	if !urlSets(cfg.URL, "pool_max_conns") {
		config.MaxConns = maxConns(cfg.MaxConns)
	}
	config.MinIdleConns = min(max(config.MinIdleConns, 2), config.MaxConns)
	if !urlSets(cfg.URL, "pool_max_conn_lifetime_jitter") {
		config.MaxConnLifetimeJitter = config.MaxConnLifetime / 10
	}
	config.PingTimeout = ConnectTimeout
	config.ShouldPing = p.shouldPing

	conn := config.ConnConfig
	if !urlSets(cfg.URL, "statement_cache_capacity") {
		conn.StatementCacheCapacity = statementCache
	}
	if !urlSets(cfg.URL, "connect_timeout") {
		conn.ConnectTimeout = ConnectTimeout
	}
	for name, value := range map[string]string{
		"application_name":                    ApplicationName,
		"statement_timeout":                   milliseconds(cfg.timeout()),
		"lock_timeout":                        milliseconds(LockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(IdleInTransactionTimeout),
	} {
		if _, set := conn.RuntimeParams[name]; !set {
			conn.RuntimeParams[name] = value
		}
	}
	dial := conn.DialFunc
	conn.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: newPatientConn(c, cfg.silence()), trips: &p.exchanges}, nil
	}
	conn.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{
			Conn: c, CancelRequestDelay: cancelDelay, DeadlineDelay: cancelDeadline,
		}
	}
	conn.Tracer = commitTracer{&p.committed}
	conn.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		p.logger.Debug("database notice", slog.String("message", n.Message), slog.String("code", n.Code))
	}
	return config, nil
}

func (c Config) timeout() time.Duration {
	if c.Timeout <= 0 {
		return StatementTimeout
	}
	return c.Timeout
}

// silence is how long the server may say nothing while an answer is waited for: it gives up statements before that.
func (c Config) silence() time.Duration { return c.timeout() + c.timeout()/10 }

func maxConns(asked int) int32 {
	if asked <= 0 {
		asked = max(16, 4*runtime.NumCPU())
	}
	return int32(min(asked, 10_000))
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// migrationConfig is how migrations connect: outside the pool, without its timeouts.
func migrationConfig(config *pgxpool.Config) *pgx.ConnConfig {
	conn := config.ConnConfig.Copy()
	conn.DialFunc = new(net.Dialer).DialContext // without their patience, too
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		conn.RuntimeParams[name] = "0"
	}
	conn.Tracer = nil
	return conn
}
