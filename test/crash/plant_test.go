package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/test/crash/history"
)

// planted is something that was broken at rest, and how a check tells of it.
type planted struct{ what, about, problem string }

const unexplained = "no order of what was acknowledged explains the answers"

// testWhatIsPlanted breaks one thing for each promise, behind the back of a registry that has kept them all, and wants
// each to be found.
func testWhatIsPlanted(t *testing.T, program string) {
	t.Helper()
	o := options{backend: backendSQLite, duration: time.Minute, seed: rand.Uint64(), workers: 6, round: 3, collect: true, program: program}
	h, err := newHarness(t, o, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	var all []planted
	h.plant = func(ctx context.Context, a *audit) error {
		if len(h.violations) > 0 {
			return fmt.Errorf("something is wrong already: %v", h.violations)
		}
		if n, err := a.count(ctx, enough, strings.TrimPrefix(a.roundRepos(), "crash/")+"%"); err != nil || n < 2 {
			return err // another round
		}
		for _, plant := range []func(context.Context, *audit) ([]planted, error){
			plantLostBlob, plantLostManifest, plantStaleTag, plantReturn, plantOrphan, plantLostObject, plantWrongLedger,
		} {
			found, err := plant(ctx, a)
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
		return nil
	}
	if err := h.run(t.Context()); err != nil {
		t.Fatalf("seed %d: %v", o.seed, err)
	}
	for _, p := range all {
		if !p.foundIn(h.violations) {
			t.Errorf("seed %d: %s was not found: %q about %q", o.seed, p.what, p.problem, p.about)
		}
	}
	if len(all) == 0 || t.Failed() {
		t.Errorf("%d were planted, %d violations found: %v", len(all), len(h.violations), h.violations)
	}
}

func (p planted) foundIn(violations []history.Violation) bool {
	for _, v := range violations {
		if strings.Contains(v.About, p.about) && strings.Contains(v.Problem, p.problem) {
			return true
		}
	}
	return false
}

// choose runs a query that finds repositories and what is in them, and gives the first of this round that nothing is in
// doubt about: what earlier rounds left is not read again before the end of the run.
func (a *audit) choose(ctx context.Context, kind history.Kind, find database.Stmt) (repo, name string, r history.Register, err error) {
	var all [][2]string
	err = a.db.Each(ctx, func(row database.Rows) error {
		var one [2]string
		err := row.Scan(&one[0], &one[1])
		all = append(all, one)
		return err
	}, find)
	for _, one := range all {
		if err != nil {
			break
		}
		if r, err = a.register(ctx, kind, one[0], one[1]); err == nil && strings.HasPrefix(r.Repo, a.roundRepos()) && !a.h.log.Doubted(r) {
			return one[0], one[1], r, nil
		}
	}
	return "", "", r, errors.Join(err, errors.New("nothing to break is beyond doubt"))
}

// roundRepos is what the names of the repositories of this round begin with.
func (a *audit) roundRepos() string { return fmt.Sprintf("crash/round-%d/", len(a.h.finals)) }

// change runs a statement on what a query finds. A client has seen it right before.
func (a *audit) change(ctx context.Context, kind history.Kind, find, do database.Stmt) (one, two string, err error) {
	one, two, register, err := a.choose(ctx, kind, find)
	if err != nil {
		return "", "", err
	}
	step := history.Step{Register: register, Do: history.Seen}
	if kind == history.Tag {
		step.Do = history.Read
		if err := a.db.QueryRow(ctx, tagDigest, one, two).Scan(&step.Value); err != nil {
			return "", "", fmt.Errorf("read a tag: %w", err)
		}
	}
	op := a.h.log.Begin(history.Op{Worker: -1, What: "GET, planted"})
	op.Outcome, op.Steps = history.Done, []history.Step{step}
	a.h.log.End(op)
	b := &database.Batch{}
	b.Exec(do, one, two)
	if err := a.db.Run(ctx, b); err != nil {
		return "", "", fmt.Errorf("break it: %w", err)
	}
	return one, two, nil
}

// enough is how many repositories have tagged manifests to choose from.
var enough = database.SQL(`
	SELECT count(*) FROM repositories r WHERE r.path LIKE {pattern:$1} AND
		(SELECT count(*) FROM manifests m WHERE m.repository_id = r.id AND m.deleted_at IS NULL) > 5 AND
		(SELECT count(*) FROM tags t WHERE t.repository_id = r.id AND t.deleted_at IS NULL) > 1`)

const never = `deleted_at = 1, purge_after = 9000000000000000`

var (
	neededBlob = database.SQL(`
		SELECT l.repository_id, l.digest FROM repository_blobs l
		JOIN manifest_blobs mb ON mb.repository_id = l.repository_id AND mb.blob_digest = l.digest
		JOIN manifests m ON m.repository_id = mb.repository_id AND m.digest = mb.manifest_digest AND m.deleted_at IS NULL
		WHERE l.deleted_at IS NULL ORDER BY l.digest`)
	hideBlob = database.SQL(`UPDATE repository_blobs SET ` + never + ` WHERE repository_id = $1 AND digest = $2`)
	// liveManifest is none of those whose blob was hidden.
	liveManifest = database.SQL(`
		SELECT m.repository_id, m.digest FROM manifests m
		JOIN tags t ON t.repository_id = m.repository_id AND t.digest = m.digest AND t.deleted_at IS NULL
		WHERE m.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM manifest_blobs mb
			JOIN repository_blobs l ON l.repository_id = mb.repository_id AND l.digest = mb.blob_digest AND l.deleted_at IS NOT NULL
			WHERE mb.repository_id = m.repository_id AND mb.manifest_digest = m.digest)
		ORDER BY m.digest`)
	tagDigest    = database.SQL(`SELECT digest FROM tags WHERE repository_id = $1 AND name = $2`)
	hideManifest = database.SQL(`UPDATE manifests SET ` + never + ` WHERE repository_id = $1 AND digest = $2`)
	liveTag      = database.SQL(`
		SELECT t.repository_id, t.name FROM tags t
		JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest AND m.deleted_at IS NULL
		WHERE t.deleted_at IS NULL AND EXISTS (SELECT 1 FROM manifests o
			WHERE o.repository_id = t.repository_id AND o.digest <> t.digest AND o.deleted_at IS NULL)
		ORDER BY t.digest DESC`)
	moveTag = database.SQL(`
		UPDATE tags SET digest = (SELECT o.digest FROM manifests o
			WHERE o.repository_id = tags.repository_id AND o.digest <> tags.digest AND o.deleted_at IS NULL LIMIT 1)
		WHERE repository_id = $1 AND name = $2`)
	repoOf = database.SQL(`SELECT p.slug, r.path FROM repositories r JOIN projects p ON p.id = r.project_id WHERE r.id = $1`)
	// visibleBlob is one that a client reads at rest.
	visibleBlob = database.SQL(`
		SELECT l.repository_id, l.digest FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id
		JOIN manifest_blobs mb ON mb.repository_id = l.repository_id AND mb.blob_digest = l.digest
		JOIN manifests m ON m.repository_id = mb.repository_id AND m.digest = mb.manifest_digest AND m.deleted_at IS NULL
		WHERE b.size > 0 AND l.deleted_at IS NULL ORDER BY l.digest DESC`)
	objectOf = database.SQL(`
		SELECT c.object_key FROM chunks c JOIN repository_blobs l ON l.blob_id = c.owner_id
		WHERE l.repository_id = $1 AND l.digest = $2 LIMIT 1`)
	anyManifest = database.SQL(`
		SELECT repository_id, digest FROM manifests WHERE deleted_at IS NULL ORDER BY digest DESC`)
	wrongTotals = database.SQL(`UPDATE usage_totals SET bytes = bytes + 1`)
	wrongDeltas = database.SQL(`UPDATE usage_deltas SET bytes = bytes + 1`)
)

func plantLostBlob(ctx context.Context, a *audit) ([]planted, error) {
	_, blob, err := a.change(ctx, history.Blob, neededBlob, hideBlob)
	return []planted{
		{"a lost blob", blob, unexplained},
		{"a dangling manifest", "", "a live manifest with a blob that is hidden"},
	}, err
}

func plantLostManifest(ctx context.Context, a *audit) ([]planted, error) {
	_, manifest, err := a.change(ctx, history.Manifest, liveManifest, hideManifest)
	return []planted{
		{"a lost manifest", manifest, unexplained},
		{"a tag of a manifest that is not there", "", "a live tag of a manifest that is deleted"},
	}, err
}

func plantStaleTag(ctx context.Context, a *audit) ([]planted, error) {
	repo, tag, err := a.change(ctx, history.Tag, liveTag, moveTag)
	if err != nil {
		return nil, err
	}
	register, err := a.register(ctx, history.Tag, repo, tag)
	return []planted{{"a stale tag", register.String(), unexplained}}, err
}

// plantReturn is about a manifest whose deletion was acknowledged, and that is there.
func plantReturn(ctx context.Context, a *audit) ([]planted, error) {
	_, digest, register, err := a.choose(ctx, history.Manifest, anyManifest)
	if err != nil {
		return nil, err
	}
	op := a.h.log.Begin(history.Op{Worker: -1, What: "DELETE manifest, planted"})
	op.Outcome, op.Steps = history.Done, []history.Step{{Register: register, Do: history.Delete}}
	a.h.log.End(op)
	return []planted{{"a manifest that is back", digest, unexplained}}, nil
}

// register names what a client knows by a repository's name.
func (a *audit) register(ctx context.Context, kind history.Kind, id, name string) (history.Register, error) {
	var slug, path string
	if err := a.db.QueryRow(ctx, repoOf, id).Scan(&slug, &path); err != nil {
		return history.Register{}, fmt.Errorf("find the repository: %w", err)
	}
	repo := slug
	if path != "" {
		repo += "/" + path
	}
	return history.Register{Kind: kind, Repo: repo, Name: name}, nil
}

func plantOrphan(ctx context.Context, a *audit) ([]planted, error) {
	key := time.Now().UTC().Format(time.DateOnly) + "/planted/object"
	w, err := a.store.Create(ctx, key, -1)
	if err != nil {
		return nil, fmt.Errorf("plant an object: %w", err)
	}
	_, err = io.WriteString(w, "planted")
	if err == nil {
		err = w.Commit(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("plant an object: %w", err)
	}
	return []planted{{"an object without a row", key, "no row names it"}}, nil
}

func plantLostObject(ctx context.Context, a *audit) ([]planted, error) {
	repo, blob, _, err := a.choose(ctx, history.Blob, visibleBlob)
	if err != nil {
		return nil, err
	}
	var key string
	if err := a.db.QueryRow(ctx, objectOf, repo, blob).Scan(&key); err != nil {
		return nil, fmt.Errorf("find an object: %w", err)
	}
	if err := a.store.Delete(ctx, key); err != nil {
		return nil, fmt.Errorf("lose an object: %w", err)
	}
	return []planted{{"a row without its object", key, ""}, {"a blob that cannot be read", blob, ""}}, nil
}

func plantWrongLedger(ctx context.Context, a *audit) ([]planted, error) {
	b := &database.Batch{}
	b.Exec(wrongTotals)
	b.Exec(wrongDeltas)
	if err := a.db.Run(ctx, b); err != nil {
		return nil, fmt.Errorf("falsify the ledger: %w", err)
	}
	return []planted{{"a wrong ledger", "project", "its ledger says"}}, nil
}
