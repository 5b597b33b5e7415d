package database

import (
	"database/sql/driver"
	"fmt"
)

// Statements that open and end transactions, and set a batch apart in one.
var (
	begin     = SQL("BEGIN IMMEDIATE")
	commit    = SQL("COMMIT")
	rollback  = SQL("ROLLBACK")
	savepoint = SQL("SAVEPOINT batch")
	release   = SQL("RELEASE batch")
	undo      = SQL("ROLLBACK TO batch")
)

// transaction executes the batches in one transaction. Its error is that of the transaction: no batch has taken
// effect. A batch's own error is in its job, and undoes that batch alone.
func (c *liteConn) transaction(jobs []*job) error {
	if err := c.exec(begin); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	end := commit
	if len(jobs) == 1 { // the transaction sets it apart
		if c.batch(jobs[0]); jobs[0].err != nil {
			end = rollback
		}
	} else if err := c.batches(jobs); err != nil {
		return c.abandon(err)
	}
	if err := c.exec(end); err != nil {
		return c.abandon(fmt.Errorf("end the transaction: %w", err))
	}
	return nil
}

// abandon rolls back. If that fails (because SQLite has already done so by itself, for one) the connection is not to
// be used again.
func (c *liteConn) abandon(err error) error {
	if c.exec(rollback) != nil {
		c.broken = true
	}
	return err
}

func (c *liteConn) batches(jobs []*job) error {
	for _, j := range jobs {
		if err := c.exec(savepoint); err != nil {
			return fmt.Errorf("savepoint: %w", err)
		}
		if c.batch(j); j.err != nil {
			// Fails when SQLite has rolled back everything, as it does when the disk is full.
			if err := c.exec(undo); err != nil {
				return fmt.Errorf("undo a batch: %w", err)
			}
		}
		if err := c.exec(release); err != nil {
			return fmt.Errorf("release: %w", err)
		}
	}
	return nil
}

// batch executes one batch; its error is left in the job.
func (c *liteConn) batch(j *job) {
	for i := range j.batch.ops {
		if j.err = c.op(j, i); j.err != nil {
			return
		}
	}
}

func (c *liteConn) op(j *job, i int) error {
	o := &j.batch.ops[i]
	if o.otherwise == nil && o.scan == nil {
		return c.exec(Stmt{o.texts}, o.args...)
	}
	values, err := c.query(Stmt{o.texts}, o.args...)
	if err != nil {
		return err
	}
	if o.otherwise != nil && len(values) == 0 {
		return o.otherwise
	}
	if o.scan != nil && len(values) > 0 {
		if j.fetched == nil {
			j.fetched = make(map[int][][]driver.Value)
		}
		j.fetched[i] = values
	}
	return nil
}
