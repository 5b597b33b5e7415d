package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	driversqlite "modernc.org/sqlite"
)

// liteConnector opens connections that keep prepared statements. The writer executes batches directly on such a
// connection (sql.Conn.Raw), below database/sql, whose prepared statements a connection in a pool cannot keep for it;
// GORM uses the same connection through database/sql in between.
type liteConnector struct {
	inner driver.Connector
}

func newConnector(name string) (driver.Connector, error) {
	if err := defineMatches(); err != nil {
		return nil, err
	}
	inner, err := driversqlite.NewConnector(name)
	if err != nil {
		return nil, fmt.Errorf("open the database file: %w", err)
	}
	return liteConnector{inner}, nil
}

// Driver implements driver.Connector.
func (c liteConnector) Driver() driver.Driver { return c.inner.Driver() }

// Connect implements driver.Connector.
func (c liteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.inner.Connect(ctx)
	if err != nil {
		return nil, sqliteError(err)
	}
	whole, ok := conn.(driverConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("unexpected connection %T", conn), conn.Close())
	}
	return &liteConn{driverConn: whole, prepared: make(map[*texts]driverStmt)}, nil
}

// driverConn is all that the driver's connection offers to database/sql.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// driverStmt is a prepared statement of the driver's.
type driverStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// liteConn is a connection with its prepared statements.
type liteConn struct {
	driverConn
	prepared map[*texts]driverStmt
	broken   bool
}

// IsValid implements driver.Validator.
func (c *liteConn) IsValid() bool { return !c.broken && c.driverConn.IsValid() }

// Close finalizes the statements first: SQLite keeps a connection open, and its file, while it has any.
func (c *liteConn) Close() error {
	var failed error
	for _, stmt := range c.prepared {
		failed = errors.Join(failed, stmt.Close())
	}
	c.prepared = nil
	return errors.Join(failed, c.driverConn.Close())
}

func (c *liteConn) exec(s Stmt, args ...any) error {
	stmt, values, err := c.prepare(s.texts, args)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.Background(), values)
	return sqliteError(err)
}

// query returns all rows: a statement that is not read to its end may not have done its all.
func (c *liteConn) query(s Stmt, args ...any) ([][]driver.Value, error) {
	rows, err := c.rows(s.texts, args)
	if err != nil {
		return nil, err
	}
	var all [][]driver.Value
	for columns := len(rows.Columns()); err == nil; {
		row := make([]driver.Value, columns) // whose texts and blobs the driver has copied
		if err = rows.Next(row); err == nil {
			all = append(all, row)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, rows.Close()); err != nil {
		return nil, sqliteError(err)
	}
	return all, nil
}

// rows executes a statement and returns its rows, which have to be closed.
func (c *liteConn) rows(t *texts, args []any) (driver.Rows, error) {
	stmt, values, err := c.prepare(t, args)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(context.Background(), values)
	if err != nil {
		return nil, sqliteError(err)
	}
	return rows, nil
}

func (c *liteConn) prepare(t *texts, args []any) (driverStmt, []driver.NamedValue, error) {
	values, err := namedValues(args)
	if err != nil {
		return nil, nil, err
	}
	if stmt, ok := c.prepared[t]; ok {
		return stmt, values, nil
	}
	stmt, err := c.PrepareContext(context.Background(), t.sqlite)
	if err != nil {
		return nil, nil, sqliteError(err)
	}
	whole, ok := stmt.(driverStmt)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("unexpected statement %T", stmt), stmt.Close())
	}
	c.prepared[t] = whole
	return whole, values, nil
}
