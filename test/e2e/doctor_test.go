package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/doctor"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/storeurl"
	"github.com/berthregistry/berth/internal/testenv"
)

// examined is what berth doctor said.
type examined struct {
	t        *testing.T
	code     int
	output   string
	Healthy  bool
	Findings []doctor.Finding
}

// examine runs berth doctor with settings; arguments begin with "--".
func examine(t *testing.T, program string, settings ...string) examined {
	t.Helper()
	args := []string{"doctor", "--output=json", "--min-free=1KiB"} // whatever the disks of this machine have
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir, cmd.Env = t.TempDir(), os.Environ()
	for _, setting := range settings {
		if strings.HasPrefix(setting, "--") {
			args = append(args, setting)
		} else {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	cmd.Args = append(cmd.Args, args...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	result := examined{t: t}
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		result.code = exit.ExitCode()
	}
	result.output = out.String() + complaints.String()
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatalf("no report: %v\n%s", err, result.output)
	}
	return result
}

// of lists the findings of a check.
func (e examined) of(check string) []doctor.Finding {
	var found []doctor.Finding
	for _, f := range e.Findings {
		if f.Check == check {
			found = append(found, f)
		}
	}
	return found
}

// finds fails the test unless a check has a finding of a level whose text says something, with what to do about it, and
// unless the exit code fits.
func (e examined) finds(check string, level doctor.Level, says string) {
	e.t.Helper()
	found := false
	for _, f := range e.of(check) {
		found = found || f.Level == level && strings.Contains(f.Says, says) && (level == doctor.OK) == (f.Do == "")
	}
	if !found {
		e.t.Errorf("%s: no %s that says %q:\n%s", check, level, says, e.output)
	}
	if level == doctor.Failure && e.code != 1 {
		e.t.Errorf("%s: exit code %d", check, e.code)
	}
}

// local are settings of a database and a storage, without a server.
func (b backends) local() []string {
	return []string{"BERTH_DATABASE_URL=" + b.database, "BERTH_STORAGE_URL=" + b.storage, "--local"}
}

// prepare makes the database and the storage as a start would.
func (b backends) prepare(t *testing.T, statements ...string) backends {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{URL: b.database})
	must(t, err)
	_, err = db.Migrate(t.Context())
	must(t, err)
	for _, statement := range statements {
		must(t, db.Gorm().Exec(statement).Error)
	}
	must(t, db.Close())
	store, err := storeurl.Open(t.Context(), b.storage, storeurl.Options{})
	must(t, err)
	must(t, store.Close())
	return b
}

// testDoctor examines servers with which nothing is wrong, and then one fault after the other.
func testDoctor(t *testing.T, program string) {
	t.Parallel()
	t.Run("healthy sqlite+folder", func(t *testing.T) {
		t.Parallel()
		testHealthy(t, program, embedded(t))
	})
	t.Run("healthy postgres+s3", func(t *testing.T) {
		t.Parallel()
		durable := testenv.PostgresServer(t, "fsync=on", "full_page_writes=on")
		testHealthy(t, program, backends{database: durable.URL(t), storage: testenv.S3(t), chunk: 5 << 20})
	})
	t.Run("settings", func(t *testing.T) { t.Parallel(); testDoctorSettings(t, program) })
	t.Run("files", func(t *testing.T) { t.Parallel(); testDoctorFiles(t, program) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); testDoctorPostgres(t, program) })
	t.Run("s3", func(t *testing.T) { t.Parallel(); testDoctorBucket(t, program) })
	t.Run("way", func(t *testing.T) { t.Parallel(); testDoctorWay(t, program) })
	t.Run("schema", func(t *testing.T) {
		t.Parallel()
		each(t, func(t *testing.T, b backends) { testDoctorSchema(t, program, b) })
	})
}

// placeOf are checks that tell of the machine on which the tests run.
func placeOf(check string) bool {
	return strings.HasSuffix(check, ".disk") || check == "storage.spool"
}

func testHealthy(t *testing.T, program string, b backends) {
	c := startChild(t, program, b, "BERTH_PUBLIC_URL=")
	e := examine(t, program, "BERTH_DATABASE_URL="+b.database, "BERTH_STORAGE_URL="+b.storage, "BERTH_PUBLIC_URL="+c.base,
		"BERTH_ADMIN_TOKEN="+adminToken)
	for _, f := range e.Findings {
		if f.Level != doctor.OK && !placeOf(f.Check) {
			t.Errorf("%+v", f)
		}
	}
	for _, check := range []string{
		"config.invalid", "database.reach", "database.latency", "clock.database", "database.schema", "storage.reach", "storage.write",
		"storage.read", "storage.range", "storage.list", "storage.copy", "storage.delete", "clock.server", "client.challenge", "client.token",
		"proxy.location", "proxy.forwarded", "proxy.spoof", "proxy.body",
	} {
		e.finds(check, doctor.OK, "")
	}
	if strings.Contains(e.output, adminToken) || strings.Contains(e.output, os.Getenv("AWS_SECRET_ACCESS_KEY")) && os.Getenv("AWS_SECRET_ACCESS_KEY") != "" {
		t.Error("a secret is shown")
	}
	wantEmpty(t, b)
}

// wantEmpty fails the test if the storage holds an object of today.
func wantEmpty(t *testing.T, b backends) {
	t.Helper()
	store, err := storeurl.Open(t.Context(), b.storage, storeurl.Options{})
	must(t, err)
	defer func() { _ = store.Close() }()
	for _, day := range []time.Time{time.Now().UTC(), time.Now().UTC().Add(-time.Minute)} {
		must(t, store.List(t.Context(), day.Format(time.DateOnly)+"/", func(o storage.Object) error {
			t.Errorf("the probe left %s", o.Key)
			return nil
		}))
	}
}

func testDoctorSettings(t *testing.T, program string) {
	b := embedded(t).prepare(t)
	e := examine(t, program, append(b.local(), "BERTH_CHUNK_SIZE=16MB", "BERTH_PUBLIC_URL=registry")...)
	e.finds("config.invalid", doctor.Failure, "BERTH_CHUNK_SIZE")
	e.finds("config.invalid", doctor.Failure, "BERTH_PUBLIC_URL")
	e.finds("database.reach", doctor.OK, "") // what is not in doubt is looked at all the same

	doubtful := append(b.local(), "BERTH_TOKEN_TTL=30s")
	e = examine(t, program, doubtful...)
	e.finds("config.doubtful", doctor.Warning, "BERTH_TOKEN_TTL")
	if e.code != 0 && len(e.of("storage.disk")) > 0 && e.of("storage.disk")[0].Level == doctor.OK {
		t.Errorf("exit code %d for a warning", e.code)
	}
	if e = examine(t, program, append(doubtful, "--strict")...); e.code != 1 || e.Healthy {
		t.Errorf("strict: exit code %d, healthy %t", e.code, e.Healthy)
	}
}

func testDoctorSchema(t *testing.T, program string, b backends) {
	b.prepare(t, "DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)",
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
	e := examine(t, program, b.local()...)
	e.finds("database.schema", doctor.Warning, "1 migrations are pending")
	e.finds("database.schema", doctor.Warning, "[9999]")
	examine(t, program, append(b.local(), "BERTH_MIGRATE=false")...).finds("database.schema", doctor.Failure, "1 migrations are pending")
}
