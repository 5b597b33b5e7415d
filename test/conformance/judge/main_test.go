package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		report string
		output string
		err    string // part of the error; empty for none
	}{
		"the older program, all well": {
			report: `<testsuites><testsuite failures="0" errors="0">
				<testcase name="a" status="passed"/>
				<testcase name="b" status="skipped"><skipped message="off"/></testcase>
			</testsuite></testsuites>`,
			output: "1 passed, 0 failed, 1 skipped\n",
		},
		"the older program, one failure": {
			report: `<testsuites><testsuite failures="1">
				<testcase name="a" status="passed"/>
				<testcase name="b" status="failed"><failure message="no"/></testcase>
			</testsuite></testsuites>`,
			output: "FAILED: b\n1 passed, 1 failed, 0 skipped\n",
			err:    "tests failed",
		},
		"the newer program, which tells by the status alone": {
			report: `<testsuites><testsuite failures="1" errors="1">
				<testcase name="a" status="passed"/>
				<testcase name="b" status="failure"/>
				<testcase name="c" status="error"/>
			</testsuite></testsuites>`,
			output: "FAILED: b\nFAILED: c\n1 passed, 2 failed, 0 skipped\n",
			err:    "tests failed",
		},
		"a status that nobody knows": {
			report: `<testsuites><testsuite><testcase name="a" status="interrupted"/></testsuite></testsuites>`,
			output: "FAILED: a\n0 passed, 1 failed, 0 skipped\n",
			err:    "tests failed",
		},
		"a failure outside the tests": {
			report: `<testsuites><testsuite errors="1"><testcase name="a" status="passed"/></testsuite></testsuites>`,
			output: "1 passed, 0 failed, 0 skipped\n",
			err:    "counts 1 failures",
		},
		"everything skipped": {
			report: `<testsuites><testsuite><testcase name="a"><skipped/></testcase></testsuite></testsuites>`,
			output: "0 passed, 0 failed, 1 skipped\n",
			err:    "no test ran",
		},
		"half a report": {
			report: `<testsuites><testsuite><testcase name="a" status="passed"/>`,
			err:    "read the report",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "junit.xml")
			if err := os.WriteFile(file, []byte(tt.report), 0o600); err != nil {
				t.Fatal(err)
			}
			checkRun(t, file, tt.output, tt.err)
		})
	}
}

func TestRunWithoutReport(t *testing.T) {
	t.Parallel()
	checkRun(t, filepath.Join(t.TempDir(), "none.xml"), "", "left no report")
}

func checkRun(t *testing.T, file, wantOutput, wantErr string) {
	t.Helper()
	var out strings.Builder
	err := run([]string{file}, &out)
	switch {
	case wantErr == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
		t.Errorf("error %v, want %q", err, wantErr)
	}
	if out.String() != wantOutput {
		t.Errorf("printed %q, want %q", out.String(), wantOutput)
	}
}
