package audit

import (
	"net/netip"
	"sync"
	"time"
)

// Sampling is the policy for refusals, of which an attacker can cause any number: of those of one caller and one action the
// first few in a minute are written one by one; the others are counted, and the count is written when the minute is over.
const (
	sampleWindow = time.Minute
	// maxSamples bounds the callers and actions that are told apart at a time. Refusals of further ones are dropped, and
	// counted in Stats.
	maxSamples = 10_000
)

// verdict is what becomes of a refusal.
type verdict int

const (
	written verdict = iota
	sampled
	dropped
)

// sampleKey is whose refusals of what are counted together.
type sampleKey struct{ who, action string }

type sample struct {
	began   time.Time
	n       int     // all of them
	counted int     // those that were not written
	last    Refusal // that was counted
}

// sampler applies the policy. It is safe for concurrent use.
type sampler struct {
	first int // how many are written one by one
	now   func() time.Time

	mu   sync.Mutex
	seen map[sampleKey]*sample
}

func newSampler(first int, now func() time.Time) *sampler {
	return &sampler{first: first, now: now, seen: map[sampleKey]*sample{}}
}

func (s *sampler) judge(r Refusal) verdict {
	key := sampleKey{who: who(r.Origin), action: r.Action}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.seen[key]
	if one == nil {
		if len(s.seen) >= maxSamples {
			return dropped
		}
		one = &sample{began: s.now()}
		s.seen[key] = one
	}
	one.n++
	if one.n <= s.first {
		return written
	}
	one.counted++
	one.last = r
	return sampled
}

// counts takes what was counted in minutes that are over, or in all of them.
func (s *sampler) counts(all bool) []Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	var over []Refusal
	for key, one := range s.seen {
		if !all && s.now().Sub(one.began) < sampleWindow {
			continue
		}
		delete(s.seen, key)
		if one.counted > 0 {
			one.last.count = one.counted
			over = append(over, one.last)
		}
	}
	return over
}

// who is the actor, or the network that one without an account comes from: an IPv4 address or the /64 of an IPv6 address.
func who(o Origin) string {
	if o.Actor != "anonymous" && o.Actor != "" {
		return o.Actor
	}
	addr, err := netip.ParseAddr(o.RemoteIP)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr.String()
}
