// Package e2e drives whole servers with the clients that people use: the programs themselves, the libraries that others
// are built on, and, for those that need a machine of their own, their requests written by hand. What the clients push
// is read back and compared byte by byte.
package e2e

import (
	"testing"

	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
