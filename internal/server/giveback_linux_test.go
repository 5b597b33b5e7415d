package server

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGiveBack: the program goes on without the pages that it gave back.
func TestGiveBack(t *testing.T) {
	if err := adviseProgram(unix.MADV_POPULATE_READ); err != nil {
		t.Fatal(err)
	}
	before := filePages(t)
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
	if after := filePages(t); after > before/2 {
		t.Errorf("%d kB of the program are in memory, %d before", after, before)
	}
}

// filePages is how much of files is in this process's memory, in kB.
func filePages(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("RssFile:"))
	kb, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}
