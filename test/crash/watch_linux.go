package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berthregistry/berth/test/crash/faults"
)

// watchedSteps are those that the kernel tells of.
var watchedSteps = []faults.Step{objectCreated, objectGrows, objectClosed, objectRemoved, walWritten, fileWritten}

const fileEvents = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_DELETE

// watcher passes the steps of the embedded backend's files.
type watcher struct {
	h       *harness
	events  *os.File
	control interface {
		Control(f func(fd uintptr)) error
	}
	objects string
	folders map[int32]string
}

// watchFiles passes steps until stop is called. With PostgreSQL and S3 the proxies do so.
func (h *harness) watchFiles() (stop func(), err error) {
	if h.o.backend != backendSQLite {
		return func() {}, nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	w := &watcher{h: h, events: os.NewFile(uintptr(fd), "inotify"), objects: filepath.Join(h.dir, "objects"), folders: map[int32]string{}}
	if w.control, err = w.events.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch files: %w", err), w.events.Close())
	}
	if err := errors.Join(w.add(h.dir), w.addTree(w.objects)); err != nil {
		return nil, errors.Join(err, w.events.Close())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run()
	}()
	return func() {
		_ = w.events.Close()
		<-ended
	}, nil
}

func (w *watcher) add(folder string) error {
	var failed error
	err := w.control.Control(func(fd uintptr) {
		var watch int
		if watch, failed = unix.InotifyAddWatch(int(fd), folder, fileEvents); failed == nil {
			w.folders[int32(watch)] = folder
		}
	})
	if err = errors.Join(err, failed); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("watch %s: %w", folder, err)
	}
	return nil
}

// addTree watches a folder and those in it; what appears in it meanwhile comes as an event.
func (w *watcher) addTree(folder string) error {
	if err := w.add(folder); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("watch %s: %w", folder, err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := w.addTree(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *watcher) run() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.events.Read(buffer)
		if err != nil {
			return
		}
		for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			const header = unix.SizeofInotifyEvent // the watch, the mask, a cookie and the length of the name, 4 bytes each
			watch, mask := int32(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint32(rest[4:])
			end := header + int(binary.NativeEndian.Uint32(rest[12:]))
			w.event(w.folders[watch], string(bytes.TrimRight(rest[header:end], "\x00")), mask)
			rest = rest[end:]
		}
	}
}

func (w *watcher) event(folder, name string, mask uint32) {
	switch {
	case mask&unix.IN_ISDIR != 0:
		if mask&unix.IN_CREATE != 0 && folder != w.h.dir || name == filepath.Base(w.objects) {
			_ = w.addTree(filepath.Join(folder, name)) // it may be gone
		}
	case folder == w.h.dir:
		w.database(name, mask)
	case mask&unix.IN_CREATE != 0:
		w.h.traps.Pass(objectCreated, 0)
	case mask&unix.IN_MODIFY != 0:
		w.h.traps.Pass(objectGrows, 0)
	case mask&unix.IN_CLOSE_WRITE != 0:
		w.h.traps.Pass(objectClosed, 0)
	case mask&unix.IN_DELETE != 0:
		w.h.traps.Pass(objectRemoved, 0)
	}
}

func (w *watcher) database(name string, mask uint32) {
	switch {
	case mask&unix.IN_MODIFY == 0:
	case strings.HasSuffix(name, ".db-wal"):
		w.h.traps.Pass(walWritten, 0)
	case strings.HasSuffix(name, ".db"):
		w.h.traps.Pass(fileWritten, 0)
	}
}
