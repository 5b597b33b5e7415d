package database

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	driversqlite "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

var errClosed = fmt.Errorf("%w: it is closed", ErrUnavailable)

// sqliteKinds maps extended result codes, or primary ones, to sentinels.
var sqliteKinds = map[int]error{
	codes.SQLITE_CONSTRAINT_UNIQUE:     ErrConflict,
	codes.SQLITE_CONSTRAINT_PRIMARYKEY: ErrConflict,
	codes.SQLITE_CONSTRAINT_ROWID:      ErrConflict,
	codes.SQLITE_CONSTRAINT_FOREIGNKEY: ErrForeignKey,
	codes.SQLITE_CONSTRAINT_TRIGGER:    ErrForeignKey, // ON DELETE RESTRICT; the schema has no triggers

	codes.SQLITE_BUSY:      ErrUnavailable,
	codes.SQLITE_LOCKED:    ErrUnavailable,
	codes.SQLITE_IOERR:     ErrUnavailable,
	codes.SQLITE_FULL:      ErrUnavailable,
	codes.SQLITE_CANTOPEN:  ErrUnavailable,
	codes.SQLITE_PROTOCOL:  ErrUnavailable,
	codes.SQLITE_NOMEM:     ErrUnavailable,
	codes.SQLITE_READONLY:  ErrUnavailable,
	codes.SQLITE_INTERRUPT: ErrUnavailable, // the caller's own cancelling is a context error
}

// sqliteError classifies the error of a call.
func sqliteError(err error) error {
	if err == nil {
		return nil
	}
	var failed *driversqlite.Error
	switch {
	case errors.As(err, &failed):
		if kind := sqliteKind(failed.Code()); kind != nil {
			return classified(kind, err)
		}
	case errors.Is(err, driver.ErrBadConn), isClosedPool(err):
		return classified(ErrUnavailable, err)
	}
	return err
}

func sqliteKind(code int) error {
	if kind := sqliteKinds[code]; kind != nil {
		return kind
	}
	return sqliteKinds[code&0xff]
}

// checkText refuses what PostgreSQL refuses in a text parameter, so that both dialects hold the same values.
func checkText(args []any) error {
	for i, arg := range args {
		if s, ok := arg.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			return fmt.Errorf("database: parameter $%d is not valid UTF-8 without NUL", i+1)
		}
	}
	return nil
}
