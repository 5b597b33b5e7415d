package gc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/storage"
)

// keyAhead is how far the day of a key may be ahead of the time at which its object is begun: see package uploads.
const keyAhead = time.Hour

// maxNewDays bounds how many days are noted at once.
const maxNewDays = 1000

var (
	timeOfDatabase = database.SQL(`SELECT {now}`)

	lastDay = database.SQL(`SELECT day FROM swept_days ORDER BY day DESC LIMIT 1`)
	// firstProject tells from when on there can have been objects. The IDs are in the order of time.
	firstProject = database.SQL(`SELECT created_at FROM projects ORDER BY id LIMIT 1`)
	noteDays     = database.SQL(`
		INSERT INTO swept_days (day) SELECT each.value FROM {each:$1} WHERE true ON CONFLICT (day) DO NOTHING`)
	noteFirst = database.SQL(`INSERT INTO swept_days (day, done_at) VALUES ($1, $2) ON CONFLICT (day) DO NOTHING`)
	takeDay   = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT day FROM swept_days WHERE done_at IS NULL AND lease_until < {now}
			ORDER BY day LIMIT 1 {skip})
		UPDATE swept_days SET lease_until = {now} + {bigint:$1} WHERE day IN (SELECT day FROM due)
		RETURNING day`)
	renewDay = database.SQL(`
		UPDATE swept_days SET lease_until = {now} + {bigint:$2} WHERE day = $1 AND done_at IS NULL RETURNING 1`)
	endDay = database.SQL(`
		UPDATE swept_days SET done_at = $2, objects = $3, orphans = $4, lease_until = 0 WHERE day = $1`)
	doomOrphan = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT {text:$1}, {bigint:$2}, {bigint:$3} WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE object_key = $1)
		ON CONFLICT (object_key) DO NOTHING`)
)

// sweepDay looks through the objects of one day that is over, once. A row for the day comes first, in a transaction of its
// own: from then on no chunk of that day gets a row, so what has none will have none. A replica that dies meanwhile is
// followed, after its lease, by one that begins the day again.
func (r *run) sweepDay(ctx context.Context) (int64, error) {
	if r.OrphanAge == 0 {
		return 0, r.sweepDaysUnderWay(ctx)
	}
	day := ""
	b := &database.Batch{}
	b.Query(func(rows database.Rows) error { return rows.Scan(&day) }, takeDay, r.Lease.Microseconds())
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("take a day: %w", err)
	}
	if day == "" {
		return 0, nil
	}
	s, err := r.sweep(ctx, day)
	if err != nil {
		return 0, err
	}
	end := &database.Batch{}
	end.Exec(endDay, day, r.now(), s.objects, s.orphans)
	if err := r.DB.Run(ctx, end); err != nil {
		return 0, fmt.Errorf("end a day: %w", err)
	}
	r.figures.Days++
	return 1, nil
}

// noteDays makes rows for days that have come of age since the last time, however long ago that was. It comes before
// anything is purged, for at first it goes by the oldest project. A day with a row takes no objects any more, on no
// replica: so a day is over only when the database's clock says so, too.
func (r *run) noteDays(ctx context.Context) (int64, error) {
	if r.OrphanAge == 0 {
		return 0, nil
	}
	now, err := r.agreedTime(ctx)
	if err != nil {
		return 0, err
	}
	last, err := r.lastDay(ctx, now)
	if err != nil {
		return 0, fmt.Errorf("look for days: %w", err)
	}
	days, err := daysBetween(last, now.Add(-r.OrphanAge).Format(time.DateOnly))
	if err != nil || len(days) == 0 {
		return 0, err
	}
	b := &database.Batch{}
	b.Exec(noteDays, database.Strings(days))
	if err := r.DB.Run(ctx, b); err != nil {
		return 0, fmt.Errorf("note days: %w", err)
	}
	return int64(len(days)), nil
}

// agreedTime is the earlier of what this replica's clock says and what the database's does.
func (r *run) agreedTime(ctx context.Context) (time.Time, error) {
	now, err := r.DatabaseClock(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the database for the time: %w", err)
	}
	if own := r.Clock(); own.Before(now) {
		now = own
	}
	return now.UTC(), nil
}

// databaseTime is the DatabaseClock of a Collector that was given none.
func (c *Collector) databaseTime(ctx context.Context) (time.Time, error) {
	var now int64
	err := c.DB.QueryRow(ctx, timeOfDatabase).Scan(&now)
	return database.FromMicros(now), err //nolint:wrapcheck // by the caller
}

// daysBetween are the days after one, up to another one.
func daysBetween(after, upTo string) ([]string, error) {
	at, err := time.Parse(time.DateOnly, after)
	if err != nil {
		return nil, fmt.Errorf("day %q: %w", after, err)
	}
	var days []string
	for len(days) < maxNewDays {
		at = at.AddDate(0, 0, 1)
		day := at.Format(time.DateOnly)
		if day > upTo {
			break
		}
		days = append(days, day)
	}
	return days, nil
}

// lastDay is the last day that has a row. If none has, that is a day before there can have been objects.
func (r *run) lastDay(ctx context.Context, now time.Time) (string, error) {
	var last string
	err := r.DB.QueryRow(ctx, lastDay).Scan(&last)
	if !errors.Is(err, database.ErrNoRows) {
		return last, err //nolint:wrapcheck // by the caller
	}
	began := database.ToMicros(now)
	err = r.DB.QueryRow(ctx, firstProject).Scan(&began)
	if err != nil && !errors.Is(err, database.ErrNoRows) {
		return "", err //nolint:wrapcheck // by the caller
	}
	last = time.UnixMicro(min(began, database.ToMicros(now))).UTC().AddDate(0, 0, -2).Format(time.DateOnly)
	b := &database.Batch{}
	b.Exec(noteFirst, last, r.now())
	return last, r.DB.Run(ctx, b) //nolint:wrapcheck // by the caller
}

// sweepDaysUnderWay looks through the objects of yesterday, today and tomorrow and notes nothing: for tests and repairs,
// while nobody uploads.
func (r *run) sweepDaysUnderWay(ctx context.Context) error {
	now := r.Clock().UTC()
	days := []string{
		now.AddDate(0, 0, -1).Format(time.DateOnly), now.Format(time.DateOnly), now.Add(keyAhead).Format(time.DateOnly),
	}
	for _, day := range slices.Compact(days) {
		if _, err := r.sweep(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// daySweep is a day's objects on their way through the hands of the collector.
type daySweep struct {
	*run
	day              string
	began            time.Time
	sizes            map[string]int64
	objects, orphans int64
}

func (r *run) sweep(ctx context.Context, day string) (*daySweep, error) {
	s := &daySweep{run: r, day: day, began: time.Now(), sizes: map[string]int64{}}
	err := r.Store.List(ctx, day+"/", func(o storage.Object) error {
		s.objects++
		s.sizes[o.Key] = o.Size
		if len(s.sizes) < r.Batch {
			return nil
		}
		return s.look(ctx)
	})
	if err == nil {
		err = s.look(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("look through %s: %w", day, err)
	}
	return s, nil
}

// look dooms those of some objects that have no row, and were not doomed before.
func (s *daySweep) look(ctx context.Context) error {
	keys := database.Strings(slices.Collect(maps.Keys(s.sizes)))
	var known []string
	for _, stmt := range []database.Stmt{haveRows, areDoomed} {
		if err := s.DB.Each(ctx, each(&known), stmt, keys); err != nil {
			return fmt.Errorf("look for rows: %w", err)
		}
	}
	for _, key := range known {
		delete(s.sizes, key)
	}
	b := &database.Batch{}
	if s.OrphanAge > 0 {
		b.Require(errLeaseLost, renewDay, s.day, s.Lease.Microseconds())
	}
	for key, size := range s.sizes {
		b.Exec(doomOrphan, key, size, s.doomAt())
	}
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("doom orphans: %w", err)
	}
	for _, size := range s.sizes {
		s.orphans++
		s.figures.Orphans++
		s.figures.OrphanBytes += size
	}
	clear(s.sizes)
	worked := time.Since(s.began)
	if err := s.checkpoint(ctx); err != nil {
		return err
	}
	err := s.rest(ctx, worked)
	s.began = time.Now()
	return err
}
