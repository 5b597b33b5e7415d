package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/storeurl"
	"github.com/berthregistry/berth/internal/testenv"
)

// eager are settings of a server that gives everything back at once.
var eager = []string{"BERTH_TRASH_TTL=1ms", "BERTH_SWEEP_DELAY=1ms", "BERTH_GC_INTERVAL=100ms", "BERTH_GC_LOAD=100", "BERTH_GC_COMPACT_CHUNKS=1"}

// testBackup does what docs/backup.md says while pushes go on, deletes what was backed up, and restores it.
func testBackup(t *testing.T, program string, b backends) {
	refusesAnEmptyDatabase(t, program, b)
	before := startChild(t, program, b, eager...)
	backedUp := map[string][]byte{} // by repository
	for i := range 3 {
		repo := fmt.Sprintf("kept/app-%d", i)
		backedUp[repo] = content(b.chunk*i + 1000 + i) // of up to three chunks, which are compacted meanwhile
		before.artifact(repo, backedUp[repo])
	}
	stop, pushed := make(chan struct{}), make(chan int, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				pushed <- i
				return
			default:
				pushMeanwhile(t, before.wire, content(2000+i))
			}
		}
	}()

	berth(t, program, b, "backup", "hold", "--for=1h")
	copied := copyDatabase(t, program, b)
	for repo := range backedUp { // between the two halves of the backup, and gone from the database before the second
		before.want(http.StatusAccepted, http.MethodDelete, "/v2/"+repo+"/manifests/"+before.want(http.StatusOK, http.MethodHead,
			"/v2/"+repo+"/manifests/latest", nil).header.Get("Docker-Content-Digest"), nil)
	}
	before.artifact("later/app", content(5000))
	waitFor(t, b, `SELECT count(*) FROM blobs WHERE digest = '`+digest.FromBytes(backedUp["kept/app-0"]).String()+`'`, 0)
	restored := copied
	restored.storage = copyStorage(t, b)
	berth(t, program, b, "backup", "release")
	waitFor(t, b, `SELECT count(*) FROM doomed_objects`, 0)
	close(stop)
	if n := <-pushed; n == 0 {
		t.Error("nothing was pushed meanwhile")
	}
	before.terminate()
	before.wantOrderlyEnd()

	report := berth(t, program, restored, "scrub", "--output=json")
	var found struct{ Blobs, Missing, Damaged, Manifests int }
	must(t, json.Unmarshal(report, &found))
	if found.Blobs < len(backedUp) || found.Manifests < len(backedUp) || found.Missing+found.Damaged != 0 {
		t.Errorf("the scrub of what was restored: %s", report)
	}
	after := startChild(t, program, restored, "BERTH_GC_ENABLED=false")
	for repo, blob := range backedUp {
		after.want(http.StatusOK, http.MethodGet, "/v2/"+repo+"/manifests/latest", nil)
		after.readBlob(repo, specs.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))})
	}
	after.want(http.StatusNotFound, http.MethodGet, "/v2/later/app/manifests/latest", nil)
	after.artifact("later/app", content(5000))
}

// artifact pushes an artifact of one blob as latest.
func (c *child) artifact(repo string, blob []byte) {
	d := c.describe(repo, "application/vnd.example", blob)
	c.pushManifest(repo, "latest", specs.MediaTypeImageManifest, encode(c.t, artifactOf(d)))
}

// pushMeanwhile is artifact for goroutines: it does not end the test.
func pushMeanwhile(t *testing.T, w wire, blob []byte) {
	t.Helper()
	d := specs.Descriptor{MediaType: "application/vnd.example", Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	begun, err := w.try(http.MethodPost, "/v2/meanwhile/app/blobs/uploads/", nil)
	expect(t, http.StatusAccepted, begun, err)
	a, err := w.try(http.MethodPut, query(begun.location(), "digest", d.Digest.String()), blob)
	expect(t, http.StatusCreated, a, err)
	manifest, err := json.Marshal(artifactOf(d))
	if err != nil {
		t.Error(err)
	}
	a, err = w.try(http.MethodPut, "/v2/meanwhile/app/manifests/latest", manifest, "Content-Type", specs.MediaTypeImageManifest)
	expect(t, http.StatusCreated, a, err)
}

// berth runs a command of the program and returns what it says.
func berth(t *testing.T, program string, b backends, arguments ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, arguments...)
	cmd.Env = append(os.Environ(), "BERTH_DATABASE_URL="+b.database, "BERTH_STORAGE_URL="+b.storage, "BERTH_LOG_LEVEL=warn")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s\n%s", arguments, err, out, errorOutput(err))
	}
	return out
}

// refusesAnEmptyDatabase runs what works beside servers where no server has been.
func refusesAnEmptyDatabase(t *testing.T, program string, b backends) {
	t.Helper()
	const says = "has no schema: neither berth migrate nor berth serve has been run there"
	if file, ok := strings.CutPrefix(b.database, "sqlite:"); ok {
		must(t, os.WriteFile(file, nil, 0o600))
	}
	for _, arguments := range [][]string{
		{"backup", "hold", "--for=1h"}, {"gc"}, {"scrub"}, {"user", "create", "--email=ci@example.com"},
	} {
		cmd := exec.CommandContext(t.Context(), program, arguments...)
		cmd.Env = append(os.Environ(), "BERTH_DATABASE_URL="+b.database, "BERTH_STORAGE_URL="+b.storage)
		out, err := cmd.Output()
		complaints := string(errorOutput(err))
		if cmd.ProcessState.ExitCode() != 2 || len(out) > 0 || !strings.HasPrefix(complaints, "berth: BERTH_DATABASE_URL: ") || !strings.Contains(complaints, says) {
			t.Errorf("%v on an empty database: %v\n%s%s", arguments, err, out, complaints)
		}
	}
}

func errorOutput(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // of Output, as it is
		return exit.Stderr
	}
	return nil
}

// copyDatabase is the first half of a backup, and its restoration.
func copyDatabase(t *testing.T, program string, b backends) backends {
	t.Helper()
	restored := b
	if strings.HasPrefix(b.database, "sqlite:") {
		file := filepath.Join(t.TempDir(), "restored.db")
		berth(t, program, b, "backup", "database", "--to="+file)
		restored.database = "sqlite:" + file
		return restored
	}
	restored.database = testenv.Postgres(t)
	dump := filepath.Join(t.TempDir(), "berth.dump")
	tool := testenv.PostgresProgram(t, "pg_dump")
	for _, command := range [][]string{
		{tool, "--format=custom", "--file=" + dump, b.database},
		{testenv.PostgresProgram(t, "pg_restore"), "--no-owner", "--exit-on-error", "--dbname=" + restored.database, dump},
	} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	return restored
}

// copyStorage is the second half: all objects, whatever they are, into another folder or another prefix of the bucket.
func copyStorage(t *testing.T, b backends) string {
	t.Helper()
	to := "file:" + filepath.Join(t.TempDir(), "restored")
	if !strings.HasPrefix(b.storage, "file:") {
		u, err := url.Parse(b.storage)
		must(t, err)
		u.Path = strings.TrimSuffix(u.Path, "/") + "/restored"
		to = u.String()
	}
	source, target := openStore(t, b.storage), openStore(t, to)
	for day := -1; day <= 1; day++ {
		must(t, source.List(t.Context(), time.Now().UTC().AddDate(0, 0, day).Format(time.DateOnly)+"/", func(o storage.Object) error {
			return copyObject(t.Context(), source, target, o)
		}))
	}
	return to
}

func copyObject(ctx context.Context, source, target storage.Store, o storage.Object) error {
	r, err := source.Open(ctx, o.Key, 0, o.Size)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	w, err := target.Create(ctx, o.Key, o.Size)
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	return w.Commit(ctx)
}

func openStore(t *testing.T, at string) storage.Store {
	t.Helper()
	store, err := storeurl.Open(t.Context(), at, storeurl.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return store
}

// waitFor waits until a count in the database is as wanted. Links that no manifest needs are due at once meanwhile.
func waitFor(t *testing.T, b backends, query string, want int64) {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{URL: b.database})
	must(t, err)
	defer func() { must(t, db.Close()) }()
	due := `UPDATE repository_blobs SET keep_until = 0 WHERE repository_id IN (
		SELECT r.id FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.slug = 'kept') AND keep_until > 0`
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		must(t, db.Gorm().Exec(due).Error)
		var n int64
		must(t, db.Gorm().Raw(query).Row().Scan(&n))
		if n == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: still %d", query, n)
		}
	}
}
