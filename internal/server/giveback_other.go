//go:build !linux

package server

// dropProgramPages does nothing where there is no known way.
func dropProgramPages() error { return nil }
