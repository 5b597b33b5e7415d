package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// driving is how registries are driven.
type driving struct {
	// aim is the throughput ratio that is meant, by case; nil: none is.
	aim        func(name string) float64
	pattern    *regexp.Regexp
	size       int64
	scale      float64
	images     int
	blobs      int
	seed       uint64
	clients    int
	warmUp     time.Duration
	duration   time.Duration
	rounds     int
	rate       float64
	every      int
	repository string

	user, password string
	pids, names    []string
	json, chart    string
}

// driveFlags are those of every command that drives registries.
func driveFlags(flags *flag.FlagSet, d *driving) (finish func() error) {
	pattern := flags.String("run", "", "only the cases that match this `regexp`: mix, push, push in chunks, pull, manifest GET, ..., tags, referrers, token")
	size := flags.String("size", "1MB", "`bytes` of a blob in the cases push and pull")
	flags.Float64Var(&d.scale, "scale", 1, "multiply the sizes of the mix by this")
	flags.IntVar(&d.images, "images", 100, "images in each registry")
	flags.IntVar(&d.blobs, "blobs", 100, "blobs in each registry")
	flags.Uint64Var(&d.seed, "seed", 1, "what to draw requests, sizes and contents from")
	flags.IntVar(&d.clients, "clients", 16, "clients at once: enough that no server waits for them")
	flags.DurationVar(&d.warmUp, "warm-up", time.Second, "time for each registry in each case before anything counts")
	flags.DurationVar(&d.duration, "duration", 10*time.Second, "time for each registry in each case, all rounds together")
	flags.IntVar(&d.rounds, "rounds", 5, "how often the registries take turns")
	flags.Float64Var(&d.rate, "rate", 0, "operations a `second`, begun whether or not earlier ones have ended late; 0: each client begins when its last one has ended")
	flags.IntVar(&d.every, "verify", 16, "hash every so many answers and compare the digest; 0: none. Lengths are always compared")
	flags.StringVar(&d.repository, "repository", repository, "`path` below which everything is pushed")
	flags.StringVar(&d.json, "json", "", "write the results to this `file` as JSON")
	flags.StringVar(&d.chart, "chart", "", "write a chart of the results to this `file` as SVG")
	return func() error {
		var err, serr error
		d.pattern, err = regexp.Compile(*pattern)
		d.size, serr = parseSize(*size)
		return errors.Join(err, serr, d.check())
	}
}

func (d *driving) check() error {
	switch {
	case d.clients < 1 || d.rounds < 1 || d.images < 1 || d.blobs < 1:
		return errors.New("-clients, -rounds, -images and -blobs have to be 1 or more")
	case d.scale <= 0 || d.duration <= 0 || d.warmUp < 0 || d.rate < 0 || d.every < 0:
		return errors.New("-scale and -duration have to be above 0, and -warm-up, -rate and -verify not below")
	}
	return nil
}

// runDrive is the command that drives registries which run already.
func runDrive(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var d driving
	flags := flag.NewFlagSet("bench drive", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprint(stderr, "usage: bench drive [flags] URL [URL ...]\n\n"+
			"Measures one registry, or compares the first with the others, in turns.\n\n")
		flags.PrintDefaults()
	}
	finish := driveFlags(flags, &d)
	flags.StringVar(&d.user, "user", "", "who to log in as where a registry asks; empty: nobody")
	flags.StringVar(&d.password, "password", "", "password, or token, of that user")
	names := flags.String("names", "", "what to call the registries, with `commas` between")
	pids := flags.String("pids", "", "process IDs of their servers, with `commas` between, for memory and processor time; 0: not known")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	d.names, d.pids = commas(*names), commas(*pids)
	if err := finish(); err != nil {
		complain(stderr, err)
		return 2
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2
	}
	targets, err := d.targets(ctx, flags.Args())
	if err != nil {
		return report(stderr, err)
	}
	return report(stderr, d.measure(ctx, targets, stdout, stderr))
}

// commas splits at commas; of nothing there is nothing.
func commas(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// targets are registries that run already.
func (d *driving) targets(ctx context.Context, urls []string) ([]*registry, error) {
	var all []*registry
	for i, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("%q is no URL of a registry, such as http://127.0.0.1:5000", text)
		}
		r := &registry{child: &child{name: u.Host}, base: u.Scheme + "://" + u.Host}
		if i < len(d.names) {
			r.name = d.names[i]
		}
		if i < len(d.pids) {
			if r.process, err = strconv.Atoi(d.pids[i]); err != nil {
				return nil, fmt.Errorf("-pids: %q is no process ID", d.pids[i])
			}
		}
		if r.auth, err = newAuthorizer(ctx, r.base, d.user, d.password); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// errErrors says that operations failed, which makes figures worthless.
var errErrors = errors.New("operations failed")

// measure fills the registries, drives them and reports.
func (d *driving) measure(ctx context.Context, targets []*registry, stdout, stderr io.Writer) error {
	p := newPlan(d.seed, d.images, d.blobs, d.scale)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "bench: "+format+"\n", args...) }
	out := newDriven(d, targets)
	var catalogs []*catalog
	for _, r := range targets {
		c := r.client(clientBuffer)
		say("filling %s: %d images, %d blobs, %.0f MB", r.name, d.images, d.blobs, float64(p.bytes())/megabyte)
		k, err := p.fill(ctx, c, d.repository)
		if err != nil {
			return err
		}
		catalogs = append(catalogs, k)
	}
	for _, one := range chosen(kases(d.size), d.pattern) {
		syncDisks()
		before := loadAverage()
		result, err := d.duel(ctx, one, catalogs)
		if err != nil {
			return err
		}
		if d.aim != nil {
			result.Aim = d.aim(one.name)
		}
		result.Load = (before + loadAverage()) / 2
		out.Cases = append(out.Cases, result)
		say("%s: load %.1f", one.name, result.Load)
	}
	if err := out.write(stdout, d.json, d.chart); err != nil {
		return err
	}
	if out.errors() > 0 {
		return errErrors
	}
	return nil
}
