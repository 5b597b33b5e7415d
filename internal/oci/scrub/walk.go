package scrub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/digests"
)

var (
	openFindings = database.SQL(`
		SELECT id, kind, subject FROM scrub_findings WHERE ended_at IS NULL AND id > $1 AND id < $2
		ORDER BY id LIMIT {limit:$3}`)
	// blobsAfter ends at the scrub's own ID, which is in the order of time as theirs are: it does not run after new ones.
	blobsAfter = database.SQL(`
		SELECT id FROM blobs WHERE id > $1 AND id < $2 AND damaged_at IS NULL ORDER BY id LIMIT {limit:$3}`)
	// manifestsAfter leaves the bytes of large ones out.
	manifestsAfter = database.SQL(`
		SELECT repository_id, digest, CASE WHEN size <= 65536 THEN content END FROM manifests
		WHERE (repository_id, digest) > ({uuid:$1}, {text:$2}) ORDER BY repository_id, digest LIMIT {limit:$3}`)
	manifestOf = database.SQL(`
		SELECT m.content, r.path, coalesce(p.slug, '') FROM manifests m JOIN repositories r ON r.id = m.repository_id
		JOIN projects p ON p.id = r.project_id WHERE m.repository_id = $1 AND m.digest = $2`)
)

// after is the ID that the place says, or one before all others.
func (r *run) after() (uuid.UUID, error) {
	if r.place == "" {
		return uuid.Nil, nil
	}
	id, err := uuid.Parse(r.place)
	if err != nil {
		return uuid.Nil, fmt.Errorf("the place of the scrub: %w", err)
	}
	return id, nil
}

type finding struct {
	id            uuid.UUID
	kind, subject string
}

// lookAtFindings looks again at what was found before.
func (r *run) lookAtFindings(ctx context.Context) (int, error) {
	after, err := r.after()
	if err != nil {
		return 0, err
	}
	var found []finding
	err = r.DB.Each(ctx, func(rows database.Rows) error {
		var f finding
		err := rows.Scan(&f.id, &f.kind, &f.subject)
		found = append(found, f)
		return err
	}, openFindings, after, r.id, int64(r.Batch))
	if err != nil {
		return 0, fmt.Errorf("list findings: %w", err)
	}
	for _, f := range found {
		if f.kind == KindManifest {
			err = r.lookAtManifestAgain(ctx, f.subject)
		} else {
			err = r.lookAtBlobAgain(ctx, f.subject)
		}
		if err != nil {
			return 0, err
		}
		if err := r.passed(ctx, f.id.String()); err != nil {
			return 0, err
		}
	}
	return len(found), nil
}

func (r *run) lookAtBlobAgain(ctx context.Context, subject string) error {
	if err := r.end(ctx, endFormer, subject, OutcomeGone); err != nil {
		return err
	}
	var id uuid.UUID
	err := r.DB.QueryRow(ctx, blobByDigest, subject).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up a blob: %w", err)
	}
	return r.lookAtBlob(ctx, id)
}

// lookAtBlobs looks at the next blobs.
func (r *run) lookAtBlobs(ctx context.Context) (int, error) {
	after, err := r.after()
	if err != nil {
		return 0, err
	}
	var ids []uuid.UUID
	err = r.DB.Each(ctx, func(rows database.Rows) error {
		var id uuid.UUID
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, blobsAfter, after, r.id, int64(r.Batch))
	if err != nil {
		return 0, fmt.Errorf("list blobs: %w", err)
	}
	for _, id := range ids {
		if r.chosen(id.String()) {
			if err := r.lookAtBlob(ctx, id); err != nil {
				return 0, err
			}
		}
		r.figures.Passed++
		if err := r.passed(ctx, id.String()); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// passed moves the place on.
func (r *run) passed(ctx context.Context, place string) error {
	r.place = place
	return r.checkpoint(ctx)
}

// lookAtBlob looks at a blob, and does what follows.
func (r *run) lookAtBlob(ctx context.Context, id uuid.UUID) error {
	b, found, result, err := r.look(ctx, id)
	if err != nil {
		return err
	}
	same := true
	switch result {
	case whole:
		r.figures.Blobs++
		r.inRow.unread, r.inRow.missing = 0, 0
		if !b.quarantined {
			return nil
		}
		if same, err = r.acquit(ctx, b); same && err == nil {
			r.figures.Recovered++
		}
	case damaged:
		r.figures.Blobs++
		same, err = r.convict(ctx, b, found)
	case unread:
		r.figures.Unread++
		if r.inRow.unread++; r.inRow.unread >= maxUnread {
			err = errUnread
		}
	case changed:
		same = false
	case gone:
	}
	if !same {
		r.figures.Changed++
	}
	return err
}

// convict quarantines a blob, unless it is one of so many that it must be the storage as a whole.
func (r *run) convict(ctx context.Context, b blob, d *damage) (bool, error) {
	r.inRow.unread = 0
	if d.kind != KindMissing || b.quarantined {
		r.inRow.missing = 0
	} else if r.inRow.missing++; r.inRow.missing > maxMissing && !r.expectLosses {
		return true, errMissing
	}
	same, err := r.condemn(ctx, b, d, r.id)
	if same && err == nil {
		r.figures.add(d.figure())
	}
	return same, err
}

// firstManifest is before all others.
const firstManifest = "00000000-0000-0000-0000-000000000000 "

type manifest struct {
	repository uuid.UUID
	digest     digest.Digest
	content    []byte // nil where it is large
}

func (m manifest) place() string { return m.repository.String() + " " + string(m.digest) }

// lookAtManifests looks at the next manifests, the deleted ones included.
func (r *run) lookAtManifests(ctx context.Context) (int, error) {
	place := r.place
	if place == "" {
		place = firstManifest
	}
	repository, after, _ := strings.Cut(place, " ")
	var listed []manifest
	err := r.DB.Each(ctx, func(rows database.Rows) error {
		var m manifest
		var text string
		err := rows.Scan(&m.repository, &text, &m.content)
		m.digest = digest.Digest(text)
		listed = append(listed, m)
		return err
	}, manifestsAfter, repository, after, int64(r.Batch))
	if err != nil {
		return 0, fmt.Errorf("list manifests: %w", err)
	}
	for _, m := range listed {
		if r.chosen(m.place()) {
			if err := r.lookAtManifest(ctx, m); err != nil {
				return 0, err
			}
		}
		if err := r.passed(ctx, m.place()); err != nil {
			return 0, err
		}
	}
	return len(listed), nil
}

// lookAtManifest holds a manifest against its digest. One that is wrong is read again, for it may have been healed.
func (r *run) lookAtManifest(ctx context.Context, m manifest) error {
	r.figures.Manifests++
	content, where, err := m.content, "", error(nil)
	if content == nil || !has(content, m.digest) {
		content, where, err = r.manifestContent(ctx, m.place())
	}
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	r.figures.Bytes += int64(len(content))
	if err := r.pay(ctx, len(content)); err != nil || has(content, m.digest) {
		return err
	}
	r.figures.DamagedManifests++
	b := &database.Batch{}
	r.note(b, Finding{
		Run: r.id, Kind: KindManifest, Digest: m.digest, Size: int64(len(content)), Detail: "a manifest of " + where + " has other bytes",
	}, m.place())
	if err := r.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("note a manifest: %w", err)
	}
	r.Logger.ErrorContext(ctx, "a manifest is damaged", slog.String("digest", string(m.digest)), slog.String("repository", where))
	return nil
}

// lookAtManifestAgain is about a finding, whose subject is the manifest's place. That it is damaged still, the walk will say.
func (r *run) lookAtManifestAgain(ctx context.Context, subject string) error {
	content, _, err := r.manifestContent(ctx, subject)
	if errors.Is(err, database.ErrNoRows) {
		return r.end(ctx, endFindings, subject, OutcomeGone)
	}
	if err != nil {
		return err
	}
	if _, d, _ := strings.Cut(subject, " "); !has(content, digest.Digest(d)) {
		return nil
	}
	r.figures.Recovered++
	return r.end(ctx, endFindings, subject, OutcomeRecovered)
}

func (r *run) manifestContent(ctx context.Context, place string) (content []byte, where string, err error) {
	repository, d, _ := strings.Cut(place, " ")
	var path, slug string
	if err := r.DB.QueryRow(ctx, manifestOf, repository, d).Scan(&content, &path, &slug); err != nil {
		return nil, "", fmt.Errorf("read a manifest: %w", err)
	}
	return content, strings.TrimSuffix(slug+"/"+path, "/"), nil
}

func has(content []byte, d digest.Digest) bool { return digests.Sum(digests.Of(d), content) == d }
