package server

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// giveBack returns what only the start needed: free memory of the heap, and the pages of the program itself, which the
// system reads again where they are needed. Of a program of this size most are never touched again. It fails without
// harm.
func giveBack() error {
	debug.FreeOSMemory()
	return adviseProgram(unix.MADV_DONTNEED)
}

// adviseProgram tells the system what to do with the pages of the program that are as they are in its file.
func adviseProgram(advice uintptr) error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("find the program in memory: %w", err)
	}
	defer maps.Close() //nolint:errcheck // it was read
	var from, to uintptr
	var rights string
	ours := false
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		line := lines.Text()
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err == nil {
			ours = strings.HasSuffix(line, " "+program) && !strings.Contains(rights, "w")
			continue
		}
		// What was ever written, such as addresses that a loader put in, is not in the file.
		if amount, ok := strings.CutPrefix(line, "Anonymous:"); !ours || !ok || strings.TrimSpace(amount) != "0 kB" {
			continue
		}
		if _, _, failed := unix.Syscall(unix.SYS_MADVISE, from, to-from, advice); failed != 0 {
			return fmt.Errorf("advise about the program's pages: %w", failed)
		}
	}
	return lines.Err() //nolint:wrapcheck // of a file of the kernel
}
