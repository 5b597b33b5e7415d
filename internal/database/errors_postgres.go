package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
)

const (
	sqlstateRequire       = "BR001" // raised by berth_require
	sqlstateSerialization = "40001"
	sqlstateDeadlock      = "40P01"
	sqlstateCanceled      = "57014"
)

// postgresKinds maps SQLSTATEs, or their two-character classes, to sentinels.
var postgresKinds = map[string]error{
	"23505": ErrConflict,
	"23503": ErrForeignKey,
	"23001": ErrForeignKey, // restrict_violation

	"08":                  ErrUnavailable, // connection exceptions
	"53":                  ErrUnavailable, // disk full, out of memory, too many connections
	"57P":                 ErrUnavailable, // shutdown, cannot connect now, session terminated
	"58":                  ErrUnavailable, // I/O errors outside PostgreSQL
	"25006":               ErrUnavailable, // read-only: a standby, until a new primary is reached
	"25P03":               ErrUnavailable, // idle-in-transaction timeout
	"25P04":               ErrUnavailable, // transaction timeout
	"55P03":               ErrUnavailable, // lock timeout
	sqlstateCanceled:      ErrUnavailable, // statement timeout; the caller's own cancelling is told apart before
	sqlstateSerialization: ErrUnavailable, // after all retries
	sqlstateDeadlock:      ErrUnavailable,
}

// postgresError classifies the error of a call; broken says that its connection is of no more use. What the caller
// ended is the context's error.
func postgresError(ctx context.Context, err error, broken bool) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNoRows
	}
	if server := serverError(err); server != nil {
		if server.Code == sqlstateCanceled && ctx.Err() != nil {
			return ended(ctx, err)
		}
		if kind := postgresKind(server.Code); kind != nil {
			return classified(kind, err)
		}
		return err
	}
	switch {
	case !broken && !isConnectionError(err):
		return err
	case ctx.Err() != nil:
		return ended(ctx, err)
	default:
		return classified(ErrUnavailable, err)
	}
}

// serverError is what the server said about a statement, not about an attempt to connect.
func serverError(err error) *pgconn.PgError {
	var (
		connect *pgconn.ConnectError
		server  *pgconn.PgError
	)
	if errors.As(err, &connect) || !errors.As(err, &server) {
		return nil
	}
	return server
}

func postgresKind(code string) error {
	for _, n := range []int{5, 3, 2} {
		if len(code) >= n {
			if kind := postgresKinds[code[:n]]; kind != nil {
				return kind
			}
		}
	}
	return nil
}

// isStale reports whether prepared statements no longer fit the schema, after a migration by another replica, or are
// gone.
func isStale(server *pgconn.PgError) bool {
	return server.Code == "26000" || server.Code == "0A000" && server.Routine == "RevalidateCachedQuery"
}

// isConnectionError reports whether err is about a connection: made, lost, or not to be had in time.
func isConnectionError(err error) bool {
	var (
		connect *pgconn.ConnectError
		network net.Error
	)
	return errors.As(err, &connect) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, puddle.ErrClosedPool) ||
		errors.Is(err, driver.ErrBadConn) || isClosedPool(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
