package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	minPassword = 8
	maxPassword = 512 // bytes

	saltLength = 16
	keyLength  = 32
)

// hasher hashes passwords, only so many at once: each takes its memory and a CPU, and anyone may ask for it.
type hasher struct {
	params  argonParams
	slots   chan struct{}
	waiting atomic.Int64
}

const (
	// maxWaiting is how many may wait for each slot. More would only learn later that nobody has time for them.
	maxWaiting = 16
	// maxHashWait bounds their wait.
	maxHashWait = 5 * time.Second
)

func newHasher(params argonParams, slots int) *hasher {
	if slots <= 0 {
		slots = min(runtime.GOMAXPROCS(0), 4)
	}
	return &hasher{params: params, slots: make(chan struct{}, slots)}
}

func checkPassword(password string) error {
	if utf8.RuneCountInString(password) < minPassword || len(password) > maxPassword || !utf8.ValidString(password) {
		return invalid("password", fmt.Sprintf("a password has %d characters or more, and at most %d bytes", minPassword, maxPassword))
	}
	return nil
}

// hash gives the PHC string of password. Errors: the context's, while it waits for its turn.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	stored := passwordHash{argonParams: h.params, salt: make([]byte, saltLength), key: make([]byte, keyLength)}
	_, _ = rand.Read(stored.salt) // never fails: it ends the program instead
	key, err := h.compute(ctx, stored, password)
	if err != nil {
		return "", err
	}
	stored.key = key
	return stored.String(), nil
}

// verify reports whether password is the one that phc is the hash of. With an empty phc it takes as long and says no.
// Errors: the context's, and one for a phc of bad form.
func (h *hasher) verify(ctx context.Context, password, phc string) (bool, error) {
	stored := passwordHash{argonParams: h.params, salt: make([]byte, saltLength), key: make([]byte, keyLength)}
	if phc != "" {
		var err error
		if stored, err = parsePasswordHash(phc); err != nil {
			return false, fmt.Errorf("auth: stored password: %w", err)
		}
	}
	key, err := h.compute(ctx, stored, password)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, stored.key) == 1 && phc != "", nil
}

// compute takes its turn. Errors: ErrBusy, the context's.
func (h *hasher) compute(ctx context.Context, stored passwordHash, password string) ([]byte, error) {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(cap(h.slots)*(maxWaiting+1)) {
		return nil, fmt.Errorf("auth: %w: too many passwords to check", ErrBusy)
	}
	timer := time.NewTimer(maxHashWait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-timer.C:
		return nil, fmt.Errorf("auth: %w: too many passwords to check", ErrBusy)
	case <-ctx.Done():
		return nil, fmt.Errorf("auth: wait to hash a password: %w", ctx.Err())
	}
	return stored.compute(password), nil
}
