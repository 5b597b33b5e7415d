package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/testenv"
)

// comparing is how Berth and its peers are started.
type comparing struct {
	driving
	settings
	database string
	storage  string
	zot      string
	redirect bool
	cache    bool
	apart    bool
}

// Databases that Berth is measured on.
const (
	onSQLite   = "sqlite"
	onPostgres = "postgres"
)

// runCompare is the command that starts Berth and its peers and drives them.
func runCompare(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c comparing
	flags := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	finish := driveFlags(flags, &c.driving)
	flags.StringVar(&c.database, "database", onSQLite, "sqlite or postgres: Berth's database")
	flags.StringVar(&c.storage, "storage", onFolder, "folder or s3: where all of them keep blobs")
	flags.StringVar(&c.zot, "zot", "", "also start this `program`, zot, with commit on")
	flags.BoolVar(&c.redirect, "redirect", false, "on s3, let Berth send pulls to the bucket, as Distribution does")
	flags.BoolVar(&c.cache, "cache", false, "on s3, let Berth keep copies of what is pulled on its disk")
	flags.BoolVar(&c.apart, "apart", false, "give the registries half of the processors, and the clients, the database and the S3 server the others")
	flags.StringVar(&c.berth, "berth", "", "measure this `program` instead of building bin/berth")
	flags.StringVar(&c.dir, "dir", "", "`folder` for the data of all servers; default: the system's temporary folder")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := finish(); err != nil {
		complain(stderr, err)
		return 2
	}
	c.driving.aim = c.aim
	if c.database != onSQLite && c.database != onPostgres || c.storage != onFolder && c.storage != onS3 ||
		(c.redirect || c.cache) && c.storage != onS3 || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	return testenv.Program(ctx, func(tb testing.TB) { //nolint:contextcheck // tb has it
		if err := c.run(tb, stdout, stderr); err != nil {
			tb.Errorf("bench: %v", err)
		}
	})
}

func (c *comparing) run(tb testing.TB, stdout, stderr io.Writer) error {
	tb.Helper()
	ctx := tb.Context()
	l, err := newLab(ctx, c.settings, stderr)
	if err != nil {
		return err
	}
	err = l.onStage(func(st *stage) error {
		if c.apart {
			if st.apart, err = standApart(); err != nil {
				return err
			}
			l.say("registries run on processors %v, all else on others", st.apart)
		}
		var more []string
		if c.database == onPostgres {
			url, err := durablePostgres(tb)
			if err != nil {
				return err
			}
			more = append(more, "BERTH_DATABASE_URL="+url)
		}
		if c.redirect {
			more = append(more, "BERTH_STORAGE_REDIRECT=true")
		}
		if c.cache {
			more = append(more, "BERTH_BLOB_CACHE="+filepath.Join(st.dir, "cache"))
		}
		ours, err := st.berthServerIn(ctx, "berth", c.storage, more...)
		if err != nil {
			return err
		}
		if ours.auth, err = newAuthorizer(ctx, ours.base, "bench", ours.secret); err != nil {
			return err
		}
		theirs, err := st.peerServerOn(ctx, c.storage)
		if err != nil {
			return err
		}
		targets := []*registry{ours, theirs}
		if c.zot != "" {
			zot, err := st.zotServer(ctx, c.zot, c.storage)
			if err != nil {
				return err
			}
			targets = append(targets, zot)
		}
		l.say("Berth on %s and %s: every body, folder and commit is synced; distribution: the file of every body; zot: that, with commit on",
			c.database, c.storage)
		return c.measure(ctx, targets, stdout, stderr)
	})
	if cerr := l.close(); err == nil {
		err = cerr
	}
	return err
}

// aim is how many times the throughput of the better of its peers Berth is meant to have. What costs it next to nothing, and
// what CI jobs do most, is to be twice as fast; on S3 the bucket sets the pace.
func (c *comparing) aim(name string) float64 {
	const onBucket, usual, twice = 1.2, 1.3, 2
	switch {
	case c.storage == onS3:
		return onBucket
	case strings.HasPrefix(name, "manifest"), name == "push 1MB":
		return twice
	}
	return usual
}

// durablePostgres is a fresh database on a server that keeps what it has committed, which those of tests do not. It is reached
// by a socket of the file system, as a database on the registry's own host is.
func durablePostgres(tb testing.TB) (string, error) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "berth-pg-")
	if err != nil {
		return "", fmt.Errorf("make the folder of the socket: %w", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })               // a folder of nothing
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil { // the server may have a user of its own
		return "", fmt.Errorf("open the folder of the socket: %w", err)
	}
	server := testenv.PostgresServer(tb, "fsync=on", "full_page_writes=on", "synchronous_commit=on", "shared_buffers=256MB",
		"unix_socket_directories="+dir)
	database, err := url.Parse(server.URL(tb))
	if err != nil {
		return "", fmt.Errorf("find the database: %w", err)
	}
	query := database.Query()
	query.Set("host", dir)
	query.Set("port", database.Port())
	database.Host, database.RawQuery = "", query.Encode()
	return database.String(), nil
}

// zotConfig has what zot needs to be compared: commit syncs each file.
func (st *stage) zotConfig(ctx context.Context, dir, addr, kind string) ([]byte, []string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("configure zot: %w", err)
	}
	storage := map[string]any{"rootDirectory": filepath.Join(dir, "data"), "commit": true}
	var env []string
	if kind == onS3 {
		b, err := st.objects(ctx)
		if err != nil {
			return nil, nil, err
		}
		storage["dedupe"], storage["remoteCache"] = false, false
		storage["storageDriver"] = map[string]any{
			"name": "s3", "region": s3Region, "regionendpoint": b.endpoint, "bucket": s3Bucket, "forcepathstyle": true,
			"secure": false, "skipverify": true, "accesskey": b.id, "secretkey": b.secret, "rootdirectory": "/zot",
		}
		env = b.environment()
	}
	text, err := json.Marshal(map[string]any{
		"distSpecVersion": "1.1.1", "storage": storage, "log": map[string]any{"level": "info"},
		"http": map[string]any{"address": host, "port": port, "compat": []string{"docker2s2"}},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("configure zot: %w", err)
	}
	return text, env, nil
}

// zotServer starts zot, which may be any build of it.
func (st *stage) zotServer(ctx context.Context, program, kind string) (*registry, error) {
	dir, err := st.folder("zot")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	text, env, err := st.zotConfig(ctx, dir, addr, kind)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("configure zot: %w", err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, fmt.Errorf("find zot: %w", err)
	}
	c, err := st.startRegistry("zot", env, program, "serve", file)
	if err != nil {
		return nil, err
	}
	return st.open(ctx, c, "http://"+addr)
}

// open waits for a registry that asks for nobody.
func (st *stage) open(ctx context.Context, c *child, base string) (*registry, error) {
	if err := c.ready(ctx, base+"/v2/"); err != nil {
		return nil, err
	}
	auth, err := newAuthorizer(ctx, base, "", "")
	return &registry{child: c, base: base, auth: auth}, err
}

// peerStorage is where distribution keeps blobs, as its configuration says it.
func (st *stage) peerStorage(ctx context.Context, dir, kind string) (string, []string, error) {
	if kind == onFolder {
		return fmt.Sprintf("filesystem: {rootdirectory: %q}", filepath.Join(dir, "data")), nil, nil
	}
	b, err := st.objects(ctx)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("s3: {accesskey: %q, secretkey: %q, region: %s, regionendpoint: %q, bucket: %s, forcepathstyle: true, secure: false}",
		b.id, b.secret, s3Region, b.endpoint, s3Bucket), b.environment(), nil
}

// environment gives access to a bucket.
func (b *objectStore) environment() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + b.id, "AWS_SECRET_ACCESS_KEY=" + b.secret}
}

// url is the bucket as Berth names it.
func (b *objectStore) url() string {
	return fmt.Sprintf("s3://%s/blobs?region=%s&endpoint=%s&path_style=true", s3Bucket, s3Region, strings.TrimSuffix(b.endpoint, "/"))
}
