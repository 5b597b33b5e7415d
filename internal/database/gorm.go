package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	pgdriver "gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/berthregistry/berth/internal/telemetry/observe"
)

func openGorm(dialector gorm.Dialector, log *slog.Logger, calls *observe.Operations) (*gorm.DB, error) {
	db, err := gorm.Open(dialector, &gorm.Config{
		SkipDefaultTransaction: true,
		TranslateError:         true,
		DisableAutomaticPing:   true,
		Logger:                 gormLogger{log},
		NowFunc:                func() time.Time { return time.Now().UTC() },
	})
	if err != nil {
		return nil, fmt.Errorf("open GORM: %w", err)
	}
	if err := observeGorm(db, calls); err != nil {
		return nil, err
	}
	return db, nil
}

// gormSentinels maps this package's sentinels to those that GORM's callers know.
var gormSentinels = map[error]error{
	ErrConflict:   gorm.ErrDuplicatedKey,
	ErrForeignKey: gorm.ErrForeignKeyViolated,
}

// gormError classifies an error that GORM met, and makes it match GORM's sentinel, too. Only the caller's own context
// can end GORM's calls.
func gormError(err error, classify func(error) error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err = classify(err)
	for ours, theirs := range gormSentinels {
		if errors.Is(err, ours) {
			return fmt.Errorf("%w: %w", theirs, err)
		}
	}
	return err
}

// gormPostgres is GORM's dialect with our errors.
type gormPostgres struct {
	*pgdriver.Dialector
}

func newGormPostgres(db *sql.DB) gorm.Dialector {
	dialector, _ := pgdriver.New(pgdriver.Config{Conn: db}).(*pgdriver.Dialector)
	return gormPostgres{dialector}
}

// Translate implements gorm.ErrorTranslator.
func (gormPostgres) Translate(err error) error {
	return gormError(err, func(err error) error { return postgresError(context.Background(), err, false) })
}

// gormLogger passes on what GORM itself reports as an error. Failed queries are returned to the caller, who logs them.
type gormLogger struct {
	log *slog.Logger
}

// LogMode implements logger.Interface.
func (l gormLogger) LogMode(logger.LogLevel) logger.Interface { return l }

// Info implements logger.Interface.
func (l gormLogger) Info(context.Context, string, ...any) {}

// Warn implements logger.Interface.
func (l gormLogger) Warn(context.Context, string, ...any) {}

// Error implements logger.Interface.
func (l gormLogger) Error(ctx context.Context, format string, args ...any) {
	l.log.ErrorContext(ctx, "gorm failed", slog.String("error", fmt.Sprintf(format, args...)))
}

// Trace implements logger.Interface.
func (l gormLogger) Trace(context.Context, time.Time, func() (string, int64), error) {}
