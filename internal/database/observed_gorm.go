package database

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/berthregistry/berth/internal/telemetry/observe"
)

// callKey is where GORM keeps the call of a statement, and outsideKey the context from outside it.
const (
	callKey    = "berth:call"
	outsideKey = "berth:outside"
)

// observeGorm gives GORM's statements spans and durations like those of the engine.
func observeGorm(db *gorm.DB, calls *observe.Operations) error {
	if calls == nil {
		return nil
	}
	begin := func(verb string) func(*gorm.DB) {
		return func(tx *gorm.DB) {
			outside := tx.Statement.Context
			name := verb
			if tx.Statement.Table != "" {
				name += " " + tx.Statement.Table
			}
			ctx, call := calls.Start(outside, verb, name, nil)
			tx.Statement.Context = ctx
			tx.InstanceSet(callKey, &call)
			tx.InstanceSet(outsideKey, outside)
		}
	}
	on := db.Callback()
	err := errors.Join(
		on.Create().Before("gorm:create").Register("berth:before_create", begin("INSERT")),
		on.Create().After("gorm:create").Register("berth:after_create", endGorm),
		on.Query().Before("gorm:query").Register("berth:before_query", begin("SELECT")),
		on.Query().After("gorm:query").Register("berth:after_query", endGorm),
		on.Update().Before("gorm:update").Register("berth:before_update", begin("UPDATE")),
		on.Update().After("gorm:update").Register("berth:after_update", endGorm),
		on.Delete().Before("gorm:delete").Register("berth:before_delete", begin("DELETE")),
		on.Delete().After("gorm:delete").Register("berth:after_delete", endGorm),
		on.Row().Before("gorm:row").Register("berth:before_row", begin("OTHER")),
		on.Row().After("gorm:row").Register("berth:after_row", endGorm),
		on.Raw().Before("gorm:raw").Register("berth:before_raw", begin("OTHER")),
		on.Raw().After("gorm:raw").Register("berth:after_raw", endGorm),
	)
	if err != nil {
		return fmt.Errorf("observe GORM: %w", err)
	}
	return nil
}

func endGorm(tx *gorm.DB) {
	if kept, ok := tx.InstanceGet(callKey); ok {
		if call, ok := kept.(*observe.Call); ok {
			call.End(gormFailure(tx.Error))
		}
	}
	if kept, ok := tx.InstanceGet(outsideKey); ok {
		if outside, ok := kept.(context.Context); ok {
			tx.Statement.Context = outside
		}
	}
}

// gormFailure is what the call ends with: not to find a row is an answer.
func gormFailure(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil
	}
	return err
}
