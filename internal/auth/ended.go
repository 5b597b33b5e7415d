package auth

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

// ended is what a transaction ended or changed, for this replica to forget.
type ended struct {
	tokens   []uuid.UUID
	secrets  []secretHash // of tokens
	sessions []secretHash
}

// token gives a scan of one secret_hash of a token.
func (e *ended) token(id uuid.UUID) func(database.Rows) error {
	return func(r database.Rows) error {
		e.tokens = append(e.tokens, id)
		return appendHash(r, &e.secrets)
	}
}

// tokenWithID scans a token's id and secret_hash.
func (e *ended) tokenWithID(r database.Rows) error {
	var id uuid.UUID
	var stored string
	if err := r.Scan(&id, &stored); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	e.tokens = append(e.tokens, id)
	e.secrets = appendParsed(e.secrets, stored)
	return nil
}

// session scans the secret_hash of a session.
func (e *ended) session(r database.Rows) error { return appendHash(r, &e.sessions) }

func appendHash(r database.Rows, into *[]secretHash) error {
	var stored string
	if err := r.Scan(&stored); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	*into = appendParsed(*into, stored)
	return nil
}

// appendParsed leaves out what is no hash: no secret has it, so none is remembered.
func appendParsed(hashes []secretHash, stored string) []secretHash {
	if hash, err := parseSecretHash(stored); err == nil {
		return append(hashes, hash)
	}
	return hashes
}

// forget drops what this replica remembers of what ended. Other replicas do when their answers' life is over.
func (s *Service) forget(e ended) {
	for _, id := range e.tokens {
		s.byID.Forget(id)
	}
	for _, hash := range e.secrets {
		s.bySecret.Forget(hash)
	}
	for _, hash := range e.sessions {
		s.sessions.Forget(hash)
	}
}
