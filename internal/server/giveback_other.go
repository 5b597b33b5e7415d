//go:build !linux

package server

import "runtime/debug"

// giveBack returns the free memory of the heap, which the start needed.
func giveBack() error {
	debug.FreeOSMemory()
	return nil
}
