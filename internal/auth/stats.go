package auth

import "github.com/berthregistry/berth/internal/recent"

// Stats are the figures of a Service.
type Stats struct {
	// Secrets and Credentials are credentials that are remembered, by their secret and by their ID; Sessions are log-ins,
	// Tokens bearer tokens that were verified.
	Secrets, Credentials, Sessions, Tokens recent.Stats
}

// Stats tells of how much use the memory is.
func (s *Service) Stats() Stats {
	return Stats{
		Secrets: s.bySecret.Stats(), Credentials: s.byID.Stats(), Sessions: s.sessions.Stats(), Tokens: s.verified.Stats(),
	}
}
