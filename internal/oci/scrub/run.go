package scrub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/storage"
)

// Kinds of scrubs.
const (
	KindScheduled = "scheduled"
	KindRequested = "requested"
	KindCommand   = "command"
)

// The stages of a scrub, in order.
const (
	stageFindings  = "findings"
	stageBlobs     = "blobs"
	stageManifests = "manifests"
)

const (
	// whole fractions are in millionths.
	millionths = 1_000_000
	// keptRuns is how many scrubs are remembered.
	keptRuns = 50
	// tellEvery is how often the database is told how far a scrub is, at least once in a quarter of its lease.
	tellEvery = 5 * time.Second
	// maxFailures is how often in a row a step waits for the database before the scrub is left for later.
	maxFailures = 4
	// maxUnread is how many blobs in a row may be unread before it is left for later: the storage is down.
	maxUnread = 5
	// maxMissing is how many blobs in a row may be missing before it stops: the storage is not the one it was.
	maxMissing = 20
)

// ErrUnderWay says that another process is at a scrub that was begun at a terminal.
var ErrUnderWay = errors.New("another berth scrub is under way: try again when it has ended, or a minute after it died")

var (
	errLeaseLost = errors.New("another process has taken the scrub over")
	errUnread    = fmt.Errorf("%w: %d blobs in a row could not be read; the scrub goes on later", storage.ErrUnavailable, maxUnread)
	errMissing   = fmt.Errorf("the objects of %d blobs in a row are missing: is this the right storage? If it is, run berth scrub --expect-losses", maxMissing)
)

var (
	lock = database.SQL(`SELECT {lock:$1}`)
	// takeRun takes a scrub of some kinds that nobody is at.
	takeRun = database.SQL(`
		WITH free AS MATERIALIZED (
			SELECT id FROM scrub_runs
			WHERE finished_at IS NULL AND lease_until < {now} AND kind IN (SELECT each.value FROM {each:$3})
			ORDER BY id LIMIT 1 {skip})
		UPDATE scrub_runs SET holder = $1, lease_until = {now} + {bigint:$2}, updated_at = {now}
		WHERE id IN (SELECT id FROM free)
		RETURNING id, fraction, rate, stage, place, figures`)
	freeRun = database.SQL(`
		SELECT 1 FROM scrub_runs
		WHERE finished_at IS NULL AND lease_until < {now} AND kind IN (SELECT each.value FROM {each:$1})`)
	// insertRun begins a scrub unless one of these kinds is open, or was begun a short time ago.
	insertRun = database.SQL(`
		INSERT INTO scrub_runs (id, kind, fraction, rate, started_at, updated_at, stage, figures)
		SELECT {uuid:$1}, {text:$2}, {bigint:$3}, {bigint:$4}, {bigint:$5}, {now}, '` + stageFindings + `', {text:$6}
		WHERE NOT EXISTS (SELECT 1 FROM scrub_runs WHERE kind IN (SELECT each.value FROM {each:$7})
			AND (finished_at IS NULL OR started_at > $8))`)
	abandonRuns = database.SQL(`
		UPDATE scrub_runs SET finished_at = $1, error = 'abandoned'
		WHERE finished_at IS NULL AND lease_until < {now} AND kind IN (SELECT each.value FROM {each:$2})`)
	forgetRuns = database.SQL(`
		DELETE FROM scrub_runs WHERE finished_at IS NOT NULL
		  AND id < (SELECT id FROM scrub_runs ORDER BY id DESC LIMIT 1 OFFSET {bigint:$1})`)
	tellRun = database.SQL(`
		UPDATE scrub_runs SET stage = $3, place = $4, figures = $5, updated_at = {now}, lease_until = {now} + {bigint:$6}
		WHERE id = $1 AND holder = $2 AND finished_at IS NULL RETURNING 1`)
	leaveRun = database.SQL(`
		UPDATE scrub_runs SET stage = $3, place = $4, figures = $5, updated_at = {now}, lease_until = 0, holder = NULL,
			finished_at = $6, error = $7
		WHERE id = $1 AND holder = $2 AND finished_at IS NULL`)
	countBlobs = database.SQL(`SELECT count(*), CAST(coalesce(sum(size), 0) AS bigint) FROM blobs`)
)

var (
	byServers   = database.Strings([]string{KindScheduled, KindRequested})
	byTerminals = database.Strings([]string{KindCommand})
)

// run is one scrub in the hands of this process.
type run struct {
	*reader
	id, holder   uuid.UUID
	fraction     int64
	stage, place string
	resumed      bool
	figures      Figures
	before       Figures // what others had done when this process took it
	said         time.Time
	inRow        struct{ unread, missing int }
	expectLosses bool
	progress     func(Progress)
}

// next is the scrub that a replica is to do: one that is open, or one that is due. It is nil where there is none.
func (s *Scrubber) next(ctx context.Context) (*run, error) {
	r, err := s.take(ctx, byServers, nil)
	if r != nil || err != nil || s.Interval == 0 {
		return r, err
	}
	return s.take(ctx, byServers, func(b *database.Batch) {
		s.insert(b, KindScheduled, s.Fraction, s.Rate, byServers, s.now()-s.Interval.Microseconds())
	})
}

// command is the scrub that a terminal asks for.
func (s *Scrubber) command(ctx context.Context, o Order) (*run, error) {
	r, err := s.take(ctx, byTerminals, func(b *database.Batch) {
		if o.Restart {
			b.Exec(abandonRuns, s.now(), byTerminals)
		}
		s.insert(b, KindCommand, o.Fraction, o.Rate, byTerminals, s.now())
		b.Require(ErrUnderWay, freeRun, byTerminals) // what is refused leaves nothing, no entry either
		audit.Append(ctx, b, audit.Entry{Action: audit.ScrubRun, Object: "scrub"})
	})
	if errors.Is(err, ErrUnderWay) {
		return nil, ErrUnderWay
	}
	if err == nil && r == nil {
		return nil, ErrUnderWay
	}
	return r, err
}

// insert adds to b a new scrub, unless one of the same kinds is open or was begun after since.
func (s *Scrubber) insert(b *database.Batch, kind string, fraction float64, rate int64, kinds any, since int64) {
	b.Exec(lock, "scrub_runs")
	b.Exec(insertRun, uuid.Must(uuid.NewV7()), kind, max(int64(fraction*millionths), 1), rate, s.now(), Figures{}.text(), kinds, since)
	b.Exec(forgetRuns, int64(keptRuns-1))
	if s.Keep > 0 {
		b.Exec(forgetFindings, database.ToMicros(s.Clock().Add(-s.Keep)))
	}
}

// take gives this process a scrub that nobody is at, after what begin adds to the transaction, or nil where there is none.
func (s *Scrubber) take(ctx context.Context, kinds any, begin func(*database.Batch)) (*run, error) {
	r := &run{holder: uuid.Must(uuid.NewV7())}
	var rate int64
	var figures string
	b := &database.Batch{}
	if begin != nil {
		begin(b)
	}
	b.Query(func(rows database.Rows) error {
		return rows.Scan(&r.id, &r.fraction, &rate, &r.stage, &r.place, &figures)
	}, takeRun, r.holder, s.Lease.Microseconds(), kinds)
	if err := s.DB.Run(ctx, b); err != nil {
		return nil, fmt.Errorf("take a scrub: %w", err)
	}
	if r.id == uuid.Nil {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	if err := json.Unmarshal([]byte(figures), &r.figures); err != nil {
		return nil, fmt.Errorf("read the figures of a scrub: %w", err)
	}
	r.resumed = r.figures != Figures{}
	r.before, r.said = r.figures, s.Clock()
	r.reader = s.reader(rate, r.heard)
	return r, nil
}

// heard counts bytes, and keeps the lease while a large blob is read.
func (r *run) heard(ctx context.Context, n int) error {
	r.figures.Bytes += int64(n)
	return r.checkpoint(ctx)
}

// scrub does all stages from where the scrub is, and ends it. What passes by itself leaves it open, to be gone on with.
func (r *run) scrub(ctx context.Context) error {
	r.count(func(s *Stats) { s.Running = true })
	err := r.begin(ctx)
	for _, stage := range []struct {
		name string
		step func(context.Context) (int, error)
	}{
		{stageFindings, r.lookAtFindings}, {stageBlobs, r.lookAtBlobs}, {stageManifests, r.lookAtManifests},
	} {
		if err == nil && r.stage == stage.name {
			err = r.drain(ctx, stage.step)
		}
		if err == nil && r.stage == stage.name {
			r.stage, r.place = following[stage.name], ""
		}
	}
	return errors.Join(err, r.leave(ctx, err))
}

// following is the stage after each; the last one has none.
var following = map[string]string{stageFindings: stageBlobs, stageBlobs: stageManifests, stageManifests: stageManifests}

// begin counts what there is, once.
func (r *run) begin(ctx context.Context) error {
	r.tell()
	if r.resumed {
		return nil
	}
	if err := r.DB.QueryRow(ctx, countBlobs).Scan(&r.figures.TotalBlobs, &r.figures.TotalBytes); err != nil {
		return fmt.Errorf("count blobs: %w", err)
	}
	return nil
}

// drain repeats a step until nothing is left of its stage, and waits where the database does not answer.
func (r *run) drain(ctx context.Context, step func(context.Context) (int, error)) error {
	for failures := 0; ; {
		n, err := step(ctx)
		if err == nil {
			err = r.checkpoint(ctx)
		}
		switch {
		case err == nil && n == 0:
			return nil
		case err == nil:
			failures = 0
		case !errors.Is(err, database.ErrUnavailable) || failures == maxFailures || ctx.Err() != nil:
			return err
		default:
			r.Logger.InfoContext(ctx, "the scrub waits", slog.String("error", err.Error()))
			if err := r.Wait(ctx, firstPause<<failures); err != nil {
				return err
			}
			failures++
		}
	}
}

// checkpoint tells the database, now and then, how far the scrub is, and keeps the lease.
func (r *run) checkpoint(ctx context.Context) error {
	if r.Clock().Sub(r.said) < min(r.Lease/4, tellEvery) {
		return nil
	}
	b := &database.Batch{}
	b.Require(errLeaseLost, tellRun, r.id, r.holder, r.stage, r.place, r.figures.text(), r.Lease.Microseconds())
	if err := r.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("tell how far the scrub is: %w", err)
	}
	r.said = r.Clock()
	r.tell()
	return nil
}

func (r *run) tell() {
	if r.progress != nil {
		r.progress(Progress{Resumed: r.resumed, Fraction: float64(r.fraction) / millionths, Rate: r.rate, Figures: r.figures})
	}
}

// leave ends the scrub, or leaves it for another process, also where its context has ended.
func (r *run) leave(ctx context.Context, failed error) error {
	later := failed != nil && (ctx.Err() != nil || errors.Is(failed, database.ErrUnavailable) || errors.Is(failed, storage.ErrUnavailable))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var finishedAt *int64
	text := ""
	if !later {
		now := r.now()
		finishedAt = &now
	}
	if failed != nil {
		text = failed.Error()
	}
	b := &database.Batch{}
	b.Exec(leaveRun, r.id, r.holder, r.stage, r.place, r.figures.text(), finishedAt, text)
	err := r.DB.Run(ctx, b)
	r.tell()
	r.count(func(s *Stats) {
		s.Running = false
		s.Total.add(r.figures.since(r.before))
		if failed != nil {
			s.Failed++
		}
		if !later {
			s.Runs, s.LastFinished = s.Runs+1, r.Clock()
		}
	})
	if err != nil {
		return fmt.Errorf("end the scrub: %w", err)
	}
	return nil
}

// since is what has been done since then.
func (f Figures) since(then Figures) Figures {
	return Figures{
		Passed: f.Passed - then.Passed, Blobs: f.Blobs - then.Blobs, Manifests: f.Manifests - then.Manifests, Bytes: f.Bytes - then.Bytes,
		Damaged: f.Damaged - then.Damaged, Missing: f.Missing - then.Missing, DamagedManifests: f.DamagedManifests - then.DamagedManifests,
		Unread: f.Unread - then.Unread, Changed: f.Changed - then.Changed, Recovered: f.Recovered - then.Recovered,
	}
}

// chosen tells whether the scrub reads something, by chance that is the same for all processes that go on with it.
func (r *run) chosen(what string) bool {
	if r.fraction >= millionths {
		return true
	}
	h := fnv.New64a()
	_, _ = h.Write(r.id[:]) // a hash never fails
	_, _ = h.Write([]byte(what))
	return mix(h.Sum64())%millionths < uint64(r.fraction)
}

// mix spreads the bits of a hash whose high ones depend little on what came last.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}
