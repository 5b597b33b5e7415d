// Judge reads the JUnit report of a conformance program, names each test that failed, counts the others and fails
// unless every test that ran has passed and at least one did.
package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: judge REPORT")
	}
	report, err := os.ReadFile(args[0]) //nolint:gosec // whoever calls this names the file
	if err != nil {
		return fmt.Errorf("the program left no report: %w", err)
	}
	v, err := judge(report)
	if err != nil {
		return err
	}
	for _, name := range v.failed {
		if _, err := fmt.Fprintln(out, "FAILED:", name); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", v.passed, len(v.failed), v.skipped); err != nil {
		return err
	}
	return v.err()
}

// verdict is what a report says.
type verdict struct {
	passed  int
	skipped int
	failed  []string
	// claimed is how many failures and errors the suites say they had, in case no test of theirs shows them.
	claimed int
}

func (v verdict) err() error {
	switch {
	case len(v.failed) > 0:
		return errors.New("tests failed")
	case v.claimed > 0:
		return fmt.Errorf("the report counts %d failures that no test of it shows", v.claimed)
	case v.passed == 0:
		return errors.New("no test ran")
	default:
		return nil
	}
}

type suites struct {
	Suites []suite `xml:"testsuite"`
}

type suite struct {
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Cases    []testcase `xml:"testcase"`
}

type testcase struct {
	Name    string    `xml:"name,attr"`
	Status  string    `xml:"status,attr"`
	Failure *struct{} `xml:"failure"`
	Error   *struct{} `xml:"error"`
	Skipped *struct{} `xml:"skipped"`
}

func judge(report []byte) (verdict, error) {
	var parsed suites
	if err := xml.Unmarshal(report, &parsed); err != nil { //nolint:gosec // into plain fields; from our own program
		return verdict{}, fmt.Errorf("read the report: %w", err)
	}
	var v verdict
	for _, s := range parsed.Suites {
		v.claimed += s.Failures + s.Errors
		for _, c := range s.Cases {
			switch c.outcome() {
			case passed:
				v.passed++
			case skipped:
				v.skipped++
			default:
				v.failed = append(v.failed, c.Name)
			}
		}
	}
	return v, nil
}

type outcome int

const (
	failed outcome = iota // the zero value: what is not understood has not passed
	passed
	skipped
)

// outcome reads both ways of telling it: a child element, which the older program writes, and the status alone, which
// its successor writes.
func (c testcase) outcome() outcome {
	if c.Failure != nil || c.Error != nil {
		return failed
	}
	switch strings.ToLower(c.Status) {
	case "passed":
		return passed
	case "skipped", "pending":
		return skipped
	case "":
		if c.Skipped != nil {
			return skipped
		}
		return passed
	default:
		return failed
	}
}
