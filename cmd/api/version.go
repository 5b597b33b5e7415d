package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// What -ldflags "-X main.version=..." sets. Empty: taken from what the Go tool recorded.
var (
	version string
	commit  string
	date    string
)

type buildInfo struct{ version, commit, date string }

func buildVersion() buildInfo {
	b := buildInfo{version, commit, date}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b.filled()
	}
	if b.version == "" {
		b.version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && b.commit == "":
			b.commit = setting.Value
		case setting.Key == "vcs.time" && b.date == "":
			b.date = setting.Value
		}
	}
	return b.filled()
}

func (b buildInfo) filled() buildInfo {
	for _, part := range []*string{&b.version, &b.commit, &b.date} {
		if *part == "" {
			*part = "unknown"
		}
	}
	return b
}

// String names the build in one line.
func (b buildInfo) String() string {
	return fmt.Sprintf("%s (commit %s, built %s, %s %s/%s)", b.version, b.commit, b.date, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
