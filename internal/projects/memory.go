package projects

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/recent"
)

// cacheSize bounds each cache. An entry takes less than a kilobyte.
const cacheSize = 20_000

// memory is a cache of answers about projects, all of which one Forget can end.
type memory[K comparable, V any] struct {
	cache   *recent.Cache[K, answer[V]]
	forgets *forgets
}

// answer is what the database said, about which project, and after how many calls of Forget it was asked.
type answer[V any] struct {
	value   V
	project uuid.UUID
	asked   uint64
}

func newMemory[K comparable, V any](f *forgets, opts Options) *memory[K, V] {
	cache, err := recent.New[K, answer[V]](cacheSize, opts.CacheTTL, opts.Clock)
	if err != nil {
		panic(err) // the size and the life are positive
	}
	return &memory[K, V]{cache: cache, forgets: f}
}

// get returns the answer for key, asking for it with load if it is not remembered. An answer that is not valid (nil:
// every one is) is asked for again, once.
func (m *memory[K, V]) get(
	ctx context.Context, key K, load func(context.Context) (V, uuid.UUID, error), valid func(V) bool,
) (V, error) {
	ask := func(ctx context.Context) (answer[V], error) {
		asked := m.forgets.count()
		value, project, err := load(ctx)
		return answer[V]{value: value, project: project, asked: asked}, err
	}
	a, err := m.cache.Get(ctx, key, ask)
	if err == nil && (m.forgets.since(a.project, a.asked) || valid != nil && !valid(a.value)) {
		m.cache.Forget(key)
		a, err = m.cache.Get(ctx, key, ask)
	}
	return a.value, err
}

// forgetShards trades memory for how many projects share the fate of one that is forgotten.
const forgetShards = 4096

// forgets counts calls of Forget, and knows for each project when it was last forgotten. Projects share shards: so its
// size is fixed, and an answer may be dropped without need, but never kept.
type forgets struct {
	mu    sync.Mutex // of writers
	total atomic.Uint64
	last  [forgetShards]atomic.Uint64
}

func (f *forgets) add(project uuid.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last[shard(project)].Store(f.total.Add(1))
}

func (f *forgets) count() uint64 { return f.total.Load() }

// since reports whether project was forgotten after count was count.
func (f *forgets) since(project uuid.UUID, count uint64) bool {
	return f.last[shard(project)].Load() > count
}

// shard uses the last bytes of a UUIDv7, which are random.
func shard(id uuid.UUID) int { return (int(id[14])<<8 | int(id[15])) % forgetShards }
