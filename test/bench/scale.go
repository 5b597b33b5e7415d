package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/testenv"
)

const (
	// boundScale is how many times longer anything may take in a full world than in an almost empty one.
	boundScale  = 1.3
	scaleClient = "user-1@example.org"
)

// scaling is what to measure at which sizes of the world.
type scaling struct {
	settings
	database string
	sizes    string
	projects []int
}

// runScale is the command that measures requests in databases of several sizes.
func runScale(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var s scaling
	flags := flag.NewFlagSet("bench scale", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.database, "database", onPostgres, "postgres or sqlite")
	flags.StringVar(&s.sizes, "percent", "1,10", "sizes to compare, in `percent` of 1,000,000 projects, 10,000,000 tags and 3,000,000 blobs, with commas between; "+
		"100 takes about 15 GB")
	flags.StringVar(&s.berth, "berth", "", "measure this `program` instead of building bin/berth")
	flags.StringVar(&s.dir, "dir", "", "`folder` for objects and SQLite's files; default: the system's temporary folder")
	flags.StringVar(&s.json, "json", "", "write the results to this `file` as JSON")
	flags.DurationVar(&s.duration, "duration", 10*time.Second, "time for each size in each case")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	for _, text := range commas(s.sizes) {
		percent, err := strconv.ParseFloat(text, 64)
		if err != nil || percent*worldProjects/100 < worldOwned {
			complain(stderr, fmt.Errorf("-percent: %q is no size of at least %g", text, 100*float64(worldOwned)/worldProjects))
			return 2
		}
		s.projects = append(s.projects, int(percent*worldProjects/100))
	}
	if s.database != onSQLite && s.database != onPostgres || flags.NArg() > 0 || len(s.projects) == 0 {
		flags.Usage()
		return 2
	}
	return testenv.Program(ctx, func(tb testing.TB) { //nolint:contextcheck // tb has it
		if err := s.measure(tb, stdout, stderr); err != nil {
			tb.Errorf("bench: %v", err)
		}
	})
}

func (s *scaling) measure(tb testing.TB, stdout, stderr io.Writer) (err error) {
	tb.Helper()
	l, err := newLab(tb.Context(), s.settings, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	results := newResults()
	err = l.onStage(func(st *stage) error {
		var towns []*scaleTown
		var cluster *testenv.Server
		if s.database == onPostgres {
			cluster = testenv.PostgresServer(tb, "fsync=on", "full_page_writes=on", "shared_buffers=256MB", "max_wal_size=4GB")
		}
		for _, projects := range s.projects {
			t, err := s.settle(tb, st, cluster, world{projects})
			if err != nil {
				return err
			}
			towns = append(towns, t)
		}
		for _, c := range scaleCases {
			rows, err := s.compare(tb.Context(), c, towns)
			if err != nil {
				return err
			}
			results.add(rows)
		}
		return nil
	})
	if perr := results.print(stdout); err == nil {
		err = perr
	}
	if err == nil && s.json != "" {
		err = results.save(s.json)
	}
	if err == nil && results.missed() {
		err = errMissed
	}
	return err
}

// scaleTown is a server with a world, and a user in it who owns ten projects that are spread over all.
type scaleTown struct {
	world
	*client
	token string
}

// settle fills a database, starts a server on it, and gives the user a token.
func (s *scaling) settle(tb testing.TB, st *stage, cluster *testenv.Server, w world) (*scaleTown, error) {
	tb.Helper()
	ctx, name := tb.Context(), "berth-"+strconv.Itoa(w.projects)
	dir, err := st.folder(name)
	if err != nil {
		return nil, err
	}
	database := "sqlite:" + filepath.Join(dir, "berth.db")
	if cluster != nil {
		database = cluster.URL(tb)
	}
	if _, err := st.command(ctx, database, "migrate"); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := w.load(ctx, database, st.say); err != nil {
		return nil, err
	}
	st.say("%d projects after %s", w.projects, time.Since(began).Round(time.Second))
	token, err := st.command(ctx, database, "token", "create", "--email", scaleClient, "--name", "bench")
	if err != nil {
		return nil, err
	}
	r, err := st.launchBerth(ctx, name, onFolder, "BERTH_DATABASE_URL="+database)
	if err != nil {
		return nil, err
	}
	token = strings.TrimSpace(token)
	if fields := strings.Fields(token); len(fields) > 0 {
		token = fields[len(fields)-1]
	}
	r.auth = &authorizer{base: r.base, user: "bench", password: token, http: newHTTPClient(smallBuffer), basic: true}
	return &scaleTown{w, r.client(smallBuffer), token}, nil
}

// command runs one of Berth's commands on a database and returns what it prints.
func (st *stage) command(ctx context.Context, database string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, st.berth, args...) //nolint:gosec // our own program
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + st.dir, "BERTH_DATABASE_URL=" + database}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("berth %s: %w: %s", args[0], err, &log)
	}
	return out.String(), nil
}

// project draws one of the user's projects.
func (t *scaleTown) project() int { return (rand.IntN(worldOwned) + 1) * t.users() }

func (t *scaleTown) home(project int) *client {
	return t.in("p-" + strconv.Itoa(project) + "/" + worldRepository)
}

// scaleCase is an operation that is to take as long in a large world as in a small one.
type scaleCase struct {
	name string
	do   func(ctx context.Context, t *scaleTown) error
}

var scaleCases = []scaleCase{
	{"manifest GET by tag", func(ctx context.Context, t *scaleTown) error {
		p, n := t.project(), rand.IntN(tagsPerProject)
		m := manifestsOf(p)[n%2]
		_, err := new(reading).get(ctx, stored{t.home(p), m.digest.String(), int64(len(m.content))}, "manifests", tagOf(n))
		return err
	}},
	{"tag page", func(ctx context.Context, t *scaleTown) error {
		return t.page(ctx, t.home(t.project()).url("tags", "list")+"?n=5", `"v3"`)
	}},
	{"referrers", func(ctx context.Context, t *scaleTown) error {
		p := t.project()
		return t.page(ctx, t.home(p).url("referrers", manifestsOf(p)[0].digest.String()), "vnd.example.signature")
	}},
	{"push", func(ctx context.Context, t *scaleTown) error {
		c, layer := t.home(t.project()), newContent(layerSize)
		if err := c.push(ctx, layer); err != nil {
			return err
		}
		d, err := layer.digest()
		if err != nil {
			return err
		}
		m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: descriptorOf(d, layer.size), Layers: []v1.Descriptor{}}
		m.SchemaVersion = 2
		_, err = c.putManifest(ctx, "pushed", m)
		return err
	}},
	{"token", func(ctx context.Context, t *scaleTown) error {
		asking := &authorizer{realm: t.base + "/auth/token", user: t.auth.user, password: t.auth.password, http: t.auth.http}
		_, err := asking.fetch(ctx, t.home(t.project()).repository)
		return err
	}},
	{"project list", func(ctx context.Context, t *scaleTown) error {
		return t.page(ctx, t.base+"/api/v1/projects?limit=10", `"p-`+strconv.Itoa(t.users())+`"`)
	}},
}

// page reads a list that has to hold something.
func (t *scaleTown) page(ctx context.Context, url, want string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	c := t.client
	if strings.Contains(url, "/api/") {
		c = &client{http: t.http, registry: &registry{child: t.child, base: t.base, token: t.token}}
	}
	answer, err := c.do(r, http.StatusOK)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err == nil && !bytes.Contains(body, []byte(want)) {
		err = fmt.Errorf("%s lacks %s: %.300s", url, want, body)
	}
	return err
}

// compare lets the worlds take turns, one operation each, and holds each against the smallest.
func (s *scaling) compare(ctx context.Context, c scaleCase, towns []*scaleTown) ([]row, error) {
	took, cpu := make([][]time.Duration, len(towns)), make([]time.Duration, len(towns))
	before := loadAverage()
	for i, t := range towns {
		for range scaleWarmUp {
			if err := c.do(ctx, t); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
		at, err := cpuTime(t.pid())
		if err != nil {
			return nil, err
		}
		cpu[i] = -at
	}
	for began := time.Now(); time.Since(began) < s.duration*time.Duration(len(towns)); {
		for i, t := range towns {
			start := time.Now()
			if err := c.do(ctx, t); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	for i, t := range towns {
		at, err := cpuTime(t.pid())
		if err != nil {
			return nil, err
		}
		cpu[i] = (cpu[i] + at) / time.Duration(len(took[i]))
	}
	var rows []row
	for i := 1; i < len(towns); i++ {
		small, large := milliseconds(median(took[0])), milliseconds(median(took[i]))
		rows = append(rows, row{
			Name: fmt.Sprintf("%s, %d projects to %d, %s", c.name, towns[i].projects, towns[0].projects, s.database), Attempt: 1,
			Measured: large / small, Load: (before + loadAverage()) / 2,
			Figures: map[string]float64{
				"small_ms": small, "large_ms": large, "operations": float64(len(took[0])),
				"small_cpu_us": float64(cpu[0].Microseconds()), "large_cpu_us": float64(cpu[i].Microseconds()),
			},
			Details: fmt.Sprintf("medians of %d: %.2f and %.2f ms; CPU %d and %d us", len(took[0]), small, large,
				cpu[0].Microseconds(), cpu[i].Microseconds()),
		}.bounded(atMost, boundScale))
	}
	return rows, nil
}

// scaleWarmUp is how many operations of each world come before those that count.
const scaleWarmUp = 20
