package apitest

import (
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Audited gives the entries of the audit log that have an outcome, the oldest first, from the one after an ID on; "" is all.
func (e *Env) Audited(tb testing.TB, outcome, after string) []audit.Record {
	tb.Helper()
	found, err := audit.NewLog(e.DB).Oldest(tb.Context(), audit.Filter{Outcome: outcome}, database.Page{After: after, Limit: 1000})
	Check(tb, err)
	return found
}

// AwaitRefusal waits until there is a refusal that a function accepts, which servers write in the background.
func (e *Env) AwaitRefusal(tb testing.TB, accepts func(audit.Record) bool) audit.Record {
	tb.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(30 * time.Second)
	for {
		for _, record := range e.Audited(tb, audit.OutcomeRefused, "") {
			if accepts(record) {
				return record
			}
		}
		select {
		case <-ticker.C:
		case <-deadline:
			tb.Fatalf("no such refusal: %+v", e.Audited(tb, audit.OutcomeRefused, ""))
		}
	}
}
