package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/berthregistry/berth/internal/testenv/tool"
)

// DatabaseURLVariable names a PostgreSQL server on which tests may create databases, instead of one of their own.
const DatabaseURLVariable = "TEST_DATABASE_URL"

var sharedCluster = sync.OnceValues(func() (*cluster, error) {
	c, _, err := newCluster(nil)
	return c, err
})

// Postgres returns the URL of a fresh, empty database, which is dropped when the test ends, on a server that this
// process starts once.
func Postgres(tb testing.TB) string {
	tb.Helper()
	admin := os.Getenv(DatabaseURLVariable)
	if admin == "" {
		c, err := sharedCluster()
		if err != nil {
			tb.Fatal(err)
		}
		admin = c.adminURL()
	}
	name, database := createDatabase(tb, admin, "")
	tb.Cleanup(func() { dropDatabase(tb, admin, name) })
	return database
}

// PostgresFilled is [Postgres] with what fill makes of an empty database. On a server that this process started, fill
// runs once and its work is copied, which is much faster: all callers give the same fill. fill leaves no connection open.
func PostgresFilled(tb testing.TB, fill func(url string) error) string {
	tb.Helper()
	if os.Getenv(DatabaseURLVariable) != "" {
		database := Postgres(tb)
		if err := fill(database); err != nil {
			tb.Fatal(err)
		}
		return database
	}
	c, err := sharedCluster()
	if err != nil {
		tb.Fatal(err)
	}
	template, err := c.filled(tb, fill)
	if err != nil {
		tb.Fatal(err)
	}
	name, database := createDatabase(tb, c.adminURL(), template)
	tb.Cleanup(func() { dropDatabase(tb, c.adminURL(), name) })
	return database
}

// PostgresServer starts a PostgreSQL server of the test's own. Settings such as "fsync=on" or "max_connections=20"
// override those of a throwaway server.
func PostgresServer(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	c, proc, err := newCluster(settings)
	if err != nil {
		tb.Fatal(err)
	}
	return newServer(tb, c, proc)
}

// cluster is a PostgreSQL data folder and the server on it.
type cluster struct {
	dir       string
	programs  string
	user      *syscall.Credential
	superuser string
	settings  []string
	port      int

	filling  sync.Mutex
	template string // the database that fill has filled; empty: not yet
}

func newCluster(settings []string) (*cluster, *process, error) {
	c := &cluster{superuser: randomName("berth_")}
	var err error
	if c.programs, err = tool.Postgres(); err != nil {
		return nil, nil, fmt.Errorf("%w, or set %s", err, DatabaseURLVariable)
	}
	if c.dir, err = host.folder("postgres-"); err != nil {
		return nil, nil, err
	}
	if c.user, err = tool.Unprivileged(); err != nil {
		return nil, nil, err
	}
	if c.user != nil {
		if err := os.Chown(c.dir, int(c.user.Uid), int(c.user.Gid)); err != nil {
			return nil, nil, fmt.Errorf("hand the data folder to the server's user: %w", err)
		}
	}
	if err := c.initialise(); err != nil {
		return nil, nil, err
	}
	c.settings = slices.Concat([]string{
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=" + c.dir,
		"max_connections=200",
		"fsync=off",
		"full_page_writes=off",
	}, settings)
	proc, port, err := startOnFreePort(c.start)
	if err != nil {
		return nil, nil, err
	}
	c.port = port
	return c, proc, nil
}

// initialise makes the data folder. Anybody on this machine who reaches the port may log in, but only under the
// random name of the superuser, so a server that another process started on the port is never taken for this one.
// Text sorts by the rules of a language, as on a server out of the box, not by bytes: a query that relies on the order
// of bytes without saying so fails here.
func (c *cluster) initialise() error {
	args := []string{
		"--pgdata=" + c.data(), "--username=" + c.superuser, "--auth=trust",
		"--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C",
	}
	if version, err := c.version(); err != nil {
		return err
	} else if version >= 15 { // the first to take ICU for a whole cluster
		args = append(args, "--locale-provider=icu", "--icu-locale=und")
	}
	if out, err := c.program("initdb", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// version returns the major version of the programs.
func (c *cluster) version() (int, error) {
	out, err := c.program("postgres", "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	_, version, _ := strings.Cut(string(out), "(PostgreSQL) ")
	digits := version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
	major, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("read the version of PostgreSQL from %q: %w", out, err)
	}
	return major, nil
}

// program runs one of PostgreSQL's programs, which refuse to run as root.
func (c *cluster) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.programs, name), args...) //nolint:gosec,noctx // found on this machine; short
	cmd.Dir, cmd.Env = c.dir, c.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user}
	return cmd
}

// environment leaves out the PG variables of whoever runs the tests.
func (c *cluster) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C", "TZ=UTC"}
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

// log stands beside the folder, which belongs to the server's user.
func (c *cluster) log() string { return c.dir + ".log" }

func (c *cluster) files() []string { return []string{c.dir, c.log()} }

func (c *cluster) launch() (*process, error) { return c.start(c.port) }

func (c *cluster) start(port int) (*process, error) {
	args := []string{"-D", c.data(), "-p", strconv.Itoa(port)}
	for _, setting := range c.settings {
		args = append(args, "-c", setting)
	}
	proc, err := command{
		path: filepath.Join(c.programs, "postgres"),
		args: args,
		env:  c.environment(),
		dir:  c.dir,
		log:  c.log(),
		user: c.user,
		quit: syscall.SIGQUIT, // the immediate shutdown, which takes its shared memory along
	}.start("PostgreSQL")
	if err != nil {
		return nil, err
	}
	admin := c.urlOn(port)
	err = proc.ready(func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, admin)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	if err != nil {
		return nil, err
	}
	return proc, nil
}

func (c *cluster) adminURL() string { return c.urlOn(c.port) }

func (c *cluster) urlOn(port int) string {
	return fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", c.superuser, address(port))
}

func (c *cluster) fresh(tb testing.TB) string {
	tb.Helper()
	_, database := createDatabase(tb, c.adminURL(), "")
	return database
}

// filled returns the name of the database that fill has filled, the first time that it is called.
func (c *cluster) filled(tb testing.TB, fill func(url string) error) (string, error) {
	tb.Helper()
	c.filling.Lock()
	defer c.filling.Unlock()
	if c.template != "" {
		return c.template, nil
	}
	name, database := createDatabase(tb, c.adminURL(), "")
	if err := fill(database); err != nil {
		return "", err
	}
	c.template = name
	return name, nil
}

// createDatabase makes a database, empty or as a copy of a template that nobody is connected to, and returns its name
// and its URL.
func createDatabase(tb testing.TB, admin, template string) (name, database string) {
	tb.Helper()
	u, err := url.Parse(admin)
	if err != nil {
		tb.Fatalf("%s is no URL: %v", DatabaseURLVariable, err)
	}
	name = randomName("berth_test_")
	statement := "CREATE DATABASE " + name
	if template != "" {
		statement += " TEMPLATE " + template
	}
	if err := execute(tb.Context(), admin, statement); err != nil {
		tb.Fatalf("create a database: %v", err)
	}
	u.Path = "/" + name
	return name, u.String()
}

// dropDatabase also ends the connections that the test left open.
func dropDatabase(tb testing.TB, admin, name string) {
	tb.Helper()
	if err := execute(context.WithoutCancel(tb.Context()), admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
		tb.Errorf("drop the database: %v", err)
	}
}

func execute(ctx context.Context, admin, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// PostgresProgram is the path of a program of PostgreSQL, such as pg_dump, of the version of the servers of tests.
func PostgresProgram(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := tool.Postgres()
	if err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(dir, name)
}
