//go:build !unix

package diskcache

import (
	"os"
	"path/filepath"
)

// lockFolder keeps nobody out: see to it that each process has a folder of its own.
func lockFolder(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:wrapcheck // by the caller
}
