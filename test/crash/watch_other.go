//go:build !linux

package main

import "github.com/berthregistry/berth/test/crash/faults"

// watchedSteps is empty: only Linux tells of what happens to files in this way. Kills come at the other steps.
var watchedSteps []faults.Step

func (*harness) watchFiles() (stop func(), err error) { return func() {}, nil }
