package fs

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"syscall"

	"github.com/berthregistry/berth/internal/storage"
)

// unavailable wraps a failure of the file system. All of them may pass: a full disk is cleaned, a mount comes back.
func unavailable(op, name string, err error) error {
	return fmt.Errorf("fs: %s %s: %w: %w", op, name, storage.ErrUnavailable, err)
}

// lookupError wraps a failure to open an existing object.
func lookupError(op, name string, err error) error {
	if isAbsent(err) {
		return fmt.Errorf("fs: %s %s: %w", op, name, storage.ErrNotFound)
	}
	return unavailable(op, name, err)
}

// isAbsent says whether no file has the name. ENOTDIR arises where a key goes on below another object's.
func isAbsent(err error) bool {
	return errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
