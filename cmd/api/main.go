// Command api builds to the program berth: a multi-tenant OCI registry. It parses the command line, hands everything to
// package server and turns errors into exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // it was understood and failed
	exitUsage = 2 // it was not understood: flags, arguments, settings
	exitBusy  = 3 // another process is at it: nothing was done
	// exitSignal is for a second signal, which did not wait for the first one's orderly stop.
	exitSignal = 130
)

// gcPercent is how much the heap may grow, in percent of what lives on it, before garbage is collected. Little lives long in
// a registry, so that the default of the runtime, 100, collects several times a second under load for the sake of a few MiB.
const gcPercent = 200

func main() {
	if os.Getenv("GOGC") == "" { // whoever runs it decides
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// process is what commands need of the process around them.
type process struct {
	ctx            context.Context //nolint:containedctx // ends with the first signal; lives as long as the process
	stdin          io.Reader
	stdout, stderr io.Writer
	loader         *config.Loader
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, release := untilSignal(os.Exit)
	defer release()

	var cli commandLine
	var loader config.Loader
	options := append(loader.Options(),
		kong.Name("berth"),
		kong.Description("A multi-tenant OCI registry in one program."),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true}),
	)
	parser, err := kong.New(&cli, options...)
	if err != nil {
		return complain(stderr, err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return complain(stderr, usageError{err})
	}
	return complain(stderr, command.Run(&process{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, loader: &loader}))
}

// untilSignal returns a context that ends with the first signal, which asks for an orderly stop. A second one ends the
// process at once, through exit. release gives signals their usual effect back.
func untilSignal(exit func(code int)) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, released := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for _, act := range []func(){cancel, func() { exit(exitSignal) }} {
			select {
			case <-signals:
				act()
			case <-released:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(released)
		cancel()
	}
}

// usageError is what the person who typed the command can put right.
type usageError struct{ error }

// Unwrap returns the error itself.
func (e usageError) Unwrap() error { return e.error }

// complain writes an error, one line for each thing that is wrong, and returns the exit code.
func complain(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			_, _ = fmt.Fprintln(stderr, "berth: "+line) // there is nowhere else to say it
		}
	}
	var usage usageError
	var problems config.Problems
	if errors.As(err, &usage) || errors.As(err, &problems) {
		return exitUsage
	}
	if errors.Is(err, server.ErrScrubUnderWay) {
		return exitBusy
	}
	return exitError
}
