// Command bench measures what Berth promises about speed and memory, and says which promises hold.
//
// It builds the server, starts it and its peers (distribution's registry, an S3 server, Go's own file server) as child
// processes on the loopback interface with their data in one temporary folder, and takes turns between what it
// compares, so that a busy moment of the machine meets all sides alike. What it prints are ratios first: figures of
// one machine say little on another.
//
//	go run ./test/bench                     everything, in about eight minutes
//	go run ./test/bench -run 'pull|append'  some of it
//	go run ./test/bench -list               the names
//
// Three commands measure more: drive asks registries that run already, whichever they are; compare starts Berth and its
// peers on equal terms and drives them; scale compares Berth with itself, in databases of several sizes.
//
//	go run ./test/bench drive -user bench -password TOKEN http://127.0.0.1:5000 http://127.0.0.1:5001
//	go run ./test/bench compare -database postgres -zot PATH -chart chart.svg
//	go run ./test/bench scale -database postgres -percent 1,10,100
//
// It ends with status 1 when a bound is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// settings are what the command line says.
type settings struct {
	run         *regexp.Regexp
	list        bool
	json        string
	berth       string
	duration    time.Duration
	concurrency int
	attempts    int
	dir         string
	profiles    string
	verbose     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := start(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func start(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 3 && args[0] == fileServerFlag {
		return report(stderr, serveFiles(ctx, args[1], args[2]))
	}
	if len(args) == 2 && args[0] == abuseFlag {
		return report(stderr, runAbuse(ctx, args[1], stdout))
	}
	if len(args) > 0 {
		if command, ok := commands[args[0]]; ok {
			return command(ctx, args[1:], stdout, stderr)
		}
	}
	s, err := parse(args, stderr)
	if err != nil {
		return 2
	}
	if s.list {
		return report(stderr, list(stdout))
	}
	return report(stderr, measure(ctx, s, stdout, stderr))
}

// commands are what else the program does.
var commands = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) int{
	"drive": runDrive, "compare": runCompare, "scale": runScale,
}

func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	complain(stderr, err)
	return 1
}

func complain(stderr io.Writer, err error) {
	_, _ = fmt.Fprintln(stderr, "bench:", err) // there is nobody else to tell
}

func list(stdout io.Writer) error {
	for _, b := range benchmarks() {
		if _, err := fmt.Fprintln(stdout, b.name); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	return nil
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	var pattern string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&pattern, "run", "", "measure only what matches this `regexp`")
	flags.BoolVar(&s.list, "list", false, "list the names and do nothing")
	flags.StringVar(&s.json, "json", "", "write the results to this `file` as JSON")
	flags.StringVar(&s.berth, "berth", "", "measure this `program` instead of building bin/berth")
	flags.DurationVar(&s.duration, "duration", 3*time.Second, "time for each server in each case that compares servers")
	flags.IntVar(&s.concurrency, "concurrency", 0, "clients in the cases with several; 0 means 4 for blobs and 8 for manifests")
	flags.IntVar(&s.attempts, "attempts", 2, "how often a benchmark that misses a bound is measured")
	flags.StringVar(&s.dir, "dir", "", "`folder` for the data of all servers; needs 20 GB; default: the system's temporary folder")
	flags.StringVar(&s.profiles, "profiles", "", "write CPU profiles of Berth to this `folder`")
	flags.BoolVar(&s.verbose, "v", false, "tell every single figure")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var err error
	if s.run, err = regexp.Compile(pattern); err != nil {
		complain(stderr, fmt.Errorf("-run: %w", err))
		return s, err
	}
	if flags.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q", flags.Arg(0))
		complain(stderr, err)
	}
	return s, err
}

// errMissed says that a bound does not hold.
var errMissed = errors.New("a bound is missed")

// measure runs the chosen benchmarks and reports them.
func measure(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	l, err := newLab(ctx, s, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	results := newResults()
	for _, b := range benchmarks() {
		if !s.run.MatchString(b.name) {
			continue
		}
		rows, err := b.measure(ctx, l)
		results.add(rows)
		if err != nil {
			return errors.Join(err, results.print(stdout))
		}
	}
	if err := results.print(stdout); err != nil {
		return err
	}
	if s.json != "" {
		if err := results.save(s.json); err != nil {
			return err
		}
	}
	if results.missed() {
		return errMissed
	}
	return nil
}
