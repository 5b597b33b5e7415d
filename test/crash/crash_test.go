package main

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/testenv"
	"github.com/berthregistry/berth/test/children"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestThreat22KilledAtEveryStep is a short run on each backend. Everything that it draws comes from a seed of its own,
// which it prints. One more run shows that the checks find what they are for.
func TestThreat22KilledAtEveryStep(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "berth")
	if err := children.Build(t.Context(), "../../cmd/api", program); err != nil {
		t.Fatal(err)
	}
	for _, backend := range []string{backendSQLite, backendPostgres} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			o := options{backend: backend, kills: 6, duration: 12 * time.Second, seed: rand.Uint64(), workers: 4, round: 3, collect: collectByDefault, program: program}
			check(t, o, t.Output())
		})
	}
	t.Run("what is planted", func(t *testing.T) {
		t.Parallel()
		testWhatIsPlanted(t, program)
	})
}
