package observe

import (
	"maps"
	"sync"
	"sync/atomic"
)

// maxCached bounds a cache: its keys are bounded by what the program names, and this is for the day on which they are not.
const maxCached = 4096

// cache keeps what was made for a key, for good. Looking takes no lock and no memory. The zero value is empty.
type cache[K comparable, V any] struct {
	known atomic.Pointer[map[K]*V]
	mu    sync.Mutex
}

// get returns what create makes for key, which it makes once.
func (c *cache[K, V]) get(key K, create func(K) *V) *V {
	if known := c.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v
		}
	}
	return c.add(key, create)
}

func (c *cache[K, V]) add(key K, create func(K) *V) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[K]*V{}
	if old := c.known.Load(); old != nil {
		if v, ok := (*old)[key]; ok {
			return v
		}
		if len(*old) >= maxCached {
			return create(key)
		}
		known = maps.Clone(*old)
	}
	v := create(key)
	known[key] = v
	c.known.Store(&known)
	return v
}
