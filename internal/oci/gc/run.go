package gc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Kinds of collections.
const (
	KindScheduled = "scheduled"
	KindRequested = "requested"
	KindCommand   = "command"
)

const (
	// keptRuns is how many collections are remembered.
	keptRuns = 100
	// silence is how many leases a collection may be silent before it counts as cut off.
	silence = 3
)

var (
	// takeLease has one winner of all replicas. It waits for nobody. A request that it takes is owed until the collection has
	// ended: where that is cut off, the next one has it.
	takeLease = database.SQL(`
		WITH free AS MATERIALIZED (
			SELECT id, requested OR request_taken AS asked FROM collection_schedule
			WHERE id = 1 AND lease_until < {now} AND (requested OR request_taken OR next_at <= $2) {skip})
		UPDATE collection_schedule SET run_id = $1, lease_until = {now} + {bigint:$4}, next_at = $3,
			request_taken = requested OR request_taken, requested = false
		WHERE id IN (SELECT id FROM free)
		RETURNING CASE WHEN (SELECT asked FROM free) THEN 1 ELSE 0 END`)
	// takeTurn is takeLease for who collects whatever is due, and leaves requests to others.
	takeTurn = database.SQL(`
		WITH free AS MATERIALIZED (
			SELECT id FROM collection_schedule WHERE id = 1 AND lease_until < {now} {skip})
		UPDATE collection_schedule SET run_id = $1, lease_until = {now} + {bigint:$2} WHERE id IN (SELECT id FROM free)
		RETURNING 1`)
	renewLease = database.SQL(`
		UPDATE collection_schedule SET lease_until = {now} + {bigint:$2} WHERE id = 1 AND run_id = $1 RETURNING 1`)
	endLease = database.SQL(`
		UPDATE collection_schedule SET run_id = NULL, lease_until = 0, request_taken = request_taken AND {bigint:$2} = 0
		WHERE id = 1 AND run_id = $1`)
	addRemoved = database.SQL(`
		UPDATE collection_schedule SET removed_objects = removed_objects + {bigint:$1}, removed_bytes = removed_bytes + {bigint:$2}
		WHERE id = 1`)
	insertRun = database.SQL(`
		INSERT INTO collection_runs (id, kind, started_at, updated_at, figures) SELECT {uuid:$1}, {text:$2}, {bigint:$3}, {now}, {text:$4}`)
	// endSilent is about collections whose process has died.
	endSilent = database.SQL(`
		UPDATE collection_runs SET finished_at = $1, error = 'cut off'
		WHERE finished_at IS NULL AND updated_at < {instant} - {bigint:$2}`)
	// forgetRuns keeps the last ones. IDs are in the order of time.
	forgetRuns = database.SQL(`
		DELETE FROM collection_runs WHERE id < (SELECT id FROM collection_runs ORDER BY id DESC LIMIT 1 OFFSET {bigint:$1})`)
	updateRun = database.SQL(`UPDATE collection_runs SET figures = $2, updated_at = {now} WHERE id = $1`)
	finishRun = database.SQL(`
		UPDATE collection_runs SET figures = $2, updated_at = {now}, finished_at = {bigint:$3}, error = $4 WHERE id = $1`)
)

// errLeaseLost says that another replica has taken this collection for dead, and goes on.
var errLeaseLost = errors.New("another replica has taken the collection over")

// run is one collection.
type run struct {
	*Collector
	pacer
	id      uuid.UUID
	leased  bool
	asked   bool // somebody has requested it
	began   time.Time
	figures Figures
	told    Figures   // as the database has them
	said    time.Time // when it was told last

	// How many projects and repositories could not be purged: they are passed over, or they would stop all others.
	stuckProjects, stuckRepositories int64
}

// lease begins the collection that is due, unless none is or somebody else is at it: then it returns nil.
func (c *Collector) lease(ctx context.Context) (*run, error) {
	id := uuid.Must(uuid.NewV7())
	kind := ""
	b := &database.Batch{}
	b.Query(func(r database.Rows) error {
		var requested int
		err := r.Scan(&requested)
		kind = KindScheduled
		if requested == 1 {
			kind = KindRequested
		}
		return err
	}, takeLease, id, c.now(), c.now()+c.Interval.Microseconds(), c.Lease.Microseconds())
	if err := c.DB.Run(ctx, b); err != nil {
		return nil, fmt.Errorf("begin a collection: %w", err)
	}
	if kind == "" {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	r, err := c.beginAs(ctx, id, kind)
	if err == nil {
		r.leased, r.asked = true, kind == KindRequested
	}
	return r, err
}

// turnPause is how long who waits for its turn waits between two looks.
const turnPause = 250 * time.Millisecond

// turn begins a collection when nobody else is at one.
func (c *Collector) turn(ctx context.Context) (*run, error) {
	id := uuid.Must(uuid.NewV7())
	for told := false; ; {
		var taken int64
		b := &database.Batch{}
		b.Query(counting(&taken), takeTurn, id, c.Lease.Microseconds())
		if err := c.DB.Run(ctx, b); err != nil {
			return nil, fmt.Errorf("begin a collection: %w", err)
		}
		if taken > 0 {
			break
		}
		if !told {
			c.Logger.InfoContext(ctx, "another replica is collecting: waiting for its end")
			told = true
		}
		if err := wait(ctx, turnPause); err != nil {
			return nil, err
		}
	}
	r, err := c.beginAs(ctx, id, KindCommand)
	if err == nil {
		r.leased = true
	}
	return r, err
}

func (c *Collector) begin(ctx context.Context, kind string) (*run, error) {
	return c.beginAs(ctx, uuid.Must(uuid.NewV7()), kind)
}

func (c *Collector) beginAs(ctx context.Context, id uuid.UUID, kind string) (*run, error) {
	r := &run{Collector: c, pacer: pacer{pause: c.Pause, load: c.Load}, id: id, began: time.Now(), said: time.Now()}
	b := &database.Batch{}
	b.Exec(endSilent, c.now(), silence*c.Lease.Microseconds())
	b.Exec(forgetRuns, int64(keptRuns-1))
	b.Exec(insertRun, id, kind, c.now(), r.figures.text())
	if kind == KindCommand {
		audit.Append(ctx, b, audit.Entry{Action: audit.CollectionRun, Object: "collection"})
	}
	if err := c.DB.Run(ctx, b); err != nil {
		return nil, fmt.Errorf("begin a collection: %w", err)
	}
	c.count(func(s *Stats) { s.Running = true })
	return r, nil
}

func (f Figures) text() string {
	text, err := json.Marshal(f)
	if err != nil {
		panic(fmt.Sprintf("gc: %v", err)) // numbers always encode
	}
	return string(text)
}

// phase is a part of a collection. It does one step and returns how much that was: nothing is left where it is nothing.
type phase struct {
	name string
	step func(context.Context) (int64, error)
}

// phases are in this order, so that what one leaves behind the next one finds.
func (r *run) phases() []phase {
	return []phase{
		{"note days", r.noteDays},
		{"close repositories for good", r.sealRepositories},
		{"purge projects", r.purgeProject},
		{"purge manifests", r.purgeManifests},
		{"purge tags", r.purgeTags},
		{"collect links", r.collectLinks},
		{"purge repositories", r.purgeRepository},
		{"collect blobs", r.collectBlobs},
		{"look for orphans", r.sweepDay},
		{"remove objects", r.removeObjects},
	}
}

// collect does all phases, and ends the run.
func (r *run) collect(ctx context.Context) error {
	var failed error
	for _, p := range r.phases() {
		err := r.drain(ctx, p)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
		}
		if ctx.Err() != nil || errors.Is(err, errLeaseLost) {
			break
		}
	}
	return errors.Join(failed, r.finish(ctx, failed))
}

// drain repeats a phase's step until nothing is left, with pauses, and waits for longer where the database or the storage
// does not answer.
func (r *run) drain(ctx context.Context, p phase) error {
	for failures := 0; ; {
		began := time.Now()
		n, err := p.step(ctx)
		if err == nil {
			err = r.checkpoint(ctx)
		}
		switch {
		case errors.Is(err, errLeaseLost), err != nil && !isPassing(err), err != nil && failures == maxFailures:
			return err
		case err != nil:
			failures++
			r.Logger.InfoContext(ctx, "the collection waits", slog.String("phase", p.name), slog.String("error", err.Error()))
			err = r.backOff(ctx, failures)
		case n == 0:
			return nil
		default:
			failures = 0
			err = r.rest(ctx, time.Since(began))
		}
		if err != nil {
			return err
		}
	}
}

// checkpoint tells the database, now and then, that this run is alive and how far it is.
func (r *run) checkpoint(ctx context.Context) error {
	if time.Since(r.said) < r.Lease/4 {
		return nil
	}
	b := &database.Batch{}
	if r.leased {
		b.Require(errLeaseLost, renewLease, r.id, r.Lease.Microseconds())
	}
	b.Exec(updateRun, r.id, r.figures.text())
	r.tell(b)
	if err := r.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("tell progress: %w", err)
	}
	r.told, r.said = r.figures, time.Now()
	return nil
}

// tell adds to b what was removed since it was told last.
func (r *run) tell(b *database.Batch) {
	objects, bytes := r.figures.RemovedObjects-r.told.RemovedObjects, r.figures.RemovedBytes-r.told.RemovedBytes
	if objects != 0 || bytes != 0 {
		b.Exec(addRemoved, objects, bytes)
	}
}

// finish writes down what came of the run, also where its context has ended.
func (r *run) finish(ctx context.Context, failed error) error {
	text := ""
	if failed != nil {
		text = failed.Error()
	}
	served := int64(0)
	if r.asked && ctx.Err() == nil && !isPassing(failed) {
		served = 1 // else another one is to follow
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	b := &database.Batch{}
	b.Exec(finishRun, r.id, r.figures.text(), r.now(), text)
	b.Exec(endLease, r.id, served)
	r.tell(b)
	err := r.DB.Run(ctx, b)
	r.count(func(s *Stats) {
		s.Runs++
		if failed != nil {
			s.Failed++
		}
		s.Total.add(r.figures)
		s.Running, s.LastFinished, s.LastDuration = false, r.Clock(), time.Since(r.began)
	})
	if err != nil {
		return fmt.Errorf("end the collection: %w", err)
	}
	return nil
}
