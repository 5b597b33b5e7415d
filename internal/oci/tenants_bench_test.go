package oci_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocitest"
	"github.com/berthregistry/berth/internal/rbac"
)

const (
	fewProjects, manyProjects = 10, 1_000_000
	// tenantsBound is how much longer anything may take with many projects than with few.
	tenantsBound = 1.3
	// enoughRounds is from how many measurements on the bound is held.
	enoughRounds = 500
)

// BenchmarkTenants compares what a request costs with few projects in the database and with many.
func BenchmarkTenants(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *ocitest.Env{database.SQLite: ocitest.Embedded, database.Postgres: ocitest.Servers} {
		b.Run(name, func(b *testing.B) {
			few, many := newTown(b, open(b), fewProjects), newTown(b, open(b), manyProjects)
			b.Run("decision", func(b *testing.B) { compare(b, tenantsBound, few.decide, many.decide) })
			b.Run("manifest", func(b *testing.B) { compare(b, tenantsBound, few.pull, many.pull) })
			// What nobody has asked about for long is in no cache of the processor or the database: this has no bound.
			b.Run("decision about any", func(b *testing.B) { compare(b, math.Inf(1), few.decideAny, many.decideAny) })
		})
	}
}

// compare takes turns, so that what else the machine does hits both.
func compare(b *testing.B, bound float64, few, many func(testing.TB)) {
	var times [2][]time.Duration
	for b.Loop() {
		for i, do := range []func(testing.TB){few, many} {
			begun := time.Now()
			do(b)
			times[i] = append(times[i], time.Since(begun))
		}
	}
	medians := [2]float64{}
	for i := range times {
		slices.Sort(times[i])
		medians[i] = float64(times[i][len(times[i])/2].Nanoseconds())
	}
	ratio := medians[1] / medians[0]
	b.ReportMetric(0, "ns/op") // of both together
	b.ReportMetric(medians[0], "ns/few")
	b.ReportMetric(medians[1], "ns/many")
	b.ReportMetric(ratio, "ratio")
	if len(times[0]) >= enoughRounds && ratio > bound {
		b.Errorf("with %d projects it takes %.2f times as long as with %d, want at most %.1f", manyProjects, ratio, fewProjects, bound)
	}
}

// town is a registry with a number of projects, each with an owner and a robot.
type town struct {
	size   int
	cold   *ocitest.Replica // forgets everything at once
	warm   *ocitest.Replica
	policy *rbac.Enforcer
	robot  *ocitest.Client
	name   string // of a repository with an image
}

// newTown fills an empty database.
func newTown(b *testing.B, env *ocitest.Env, size int) *town {
	b.Helper()
	warm := env.Replica(b, ocitest.Options{})
	fill(b, env.DB, size)
	policy, err := rbac.New(rbac.Options{})
	if err != nil {
		b.Fatal(err)
	}
	w := &town{size: size, cold: env.Replica(b, ocitest.Options{CacheTTL: time.Nanosecond}), warm: warm, policy: policy}
	slug := fmt.Sprintf("p-%d", size/2)
	w.name = slug + "/app"
	warm.Client.Image(w.name, "v1", []byte("a layer"))
	project, err := warm.Projects.Resolve(b.Context(), slug)
	if err != nil {
		b.Fatal(err)
	}
	secret, _, err := warm.Auth.CreateRobot(b.Context(), auth.NewRobot{
		ProjectID: project.ID, Name: "ci", CreatedBy: "test", Grants: &auth.Grants{Actions: []rbac.Action{rbac.Pull}},
	})
	if err != nil {
		b.Fatal(err)
	}
	w.robot = warm.Client.As(secret)
	return w
}

// decide asks about one of ten projects that are spread over all: as many are in use in a small town as in a large one.
func (w *town) decide(tb testing.TB) {
	w.decideAbout(tb, rand.IntN(fewProjects)*(w.size/fewProjects)+1)
}

func (w *town) decideAny(tb testing.TB) { w.decideAbout(tb, rand.IntN(w.size)+1) }

// decideAbout asks whether the owner of a project may push to it, with nothing remembered.
func (w *town) decideAbout(tb testing.TB, i int) {
	project, err := w.cold.Projects.Resolve(tb.Context(), fmt.Sprintf("p-%d", i))
	if err != nil {
		tb.Fatal(err)
	}
	role, err := w.cold.Projects.Role(tb.Context(), project.ID, ownerOf(i, w.size))
	if err != nil {
		tb.Fatal(err)
	}
	if !w.policy.Allow(rbac.Question{
		Kind: rbac.KindUser, Role: role, State: project.State, Visibility: project.Visibility, Action: rbac.Push,
	}) {
		tb.Fatalf("the %s of p-%d may not push", role, i)
	}
}

// pull gets a manifest by its tag with a robot's token, on a replica that has just seen both.
func (w *town) pull(tb testing.TB) {
	w.robot.With(tb).Want(http.StatusOK, http.MethodGet, manifestURL(w.name, "v1"), nil)
}

// usersOf is how many users own so many projects.
func usersOf(projects int) int { return max(1, projects/10) }

func ownerOf(project, projects int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("01900000-0000-7000-9000-%012x", project%usersOf(projects)+1))
}

// filling are the statements that fill a database, for each dialect with its way to count to $1 and to make identifiers.
// They are in the order of time, as UUIDv7 are.
func filling(dialect string) []string {
	count, id, secret := `FROM generate_series(1, $1::bigint) AS n(i)`,
		func(group, i string) string {
			return fmt.Sprintf(`('01900000-0000-7000-%s-' || lpad(to_hex(%s), 12, '0'))::uuid`, group, i)
		},
		`encode(sha256(i::text::bytea), 'hex')`
	if dialect == database.SQLite {
		count = `FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) SELECT i FROM n) AS n`
		id = func(group, i string) string {
			return fmt.Sprintf(`printf('01900000-0000-7000-%s-%%012x', %s)`, group, i)
		}
		secret = `lower(hex(randomblob(32)))`
	}
	owner := `(i % $2 + 1)`
	return []string{
		`INSERT INTO accounts (id, kind, name, created_at) SELECT ` + id("b000", "i") + `, 'personal', 'a', 1 ` + count,
		`INSERT INTO users (id, account_id, email, created_at, updated_at)
			SELECT ` + id("9000", "i") + `, ` + id("b000", "i") + `, 'user-' || i || '@example.org', 1, 1 ` + count,
		`INSERT INTO projects (id, account_id, slug, state, created_by, created_at, updated_at)
			SELECT ` + id("8000", "i") + `, ` + id("b000", owner) + `, 'p-' || i, 'active', 'test', 1, 1 ` + count,
		`INSERT INTO members (project_id, user_id, role, created_by, created_at)
			SELECT ` + id("8000", "i") + `, ` + id("9000", owner) + `, 'owner', 'test', 1 ` + count,
		`INSERT INTO tokens (id, kind, project_id, name, secret_hash, created_by, created_at)
			SELECT ` + id("a000", "i") + `, 'robot', ` + id("8000", "i") + `, 'ci', ` + secret + `, 'test', 1 ` + count,
	}
}

func fill(b *testing.B, db *database.DB, projects int) {
	b.Helper()
	begun := time.Now()
	for i, text := range filling(db.Dialect()) {
		args := []any{int64(projects), int64(usersOf(projects))}
		if i < 2 {
			args = []any{int64(usersOf(projects))}
		} else if i == 4 {
			args = args[:1]
		}
		runLong(b, db, text, args...)
	}
	if db.Dialect() == database.Postgres {
		runLong(b, db, `ANALYZE`) // as its autovacuum does sooner or later
	}
	b.Logf("%d projects after %s", projects, time.Since(begun).Round(time.Millisecond))
}

// runLong runs a statement that may take its time.
func runLong(b *testing.B, db *database.DB, text string, args ...any) {
	b.Helper()
	var batch database.Batch
	if db.Dialect() == database.Postgres {
		batch.Exec(database.SQL(`SET LOCAL statement_timeout = 0`))
	}
	batch.Exec(database.SQL(text), args...)
	if err := db.Run(context.WithoutCancel(b.Context()), &batch); err != nil {
		b.Fatalf("%v: %s", err, text)
	}
}
