package content

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// measurePause is how long nothing is looked for after everything is measured. A replica of an older version may go on
	// storing manifests as it does.
	measurePause = time.Hour
	// measuredAtOnce is how many manifests are in memory.
	measuredAtOnce = 20
)

var (
	// A manifest is measured once all of its children are: digests let no circle come up.
	listUnmeasured = database.SQL(`
		SELECT m.repository_id, m.digest, m.content FROM manifests m
		WHERE m.total_size IS NULL AND NOT EXISTS (SELECT 1 FROM manifest_children c
			JOIN manifests k ON k.repository_id = c.repository_id AND k.digest = c.child_digest AND k.total_size IS NULL
			WHERE c.repository_id = m.repository_id AND c.parent_digest = m.digest)
		ORDER BY m.repository_id, m.digest LIMIT {limit:$1}`)
	measure = database.SQL(`
		UPDATE manifests SET platforms = $3, total_size = (
			SELECT CASE WHEN held.bytes > 100000000000000 THEN 100000000000000 ELSE held.bytes END FROM (
				SELECT CAST(manifests.size
					+ coalesce((SELECT sum(b.size) FROM manifest_blobs mb
						JOIN repository_blobs l ON l.repository_id = mb.repository_id AND l.digest = mb.blob_digest
						JOIN blobs b ON b.id = l.blob_id
						WHERE mb.repository_id = $1 AND mb.manifest_digest = $2), 0)
					+ coalesce((SELECT sum(k.total_size) FROM manifest_children c
						JOIN manifests k ON k.repository_id = c.repository_id AND k.digest = c.child_digest
						WHERE c.repository_id = $1 AND c.parent_digest = $2 AND k.deleted_at IS NULL), 0) AS bigint) AS bytes) AS held)
		WHERE repository_id = $1 AND digest = $2 AND total_size IS NULL`)
	setPlatform = database.SQL(`
		UPDATE manifest_children SET platform = $3
		WHERE repository_id = $1 AND parent_digest = $2 AND child_digest IN (SELECT each.value FROM {each:$4})`)
)

// Measurer finds out, of manifests from before it was done at their push, what lists tell of them.
type Measurer struct{ store *Store }

// Measurer makes the store's Measurer.
func (s *Store) Measurer() *Measurer { return &Measurer{s} }

// Run measures until ctx ends. It returns nil: what fails is logged and tried again.
func (m *Measurer) Run(ctx context.Context) error {
	for {
		if err := m.Measure(ctx); err != nil && ctx.Err() == nil {
			m.store.Logger.WarnContext(ctx, "measure manifests", slog.String("error", err.Error()))
		}
		timer := time.NewTimer(measurePause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Measure measures all that is not. Any number of replicas may do so at once. Errors: the context's and the database's.
func (m *Measurer) Measure(ctx context.Context) error {
	for {
		page, err := m.unmeasured(ctx)
		if err != nil {
			return fmt.Errorf("list manifests to measure: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		b := &database.Batch{}
		for _, one := range page {
			one.measure(b)
		}
		if err := m.store.DB.Run(ctx, b); err != nil {
			return fmt.Errorf("measure manifests: %w", err)
		}
	}
}

type unmeasured struct {
	repository uuid.UUID
	digest     digest.Digest
	content    []byte
}

func (m *Measurer) unmeasured(ctx context.Context) ([]unmeasured, error) {
	rows, err := m.store.DB.Query(ctx, listUnmeasured, int64(measuredAtOnce))
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller
	}
	defer rows.Close()
	var page []unmeasured
	for rows.Next() {
		var one unmeasured
		if err := rows.Scan(&one.repository, scanDigest(&one.digest), &one.content); err != nil {
			return nil, err //nolint:wrapcheck // by the caller
		}
		page = append(page, one)
	}
	return page, rows.Err() //nolint:wrapcheck // by the caller
}

func (u unmeasured) measure(b *database.Batch) {
	m := NewManifest{Platforms: indexPlatforms(u.content)}
	for _, p := range m.Platforms {
		m.Children = append(m.Children, p.Child)
	}
	groups, order := m.byPlatform()
	for _, name := range order {
		if name != "" {
			b.Exec(setPlatform, u.repository, string(u.digest), name, database.Strings(groups[name]))
		}
	}
	b.Exec(measure, u.repository, string(u.digest), m.platforms())
}

// indexPlatforms reads the platforms of an index; what is none has none.
func indexPlatforms(content []byte) []Platform {
	var index struct {
		Manifests []struct {
			Digest   digest.Digest
			Platform struct{ OS, Architecture, Variant string }
		}
	}
	if json.Unmarshal(content, &index) != nil {
		return nil
	}
	var list []Platform
	for i := range index.Manifests {
		m := &index.Manifests[i]
		if m.Platform.OS == "" || m.Platform.Architecture == "" {
			continue
		}
		name := m.Platform.OS + "/" + m.Platform.Architecture
		if m.Platform.Variant != "" {
			name += "/" + m.Platform.Variant
		}
		list = append(list, Platform{Child: m.Digest, Name: name})
	}
	return list
}
