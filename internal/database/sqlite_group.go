package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// groupSize bounds how many batches become durable by one commit.
const groupSize = 256

// group is the one writer of batches: a goroutine that takes all batches that wait, and commits them together. While
// it waits for the disk the next group gathers.
type group struct {
	engine *sqlite
	queue  chan *job
	// closing guards the queue's closing against senders.
	closing sync.RWMutex
	closed  bool
	done    chan struct{}
	// groups counts transactions, grouped the batches in them.
	groups, grouped atomic.Int64
}

// job is a batch on its way through the writer.
type job struct {
	ctx    context.Context // of the caller that waits for it
	batch  *Batch
	taken  atomic.Bool // by the writer, or given up by the caller
	result chan error
	err    error // of the batch
	// fetched are the rows of Queries by the statement's index, for scanning when they are committed.
	fetched map[int][][]driver.Value
}

func startGroup(s *sqlite) *group {
	g := &group{engine: s, queue: make(chan *job, groupSize), done: make(chan struct{})}
	go g.work()
	return g
}

func (s *sqlite) run(ctx context.Context, b *Batch) error {
	for i := range b.ops {
		if err := checkText(b.ops[i].args); err != nil {
			return err
		}
	}
	return s.group.run(ctx, b)
}

// run hands a batch in and waits. The caller can give up until the writer has taken the batch.
func (g *group) run(ctx context.Context, b *Batch) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run a batch: %w", err)
	}
	j := &job{ctx: ctx, batch: b, result: make(chan error, 1)}
	if err := g.enqueue(j); err != nil {
		return err
	}
	var err error
	select {
	case err = <-j.result:
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return fmt.Errorf("wait for the writer: %w", ctx.Err())
		}
		err = <-j.result
	}
	if err != nil {
		return err
	}
	return j.scan()
}

// scan gives the rows of a committed batch to its scan functions, in the caller's goroutine.
func (j *job) scan() error {
	for i := range j.batch.ops {
		scan := j.batch.ops[i].scan
		if scan == nil {
			continue
		}
		if err := scanRows(&valueCursor{values: j.fetched[i], at: -1}, scan); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) enqueue(j *job) error {
	g.closing.RLock()
	defer g.closing.RUnlock()
	if g.closed {
		return errClosed
	}
	select {
	case g.queue <- j:
		return nil
	case <-j.ctx.Done():
		return fmt.Errorf("wait for the writer: %w", j.ctx.Err())
	}
}

// stop finishes the batches that were accepted.
func (g *group) stop() {
	g.closing.Lock()
	already := g.closed
	g.closed = true
	g.closing.Unlock()
	if !already {
		close(g.queue)
	}
	<-g.done
}

func (g *group) work() {
	defer close(g.done)
	jobs := make([]*job, 0, groupSize)
	for first := range g.queue {
		jobs = append(jobs[:0], first)
		g.commit(g.gather(jobs))
		clear(jobs[:cap(jobs)])
	}
}

// gather adds the batches that already wait.
func (g *group) gather(jobs []*job) []*job {
	for len(jobs) < groupSize {
		select {
		case j, open := <-g.queue:
			if !open {
				return jobs
			}
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}
	return jobs
}

// commit executes the batches in one transaction and answers their callers.
func (g *group) commit(jobs []*job) {
	conn, err := g.engine.writer.Conn(context.Background())
	if err != nil {
		answer(take(jobs), sqliteError(err))
		return
	}
	// Only now: whoever gave up while GORM had the writer is left out.
	jobs = take(jobs)
	if len(jobs) == 0 {
		_ = conn.Close()
		return
	}
	var failed error
	err = conn.Raw(func(raw any) error {
		c, ok := raw.(*liteConn)
		if !ok {
			return fmt.Errorf("unexpected connection %T", raw)
		}
		failed = c.transaction(jobs)
		return nil
	})
	_ = conn.Close() // returns it to the pool
	if failed = errors.Join(err, failed); failed != nil {
		failed = classified(ErrUnavailable, failed)
	}
	g.count(jobs, failed)
	answer(jobs, failed)
}

// take claims the batches whose callers still wait.
func take(jobs []*job) []*job {
	taken := jobs[:0]
	for _, j := range jobs {
		if !j.taken.CompareAndSwap(false, true) {
			continue
		}
		if err := j.ctx.Err(); err != nil {
			j.result <- fmt.Errorf("wait for the writer: %w", err)
			continue
		}
		taken = append(taken, j)
	}
	return taken
}

func (g *group) count(jobs []*job, failed error) {
	g.engine.exchanges.Add(int64(len(jobs)))
	g.groups.Add(1)
	g.grouped.Add(int64(len(jobs)))
	for _, j := range jobs {
		if j.err == nil && failed == nil {
			g.engine.committed.Add(1)
		}
	}
}

// answer tells each caller its own error, or that of the whole transaction.
func answer(jobs []*job, failed error) {
	for _, j := range jobs {
		if j.err == nil {
			j.err = failed
		}
		j.result <- j.err
	}
}
