package server

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestUnwrittenMappings(t *testing.T) {
	t.Parallel()
	const maps = `00400000-01eb0000 r-xp 00001000 fe:00 1189 /opt/a berth/berth
Size:              27328 kB
Rss:               20000 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01eb0000-03e00000 r--p 01ab1000 fe:00 1189                               /opt/a berth/berth
Anonymous:             0 kB
03e00000-03e10000 r--p 03a01000 fe:00 1189                               /opt/a berth/berth
Private_Dirty:        64 kB
Anonymous:            64 kB
03e10000-03f00000 rw-p 03a01000 fe:00 1189                               /opt/a berth/berth
Anonymous:             0 kB
03f00000-05f00000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r--p 00000000 fe:00 1190                       /opt/a berth/berth2
Anonymous:             0 kB
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
`
	found, err := unwrittenMappings(strings.NewReader(maps), "/opt/a berth/berth")
	if err != nil {
		t.Fatal(err)
	}
	if want := []mapping{{start: 0x400000, length: 0x1ab0000}, {start: 0x1eb0000, length: 0x1f50000}}; !slices.Equal(found, want) {
		t.Errorf("%x, want %x", found, want)
	}
}

func TestDropProgramPages(t *testing.T) { //nolint:paralleltest // what others touch meanwhile is mapped again
	before := filePages(t)
	if err := dropProgramPages(); err != nil {
		t.Fatal(err)
	}
	if after := filePages(t); after >= before {
		t.Errorf("%d KiB of files are mapped and touched, %d before", after, before)
	}
}

// filePages is how much of files this process has mapped and touched, in KiB.
func filePages(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(status), "RssFile:")
	if !found {
		t.Fatal("the system does not tell")
	}
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}
