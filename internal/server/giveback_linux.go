package server

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
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
	ours := false
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		line := lines.Text()
		if a, b, ok := addresses(line); ok {
			rights := strings.Fields(line)[1]
			from, to, ours = a, b, strings.HasSuffix(line, " "+program) && !strings.Contains(rights, "w")
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

// addresses reads the line that begins what the kernel says about a part of memory. All other lines begin with a name.
func addresses(line string) (from, to uintptr, ok bool) {
	area, _, _ := strings.Cut(line, " ")
	first, last, _ := strings.Cut(area, "-")
	a, aerr := strconv.ParseUint(first, 16, 64)
	b, berr := strconv.ParseUint(last, 16, 64)
	return uintptr(a), uintptr(b), aerr == nil && berr == nil
}
