package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// What can go wrong, for errors.Is. The database's own error stays in the chain.
var (
	// ErrUnavailable: the database cannot serve this now, and the same call may succeed later. It was not executed,
	// unless the error is ErrUnclear.
	ErrUnavailable = errors.New("database unavailable")
	// ErrUnclear: the connection broke after a batch had been sent, so it may or may not have committed. Read again
	// before deciding anything. It is an ErrUnavailable, too.
	ErrUnclear = fmt.Errorf("%w: the transaction may or may not have committed", ErrUnavailable)
	// ErrConflict: a unique index or primary key has the value already.
	ErrConflict = errors.New("database conflict")
	// ErrForeignKey: a row refers to one that is missing, or is still referred to.
	ErrForeignKey = errors.New("database foreign key violated")
	// ErrNoDatabase: the file of SQLite is not there, and was not to be created.
	ErrNoDatabase = errors.New("there is no database")
)

// classified is err with one of the sentinels in its chain.
func classified(sentinel, err error) error {
	if errors.Is(err, sentinel) {
		return err
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

// ended is the error of a call whose caller's context is done, err being what came of it.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// isClosedPool reports whether a pool or connection of database/sql was closed before its use.
func isClosedPool(err error) bool {
	return errors.Is(err, sql.ErrConnDone) || strings.HasSuffix(err.Error(), "sql: database is closed") // not exported
}
