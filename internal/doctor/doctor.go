// Package doctor examines what a server needs around it: its settings, its database, its storage, and the way from a
// client to it. For each thing that it finds it says what to do.
//
// It runs beside servers that may be running, needs no credential of theirs, and changes nothing: what it writes are
// probe objects in the storage, below a day and a session of their own, which it removes.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/berthregistry/berth/internal/config"
)

// Level says how bad a finding is.
type Level string

// The levels of findings.
const (
	// OK is what is as it should be.
	OK Level = "ok"
	// Warning works, and is probably not meant or will not work for long.
	Warning Level = "warning"
	// Failure keeps clients or servers from what they are there for, or puts data at risk.
	Failure Level = "error"
)

// Finding is one thing that was looked at.
type Finding struct {
	// Check names what was looked at, such as "storage.range". Names stay as they are.
	Check string `json:"check"`
	// Level says how bad it is.
	Level Level `json:"level"`
	// Says is what was found. It holds no secret.
	Says string `json:"says"`
	// Do is what to do about it. Empty where nothing is to be done.
	Do string `json:"do,omitempty"`
}

// Options is what to examine.
type Options struct {
	// Config are the settings of the server.
	Config config.Config
	// Problems are what is wrong with them already.
	Problems config.Problems
	// Local leaves out everything that needs a running server.
	Local bool
	// MinFree is the free space, in bytes, below which a folder is running full.
	MinFree int64
}

// total bounds an examination: whatever hangs, an answer comes.
const total = 3 * time.Minute

// Examine looks at everything and returns what it found, in the order in which it looked.
func Examine(ctx context.Context, options Options) []Finding {
	ctx, cancel := context.WithTimeout(ctx, total)
	defer cancel()
	e := &examination{cfg: options.Config, options: options}
	e.configuration()
	e.database(ctx)
	e.storage(ctx)
	e.certificateFiles()
	if !options.Local {
		e.client(ctx)
	}
	return e.found
}

// Count is how many findings have a level.
func Count(findings []Finding, level Level) int {
	n := 0
	for _, f := range findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// examination gathers findings.
type examination struct {
	cfg     config.Config
	options Options
	found   []Finding
}

func (e *examination) ok(check, says string, args ...any) {
	e.found = append(e.found, Finding{Check: check, Level: OK, Says: fmt.Sprintf(says, args...)})
}

func (e *examination) warn(check, do, says string, args ...any) {
	e.found = append(e.found, Finding{Check: check, Level: Warning, Says: fmt.Sprintf(says, args...), Do: do})
}

func (e *examination) fail(check, do, says string, args ...any) {
	e.found = append(e.found, Finding{Check: check, Level: Failure, Says: fmt.Sprintf(says, args...), Do: do})
}

// valid says whether sections of the settings can be used; what is wrong with them has been found before.
func valid(sections ...config.Section) bool { return config.Validate(sections...) == nil }

// Clocks that differ by more than these are told of: leases and tokens have seconds, signatures of S3 have minutes.
const (
	skewWarning = time.Second
	skewFailure = 30 * time.Second
)

// skew judges the difference between another clock and that of this machine. blur is how far off the comparison may be.
func (e *examination) skew(check, whose string, difference, blur time.Duration) {
	const do = "run a time service (chrony, systemd-timesyncd, or that of the provider) on both machines"
	apart := difference.Abs() - blur
	text := fmt.Sprintf("the clock of %s differs by %s from that of this machine", whose, difference.Round(time.Millisecond))
	switch {
	case apart > skewFailure:
		e.fail(check, do, "%s: leases, tokens and presigned URLs end too early or too late", text)
	case apart > skewWarning:
		e.warn(check, do, "%s", text)
	default:
		e.ok(check, "%s", text)
	}
}

// ms shows a duration as people compare latencies.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
