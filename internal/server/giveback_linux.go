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
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read the mappings: %w", err)
	}
	defer func() { _ = maps.Close() }() // read only
	unwritten, err := unwrittenMappings(maps, program)
	if err != nil {
		return err
	}
	for _, m := range unwritten {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back %d bytes of the program: %w", m.length, errno)
		}
	}
	return nil
}

// mapping is a range of addresses, in bytes.
type mapping struct{ start, length uintptr }

// unwrittenMappings finds the ranges of maps, in the form of /proc/pid/smaps (proc_pid_smaps(5)), that map file, that nobody
// may write to, and of which no page was ever written. The last is what makes it safe to give them back: what a loader has
// relocated before it made it read-only is in no file, and would be lost.
func unwrittenMappings(maps io.Reader, file string) ([]mapping, error) {
	var found []mapping
	var current mapping
	ours := false
	for lines := bufio.NewScanner(maps); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return nil, fmt.Errorf("read the mappings: %w", err)
			}
			return found, nil
		}
		line := lines.Text()
		var start, end uintptr
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &start, &end, &mode); n == 3 {
			_, path, _ := strings.Cut(line, "/")
			current, ours = mapping{start: start, length: end - start}, "/"+path == file && !strings.Contains(mode, "w")
			continue
		}
		if fields := strings.Fields(line); ours && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" {
			found = append(found, current)
		}
	}
}
