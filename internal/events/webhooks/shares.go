package webhooks

import "sync"

// shares is how many of a replica's slots are in use by each owner of webhooks: receivers of one that let every attempt
// wait for its timeout must not delay the events of all others.
type shares struct {
	most int // that one owner may have

	mu     sync.Mutex
	inHand map[string]int
}

// newShares gives each owner at most a part of the slots, in per cent, and one at the least.
func newShares(slots, percent int) *shares {
	return &shares{most: max(slots*percent/100, 1), inHand: map[string]int{}}
}

// inUse names the owner of each slot that is in use.
func (s *shares) inUse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	owners := []string{}
	for owner, n := range s.inHand {
		for range n {
			owners = append(owners, owner)
		}
	}
	return owners
}

func (s *shares) take(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inHand[owner]++
}

// give tells whether the owner had its whole share.
func (s *shares) give(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.inHand[owner]
	if s.inHand[owner]--; s.inHand[owner] == 0 {
		delete(s.inHand, owner)
	}
	return had >= s.most
}
