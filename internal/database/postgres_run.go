package database

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// runAttempts bounds how often a batch is tried that the server gave up for the sake of another.
	runAttempts = 6
	// retryDelay is the longest first pause; each further one may be twice as long.
	retryDelay = 10 * time.Millisecond
)

func (p *postgres) run(ctx context.Context, b *Batch) error {
	for attempt := 1; ; attempt++ {
		fetched, err := p.runOnce(ctx, b)
		if err == nil {
			return scanFetched(b.ops, fetched)
		}
		if attempt == runAttempts || !isRetryable(err) {
			return err
		}
		if err := pause(ctx, retryDelay<<(attempt-1)); err != nil {
			return err
		}
	}
}

// isRetryable reports whether the server has certainly rolled the batch back, and would take it again.
func isRetryable(err error) bool {
	server := serverError(err)
	return server != nil &&
		(server.Code == sqlstateDeadlock || server.Code == sqlstateSerialization || isStale(server))
}

// pause waits for a random part of limit.
func pause(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(rand.N(limit))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("retrying a batch: %w", ctx.Err())
	}
}

// runOnce sends the batch as one pipeline with a single Sync, which makes it one transaction for the server: its
// Syncs, not its statements, end implicit transactions.
func (p *postgres) runOnce(ctx context.Context, b *Batch) (map[int]*fetchedRows, error) {
	conn, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()

	pipeline := &pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, 0, len(b.ops))}
	for i := range b.ops {
		statement := b.ops[i].postgres()
		if err := p.prepare(ctx, conn, statement); err != nil {
			return nil, err
		}
		pipeline.Queue(statement.name, postgresArgs(b.ops[i].args)...)
	}
	results := conn.Conn().SendBatch(context.WithValue(ctx, inBatch{}, true), pipeline)
	fetched, err := readResults(results, b.ops)
	committing := err == nil
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, p.runError(ctx, conn, err, committing)
	}
	p.committed.Add(1)
	return fetched, nil
}

// runError classifies the error of a batch; committing says that all statements had succeeded before it.
func (p *postgres) runError(ctx context.Context, conn *pgxpool.Conn, err error, committing bool) error {
	var required *requirementError
	if errors.As(err, &required) {
		return required.otherwise
	}
	var before pgx.ErrPreprocessingBatch
	unsent := errors.As(err, &before) || pgconn.SafeToRetry(err)
	if unsent && serverError(err) == nil && !isConnectionError(err) {
		return err // an argument that cannot be encoded
	}
	classifiedErr := p.fail(ctx, conn, err)
	// A statement that the server refused has ended the transaction. So has an error of the commit itself, unless it
	// says that the server is going down.
	server := serverError(err)
	if server != nil && (!committing || server.Severity != "FATAL" && server.Severity != "PANIC") {
		return classifiedErr
	}
	if server == nil && (unsent || !conn.Conn().IsClosed()) {
		return classifiedErr
	}
	return classified(ErrUnclear, classifiedErr)
}

// requirementError is a Require that was not met.
type requirementError struct {
	otherwise error
}

func (e *requirementError) Error() string { return e.otherwise.Error() }

// readResults reads the answers to all statements, and keeps the rows of Queries by the statement's index.
func readResults(results pgx.BatchResults, ops []op) (map[int]*fetchedRows, error) {
	var fetched map[int]*fetchedRows
	for i := range ops {
		o := &ops[i]
		if o.scan == nil {
			if _, err := results.Exec(); err != nil {
				return nil, requirement(o, err)
			}
			continue
		}
		rows, err := fetch(results)
		if err != nil {
			return nil, err
		}
		if fetched == nil {
			fetched = make(map[int]*fetchedRows)
		}
		fetched[i] = rows
	}
	return fetched, nil
}

// requirement tells the failure of a Require from that of its statement.
func requirement(o *op, err error) error {
	if server := serverError(err); o.otherwise != nil && server != nil && server.Code == sqlstateRequire {
		return &requirementError{otherwise: o.otherwise}
	}
	return err
}
