package gc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/storage"
)

// slowestCopy is the rate, in bytes a second, below which another replica may begin to compact the same blob.
const slowestCopy = 4 << 20

var (
	takeCompaction = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT q.blob_id FROM blob_compactions q
			WHERE q.chunks > $1 AND q.due_at <= {now} ORDER BY q.chunks, q.due_at LIMIT 1 {skip})
		UPDATE blob_compactions SET due_at = {now} + {bigint:$2} WHERE blob_id IN (SELECT blob_id FROM due)
		RETURNING blob_id`)
	keepCompaction = database.SQL(`UPDATE blob_compactions SET due_at = {now} + {bigint:$2} WHERE blob_id = $1`)
	endCompaction  = database.SQL(`DELETE FROM blob_compactions WHERE blob_id = $1`)
	// chunksOf finds nothing of a damaged blob, whose chunks stay as they are.
	chunksOf = database.SQL(`
		SELECT b.generation, b.size, c.object_key, c.start, c.size FROM blobs b JOIN chunks c ON c.owner_id = b.id
		WHERE b.id = $1 AND b.damaged_at IS NULL ORDER BY c.start`)

	// raiseGeneration is the compare-and-set: of all who have composed the same chunks, one gets a row.
	raiseGeneration = database.SQL(`
		UPDATE blobs SET generation = generation + 1 WHERE id = $1 AND generation = $2 AND damaged_at IS NULL RETURNING 1`)
	doomOld = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT object_key, size, {bigint:$2} FROM chunks WHERE owner_id = $1 ON CONFLICT (object_key) DO NOTHING`)
	deleteOld = database.SQL(`DELETE FROM chunks WHERE owner_id = $1`)
	insertOne = database.SQL(`
		INSERT INTO chunks (owner_id, start, size, object_key, created_at)
		SELECT {uuid:$1}, 0, {bigint:$2}, {text:$3}, {bigint:$4}
		WHERE NOT EXISTS (SELECT 1 FROM swept_days WHERE day = {text:$5}) RETURNING 1`)
	hasRow = database.SQL(`SELECT 1 FROM chunks WHERE object_key = $1`)
)

// errSwapLost says that the blob has other chunks by now, or is gone, or that the new object's day is over.
var errSwapLost = errors.New("the blob has changed")

// errChunks says that the rows do not make up the blob.
var errChunks = errors.New("the chunks do not make up the blob")

// candidate is a blob to be made one object.
type candidate struct {
	id               uuid.UUID
	generation, size int64
	parts            []storage.Part
}

// Compact makes one object each of the blobs that have too many chunks, of all that are due when it is called and that no
// other replica is at. Readers are not disturbed: those that have the old list of chunks go on with the old objects,
// which stay for the sweep delay. It returns the context's and the database's errors; what goes wrong with one blob is
// logged, and tried again later.
func (c *Collector) Compact(ctx context.Context) (Figures, error) {
	var all Figures
	if c.CompactChunks < 0 {
		return all, nil
	}
	p := pacer{pause: c.Pause, load: c.Load}
	for {
		began := time.Now()
		id, err := c.takeCompaction(ctx)
		if err != nil || id == uuid.Nil {
			return all, err
		}
		size, err := c.compact(ctx, id)
		switch {
		case errors.Is(err, errSwapLost):
			c.count(func(s *Stats) { s.CompactionsLost++ })
		case err != nil && ctx.Err() != nil:
			return all, err
		case err != nil:
			c.count(func(s *Stats) { s.CompactionsFailed++ })
			c.Logger.WarnContext(ctx, "compact a blob", slog.String("blob", id.String()), slog.String("error", err.Error()))
		case size > 0:
			one := Figures{CompactedBlobs: 1, CompactedBytes: size}
			all.add(one)
			c.count(func(s *Stats) { s.Total.add(one) })
		}
		if err := p.rest(ctx, time.Since(began)); err != nil {
			return all, err
		}
	}
}

func (c *Collector) takeCompaction(ctx context.Context) (uuid.UUID, error) {
	var id uuid.UUID
	b := &database.Batch{}
	b.Query(func(rows database.Rows) error { return rows.Scan(&id) }, takeCompaction, int64(c.CompactChunks), c.Lease.Microseconds())
	if err := c.DB.Run(ctx, b); err != nil {
		return uuid.Nil, fmt.Errorf("take a blob to compact: %w", err)
	}
	return id, nil
}

// compact makes one object of a blob and returns its size, or 0 where there is nothing to do.
func (c *Collector) compact(ctx context.Context, id uuid.UUID) (int64, error) {
	blob, err := c.candidate(ctx, id)
	switch {
	case errors.Is(err, errChunks):
		return 0, errors.Join(err, c.later(ctx, id, 24*time.Hour)) // it will not pass, and be logged once a day
	case err != nil:
		return 0, err
	case len(blob.parts) <= 1:
		return 0, c.forget(ctx, id)
	}
	if err := c.later(ctx, id, c.Lease+time.Duration(blob.size/slowestCopy)*time.Second); err != nil {
		return 0, err
	}
	key, err := c.newKey(id)
	if err != nil {
		return 0, err
	}
	if err := c.compose(ctx, key, blob); err != nil {
		return 0, errors.Join(err, c.giveUp(ctx, blob, key, err))
	}
	if err := c.swap(ctx, blob, key); err != nil {
		return 0, errors.Join(err, c.giveUp(ctx, blob, key, err))
	}
	return blob.size, nil
}

// candidate reads a blob with its chunks in one statement, so that they belong together.
func (c *Collector) candidate(ctx context.Context, id uuid.UUID) (candidate, error) {
	blob := candidate{id: id}
	var end int64
	gaps := false
	err := c.DB.Each(ctx, func(rows database.Rows) error {
		var p storage.Part
		var start int64
		err := rows.Scan(&blob.generation, &blob.size, &p.Key, &start, &p.Length)
		gaps = gaps || start != end
		end = start + p.Length
		blob.parts = append(blob.parts, p)
		return err
	}, chunksOf, id)
	if err != nil {
		return blob, fmt.Errorf("list chunks: %w", err)
	}
	if len(blob.parts) > 0 && (gaps || end != blob.size) {
		return blob, fmt.Errorf("blob %s: %w", id, errChunks)
	}
	return blob, nil
}

// newKey is a key as uploads make them, with the blob in the place of its session, which has the same ID.
func (c *Collector) newKey(id uuid.UUID) (string, error) {
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("draw a key: %w", err)
	}
	return fmt.Sprintf("%s/%s/%s", c.Clock().Add(keyAhead).UTC().Format(time.DateOnly), id, hex.EncodeToString(random[:])), nil
}

// compose makes the object and checks its length.
func (c *Collector) compose(ctx context.Context, key string, blob candidate) error {
	if err := c.Store.Compose(ctx, key, blob.parts); err != nil {
		return fmt.Errorf("compose: %w", err)
	}
	last, err := c.Store.Open(ctx, key, blob.size-1, -1)
	if err != nil {
		return fmt.Errorf("look at the object: %w", err)
	}
	defer func() { _ = last.Close() }() // only read from
	n, err := io.Copy(io.Discard, last)
	if err != nil {
		return fmt.Errorf("look at the object: %w", err)
	}
	if n != 1 {
		return fmt.Errorf("compose: %w: the object is not %d bytes long", io.ErrUnexpectedEOF, blob.size)
	}
	return nil
}

// swap gives the blob its new chunk in the place of those that it had when it was read.
func (c *Collector) swap(ctx context.Context, blob candidate, key string) error {
	b := &database.Batch{}
	b.Require(errSwapLost, raiseGeneration, blob.id, blob.generation)
	b.Exec(doomOld, blob.id, c.doomAt())
	b.Exec(deleteOld, blob.id)
	b.Require(errSwapLost, insertOne, blob.id, blob.size, key, c.now(), key[:len(time.DateOnly)])
	b.Exec(endCompaction, blob.id)
	err := c.DB.Run(ctx, b)
	if errors.Is(err, database.ErrUnclear) {
		var one int
		if c.DB.QueryRow(context.WithoutCancel(ctx), hasRow, key).Scan(&one) == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("swap chunks: %w", err)
	}
	return nil
}

// giveUp dooms an object that will have no row, and tries the blob again later, if it makes sense.
func (c *Collector) giveUp(ctx context.Context, blob candidate, key string, why error) error {
	if errors.Is(why, database.ErrUnclear) {
		return nil // the row may be there: if it is not, the object is found when its day is looked through
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	b := &database.Batch{}
	b.Exec(doomOrphan, key, blob.size, c.doomAt())
	switch {
	case errors.Is(why, errSwapLost): // whoever was faster has ended it
	case errors.Is(why, storage.ErrInvalid): // larger than this store takes, for one
		b.Exec(endCompaction, blob.id)
	default:
		b.Exec(keepCompaction, blob.id, c.Retry.Microseconds())
	}
	if err := c.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("give up an object: %w", err)
	}
	return nil
}

// later keeps other replicas from a blob for some time.
func (c *Collector) later(ctx context.Context, id uuid.UUID, d time.Duration) error {
	b := &database.Batch{}
	b.Exec(keepCompaction, id, d.Microseconds())
	if err := c.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("keep a blob: %w", err)
	}
	return nil
}

func (c *Collector) forget(ctx context.Context, id uuid.UUID) error {
	b := &database.Batch{}
	b.Exec(endCompaction, id)
	if err := c.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("forget a blob: %w", err)
	}
	return nil
}
