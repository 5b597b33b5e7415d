package scrub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

// Outcomes of findings that have ended.
const (
	OutcomeHealed    = "healed"    // its content was pushed again
	OutcomeRecovered = "recovered" // a later look found it whole
	OutcomeGone      = "gone"      // nobody needs it any more
)

// Finding is something that was found damaged.
type Finding struct {
	ID uuid.UUID
	// Run is the scrub that found it; uuid.Nil: a pull came upon it.
	Run uuid.UUID
	// Kind is one of the Kind constants.
	Kind   string
	Digest digest.Digest
	// Size is as the row says.
	Size int64
	// Object is the key of the object that is to blame, where it is one.
	Object string
	// Detail is what is wrong, in English.
	Detail string
	// EndedAt is zero while it is damaged, and Outcome empty.
	FoundAt, EndedAt time.Time
	Outcome          string
}

var (
	// quarantine is a compare-and-set: whoever has compacted, healed or collected the blob meanwhile has won.
	quarantine = database.SQL(`
		UPDATE blobs SET damaged_at = $3 WHERE id = $1 AND generation = $2 AND damaged_at IS NULL RETURNING 1`)
	release = database.SQL(`
		UPDATE blobs SET damaged_at = NULL WHERE id = $1 AND generation = $2 AND damaged_at IS NOT NULL RETURNING 1`)
	compactReleased = database.SQL(`
		INSERT INTO blob_compactions (blob_id, chunks, due_at)
		SELECT owner_id, count(*), 0 FROM chunks WHERE owner_id = $1 GROUP BY owner_id HAVING count(*) > 1
		ON CONFLICT (blob_id) DO NOTHING`)
	insertFinding = database.SQL(`
		INSERT INTO scrub_findings (id, run_id, kind, subject, digest, size, object_key, detail, found_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (subject) WHERE ended_at IS NULL DO NOTHING`)
	endFindings = database.SQL(`
		UPDATE scrub_findings SET ended_at = $2, outcome = $3 WHERE subject = $1 AND ended_at IS NULL`)
	// endFormer is about a blob that is collected since. Another one with the same digest, which is not in quarantine, has
	// nothing to do with it.
	endFormer = database.SQL(`
		UPDATE scrub_findings SET ended_at = $2, outcome = $3 WHERE subject = $1 AND ended_at IS NULL
		  AND NOT EXISTS (SELECT 1 FROM blobs WHERE digest = $1 AND damaged_at IS NOT NULL)`)
	forgetFindings = database.SQL(`DELETE FROM scrub_findings WHERE ended_at < $1`)
	// listFindings lists the newest first, before $1: all, or only those that are open.
	listFindings = database.SQL(`
		SELECT id, run_id, kind, digest, size, object_key, detail, found_at, ended_at, outcome FROM scrub_findings
		WHERE id < $1 AND (ended_at IS NULL OR {bigint:$2} = 0) ORDER BY id DESC LIMIT {limit:$3}`)
	countOpen = database.SQL(`
		SELECT count(*) FROM (SELECT 1 FROM scrub_findings WHERE ended_at IS NULL LIMIT {limit:$1}) AS few`)
)

// errChanged says that the blob is not the one any more that was looked at.
var errChanged = errors.New("the blob has changed")

// maxCount is as far as findings are counted.
const maxCount = 10_000

// condemn quarantines a blob, unless it is, and tells whether it is the one still that was looked at.
func (s *Scrubber) condemn(ctx context.Context, b blob, d *damage, run uuid.UUID) (bool, error) {
	if b.quarantined {
		return true, nil
	}
	batch := &database.Batch{}
	batch.Require(errChanged, quarantine, b.id, b.generation, s.now())
	s.note(batch, Finding{Run: run, Kind: d.kind, Digest: b.digest, Size: b.size, Object: d.key, Detail: d.detail}, string(b.digest))
	audit.Append(ctx, batch, audit.Entry{Action: audit.BlobQuarantine, Object: string(b.digest), Detail: map[string]any{"kind": d.kind, "size": b.size}})
	err := s.DB.Run(ctx, batch)
	if errors.Is(err, errChanged) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("quarantine a blob: %w", err)
	}
	s.Logger.ErrorContext(ctx, "a blob is damaged and not served any more", slog.String("digest", string(b.digest)),
		slog.String("kind", d.kind), slog.String("object", d.key), slog.String("detail", d.detail))
	return true, nil
}

// note adds to b a finding, unless there is an open one of the same subject.
func (s *Scrubber) note(b *database.Batch, f Finding, subject string) {
	var run *uuid.UUID
	if f.Run != uuid.Nil {
		run = &f.Run
	}
	b.Exec(insertFinding, uuid.Must(uuid.NewV7()), run, f.Kind, subject, string(f.Digest), f.Size, f.Object, f.Detail, s.now())
}

// acquit shows a blob again that was quarantined and is whole, and tells whether it is the one still that was looked at.
func (s *Scrubber) acquit(ctx context.Context, b blob) (bool, error) {
	batch := &database.Batch{}
	batch.Require(errChanged, release, b.id, b.generation)
	batch.Exec(endFindings, string(b.digest), s.now(), OutcomeRecovered)
	batch.Exec(compactReleased, b.id)
	audit.Append(ctx, batch, audit.Entry{Action: audit.BlobRecover, Object: string(b.digest)})
	err := s.DB.Run(ctx, batch)
	if errors.Is(err, errChanged) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("show a blob again: %w", err)
	}
	s.Logger.InfoContext(ctx, "a blob that was damaged is whole again", slog.String("digest", string(b.digest)))
	return true, nil
}

// end ends the open finding of a subject by a statement for that.
func (s *Scrubber) end(ctx context.Context, stmt database.Stmt, subject, outcome string) error {
	b := &database.Batch{}
	b.Exec(stmt, subject, s.now(), outcome)
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("end a finding: %w", err)
	}
	return nil
}

// Findings lists what was found, the newest first: all that is remembered, or only what is damaged still. The key of a page
// is a finding's ID. Errors: the context's and the database's.
func (s *Scrubber) Findings(ctx context.Context, all bool, page database.Page) ([]Finding, error) {
	before := uuid.Max
	if page.After != "" {
		id, err := uuid.Parse(page.After)
		if err != nil {
			return nil, fmt.Errorf("list findings after %q: %w", page.After, err)
		}
		before = id
	}
	open := int64(1)
	if all {
		open = 0
	}
	var found []Finding
	err := s.DB.Each(ctx, func(rows database.Rows) error {
		f, err := scanFinding(rows)
		found = append(found, f)
		return err
	}, listFindings, before, open, int64(page.Limit))
	if err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	return found, nil
}

func scanFinding(rows database.Rows) (Finding, error) {
	var f Finding
	var run *uuid.UUID
	var text string
	var foundAt int64
	var endedAt *int64
	err := rows.Scan(&f.ID, &run, &f.Kind, &text, &f.Size, &f.Object, &f.Detail, &foundAt, &endedAt, &f.Outcome)
	if err != nil {
		return f, err //nolint:wrapcheck // by the caller
	}
	f.Digest, f.FoundAt = digest.Digest(text), database.FromMicros(foundAt)
	if run != nil {
		f.Run = *run
	}
	if endedAt != nil {
		f.EndedAt = database.FromMicros(*endedAt)
	}
	return f, nil
}

// Open is how many findings are open, counted up to 10,000. Errors: the context's and the database's.
func (s *Scrubber) Open(ctx context.Context) (int64, error) {
	var n int64
	if err := s.DB.QueryRow(ctx, countOpen, int64(maxCount)).Scan(&n); err != nil {
		return 0, fmt.Errorf("count findings: %w", err)
	}
	return n, nil
}
