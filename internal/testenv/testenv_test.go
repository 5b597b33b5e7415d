package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
)

// childVariable makes this test binary the child of TestServersEndWithTheProcess.
const childVariable = "BERTH_TESTENV_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(run(serveUntilSignalled))
	}
	Main(m)
}

func TestPostgresGivesEachTestItsOwnDatabase(t *testing.T) {
	t.Parallel()
	first, second := Postgres(t), Postgres(t)
	if first == second {
		t.Fatalf("two tests got one database: %s", first)
	}
	query(t, first, "CREATE TABLE mine (id int)")
	query(t, second, "CREATE TABLE mine (id int)")
}

func TestPostgresDropsTheDatabase(t *testing.T) {
	t.Parallel()
	var database string
	t.Run("user", func(t *testing.T) {
		database = Postgres(t)
		connect(t, database) // stays open: a test may forget to close a pool
	})
	conn, err := pgx.Connect(t.Context(), database)
	if err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database outlived its test")
	}
}

func TestPostgresOnAServerThatRunsAlready(t *testing.T) {
	server := PostgresServer(t)
	t.Setenv(DatabaseURLVariable, server.URL(t))
	given, err := url.Parse(os.Getenv(DatabaseURLVariable))
	if err != nil {
		t.Fatal(err)
	}
	got, err := url.Parse(Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != given.Host || got.Path == given.Path {
		t.Errorf("got %s, want a database of its own on %s", got, given.Host)
	}
	query(t, got.String(), "SELECT 1")
}

func TestPostgresServerComesAndGoes(t *testing.T) {
	t.Parallel()
	server := PostgresServer(t, "max_connections=20")
	database := server.URL(t)
	query(t, database, "CREATE TABLE kept (id int)")
	if got := ask(t, database, "SHOW max_connections"); got != "20" {
		t.Errorf("max_connections is %s, want 20", got)
	}
	open := connect(t, database)

	server.Stop(t)
	if err := open.Ping(t.Context()); err == nil {
		t.Error("a connection outlived the server")
	}
	server.Start(t)
	query(t, database, "INSERT INTO kept VALUES (1)")
	server.Restart(t)
	if got := ask(t, database, "SELECT count(*)::text FROM kept"); got != "1" {
		t.Errorf("%s rows after a restart, want 1", got)
	}
}

func TestS3KeepsObjects(t *testing.T) {
	t.Parallel()
	first, second := S3(t), S3(t)
	if first == second {
		t.Fatalf("two tests got one bucket: %s", first)
	}
	client, bucket, prefix := open(t, first)
	roundTrip(t, client, bucket, prefix+"/day/session/object")
}

func TestS3ServerComesAndGoes(t *testing.T) {
	t.Parallel()
	server := S3Server(t)
	client, bucket, prefix := open(t, server.URL(t))
	roundTrip(t, client, bucket, prefix+"/object")

	server.Stop(t)
	if _, err := client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &bucket}); err == nil {
		t.Error("a stopped server answered")
	}
	server.Start(t)
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(prefix + "/object")})
	if err != nil {
		t.Fatalf("the object did not outlive a restart: %v", err)
	}
	if err := out.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestS3OnAServerThatRunsAlready(t *testing.T) {
	t.Setenv(S3URLVariable, "s3://bucket/some/prefix?region=eu-west-1")
	got := S3(t)
	if !strings.HasPrefix(got, "s3://bucket/some/prefix/berth-test-") || !strings.HasSuffix(got, "?region=eu-west-1") {
		t.Errorf("got %s, want a prefix of its own in the bucket that was named", got)
	}
}

func TestTool(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"crane", "skopeo"} {
		if out, err := exec.CommandContext(t.Context(), Tool(t, name), "--help").CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestServersEndWithTheProcess(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		signal syscall.Signal
		tidies bool
	}{
		"terminated":  {syscall.SIGTERM, true},
		"interrupted": {syscall.SIGINT, true},
		"killed":      {syscall.SIGKILL, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			temp := t.TempDir()
			child, server := startChild(t, temp)
			if err := child.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := child.Wait(); !errors.As(err, &exit) {
				t.Errorf("the child ended with %v, want an exit code", err)
			}
			waitUntilClosed(t, server)
			left, err := os.ReadDir(temp)
			if err != nil {
				t.Fatal(err)
			}
			if tt.tidies && len(left) != 0 {
				t.Errorf("the process left %v", left)
			}
		})
	}
}

func TestAbandonedFoldersAreRemoved(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	old := time.Now().Add(-2 * abandonedAfter)
	folder := func(name string, age time.Time) string {
		dir := filepath.Join(parent, scratchPrefix+name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		lock, err := os.Create(filepath.Join(dir, scratchLock))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, age, age); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lock.Close() })
		if name == "used" {
			if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	used, young, abandoned := folder("used", old), folder("young", time.Now()), folder("abandoned", old)

	removeAbandoned(parent)
	for dir, want := range map[string]bool{used: true, young: true, abandoned: false} {
		_, err := os.Stat(dir)
		if got := !errors.Is(err, fs.ErrNotExist); got != want {
			t.Errorf("%s kept: %t, want %t", filepath.Base(dir), got, want)
		}
	}
}

// serveUntilSignalled is what the child does: it starts a server, tells its address and waits for its end.
func serveUntilSignalled() int {
	g, err := sharedGateway()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(address(g.port))
	select {}
}

func startChild(t *testing.T, temp string) (child *exec.Cmd, server string) {
	t.Helper()
	Tool(t, "versitygw") // so that the child does not have to build it
	child = exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1", "TMPDIR="+temp)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	server = strings.TrimSpace(line)
	if _, _, err := net.SplitHostPort(server); err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	return child, server
}

func waitUntilClosed(t *testing.T, server string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stopTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", server)
		if err != nil {
			break
		}
		_ = conn.Close()
		select {
		case <-ctx.Done():
			t.Fatalf("the server at %s outlived the process that started it", server)
		case <-tick.C:
		}
	}
}

func connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func query(t *testing.T, database, statement string) {
	t.Helper()
	if err := execute(t.Context(), database, statement); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, database, question string) (answer string) {
	t.Helper()
	conn := connect(t, database)
	if err := conn.QueryRow(t.Context(), question).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return answer
}

// open reads a URL as Berth does and finds the credentials as it does.
func open(t *testing.T, storage string) (client *s3.Client, bucket, prefix string) {
	t.Helper()
	u, err := url.Parse(storage)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(u.Query().Get("region")))
	if err != nil {
		t.Fatal(err)
	}
	client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.BaseEndpoint = aws.String(u.Query().Get("endpoint"))
		o.UsePathStyle = u.Query().Get("path_style") == "true"
		o.Retryer = aws.NopRetryer{}
	})
	return client, u.Host, strings.TrimPrefix(u.Path, "/")
}

func roundTrip(t *testing.T, client *s3.Client, bucket, key string) {
	t.Helper()
	const content = "some bytes"
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: strings.NewReader(content),
		ContentType: aws.String("application/x-berth"),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Body.Close() }()
	got, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != content || aws.ToString(out.ContentType) != "application/x-berth" {
		t.Errorf("got %q of type %s back", got, aws.ToString(out.ContentType))
	}
}
