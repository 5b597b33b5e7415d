package fs

import "sync"

// pending is the set of keys whose files are being written and must not be seen yet.
type pending struct {
	mu   *sync.RWMutex
	keys map[string]struct{}
}

func newPending() pending {
	return pending{mu: new(sync.RWMutex), keys: map[string]struct{}{}}
}

// add reports whether the key was free.
func (p pending) add(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, taken := p.keys[key]; taken {
		return false
	}
	p.keys[key] = struct{}{}
	return true
}

func (p pending) remove(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.keys, key)
}

func (p pending) has(key string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, ok := p.keys[key]
	return ok
}
