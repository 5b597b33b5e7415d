package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
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

// TestThreat17WithoutAnAddress: clients whose address is not known share one bucket, and what claims to be an address and
// is none is the proxy's. Neither is without a limit.
func TestThreat17WithoutAnAddress(t *testing.T) {
	t.Parallel()
	const burst = 3
	now := time.Now()
	cfg := settings(t.TempDir())
	cfg.RateLimit.TokenBurst, cfg.RateLimit.AnonymousPercent = burst, 100
	cfg.HTTP.TrustedProxies = []string{"127.0.0.0/8"}
	handler := newHandler(t, cfg, server.Options{Clock: func() time.Time { return now }})
	for name, requests := range map[string][][2]string{
		"no address": {{"", ""}, {"@", ""}, {"/run/berth.sock", ""}, {"nonsense", ""}, {"", "192.0.2.1"}, {"@", "192.0.2.2"}},
		"the proxy's": {
			{"127.0.0.1:1", ""}, {"127.0.0.1:2", "nonsense"}, {"127.0.0.1:3", "192.0.2.1, also nonsense"}, {"127.0.0.1:4", "::g"},
			{"127.0.0.1:5", strings.Repeat("1,", 1000)}, {"127.0.0.1:6", "192.0.2.256"},
		},
	} {
		let := 0
		for n, one := range requests {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth/token", nil)
			request.RemoteAddr = one[0]
			if one[1] != "" {
				request.Header.Set("X-Forwarded-For", one[1])
			}
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			switch {
			case recorder.Code == http.StatusOK:
				let++
			case recorder.Code != http.StatusTooManyRequests || recorder.Header().Get("Retry-After") == "":
				t.Errorf("%s: %d %v", name, recorder.Code, recorder.Header())
			case n < burst:
				t.Errorf("%s: request %d is refused", name, n)
			}
		}
		if let != burst {
			t.Errorf("%s: %d requests were let through, want %d", name, let, burst)
		}
	}
}
