package uploads

import (
	"context"
	"fmt"
	"sync"

	"github.com/berthregistry/berth/internal/storage"
)

// pipeline stores closed chunks while their body goes on, several at once, and gives them their rows in order.
type pipeline struct {
	ctx       context.Context
	place     func(*chunk) error        // gives a stored chunk its row
	drop      func(*chunk, error) error // releases one that gets none, because of an error
	queue     chan *closed
	ended     chan struct{}
	once      sync.Once
	submitted int // by the body's goroutine only
	started   bool

	mu  sync.Mutex // held while a row is committed: the session is then the pipeline's
	err error
}

// closed is a chunk whose object is being stored.
type closed struct {
	chunk  *chunk
	writer storage.Writer
	stored chan error
}

func newPipeline(
	ctx context.Context, depth int, place func(*chunk) error, drop func(*chunk, error) error,
) *pipeline {
	return &pipeline{
		ctx: ctx, place: place, drop: drop, queue: make(chan *closed, max(1, depth)-1), ended: make(chan struct{}),
	}
}

// submit takes over a chunk and its writer. It blocks while as many objects are being stored as is useful, and
// returns the error of an earlier chunk.
func (p *pipeline) submit(c *chunk, w storage.Writer) error {
	if !p.started {
		p.started = true
		go p.run()
	}
	p.submitted++
	item := &closed{chunk: c, writer: w, stored: make(chan error, 1)}
	go func() { item.stored <- w.Commit(p.ctx) }()
	p.queue <- item // run always drains it
	return p.failure()
}

// run commits rows in order. After an error it discards what follows.
func (p *pipeline) run() {
	defer close(p.ended)
	for item := range p.queue {
		if err := p.settle(item); err != nil {
			p.fail(err)
			_ = item.writer.Abort() // after an unclear commit the row may exist: Abort does nothing once stored
		}
	}
}

// settle gives one chunk its row, or lets go of it after an earlier error.
func (p *pipeline) settle(item *closed) error {
	if err := <-item.stored; err != nil {
		return fmt.Errorf("store chunk: %w", err)
	}
	if err := p.failure(); err != nil {
		return p.drop(item.chunk, err)
	}
	return p.commit(item.chunk)
}

func (p *pipeline) commit(c *chunk) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place(c)
}

func (p *pipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *pipeline) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// idle runs f while no row is being committed, unless the pipeline has failed.
func (p *pipeline) idle(f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	return f()
}

// wait ends the pipeline once everything submitted is stored and has its row. It may be called repeatedly.
func (p *pipeline) wait() error {
	p.once.Do(func() { close(p.queue) })
	if p.started {
		<-p.ended
	}
	return p.failure()
}
