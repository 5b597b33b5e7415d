package server_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/berthregistry/berth/internal/config"
)

// TestThreat17AFloodOfKeysIsStillLimited: more addresses than there are buckets get no more than all buckets hold and one
// that they share, and cost a user nothing.
func TestThreat17AFloodOfKeysIsStillLimited(t *testing.T) {
	t.Parallel()
	const keys, flood = 1000, 1500
	i := frozen(t, func(c *config.Config) {
		c.RateLimit.Keys, c.RateLimit.TokenBurst, c.RateLimit.AnonymousPercent = keys, 2, 50 // one for an address
		c.HTTP.TrustedProxies = []string{"127.0.0.0/8"}
	})
	let := 0
	for n := range flood {
		status, _, _ := i.do(t, http.MethodGet, "/auth/token", "", "X-Forwarded-For", fmt.Sprintf("2001:db8:%x::1", n))
		switch status {
		case http.StatusOK:
			let++
		case http.StatusTooManyRequests:
		default:
			t.Fatalf("status %d", status)
		}
	}
	if let < keys/4 || let > keys/2+32 { // half of the buckets are for addresses; each part of them has one that is shared
		t.Errorf("%d of %d requests were let through", let, flood)
	}
	for range 2 {
		i.want(t, http.StatusTooManyRequests, http.MethodGet, "/auth/token", "", "X-Forwarded-For", "2001:db8:0::ffff") // the first /64 again
	}
	i.want(t, http.StatusOK, http.MethodGet, "/auth/token", "", "Authorization", "Basic dTphbi1hZG1pbmlzdHJhdG9yJ3MtdG9rZW4tZm9yLWxpbWl0cw==")
}
