package server

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dropProgramPages unmaps the pages of the program's own file: a start goes through most of it, and what follows through
// little. The kernel keeps what it has of the file and maps again, without reading, what is touched next.
func dropProgramPages() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program's file: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read the mappings: %w", err)
	}
	defer func() { _ = maps.Close() }() // read only
	ranges, err := readOnlyMappings(maps, program)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.start, r.length, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back %d bytes of the program: %w", r.length, errno)
		}
	}
	return nil
}

// mapping is a range of addresses, in bytes.
type mapping struct{ start, length uintptr }

// readOnlyMappings finds the ranges of maps, in the form of proc_pid_maps(5), that map file and that nobody writes to:
// giving back others would lose what is in them.
func readOnlyMappings(maps io.Reader, file string) ([]mapping, error) {
	var found []mapping
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var start, end uintptr
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &start, &end, &mode); err != nil {
			return nil, fmt.Errorf("read the mapping %q: %w", lines.Text(), err)
		}
		_, path, _ := strings.Cut(lines.Text(), "/")
		if "/"+path == file && !strings.Contains(mode, "w") {
			found = append(found, mapping{start: start, length: end - start})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the mappings: %w", err)
	}
	return found, nil
}
