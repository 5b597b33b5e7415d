package api

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
)

// sealer encrypts what only the caller may read again. Answers hold secrets that are shown once; the key is made of the
// secret that the caller sends with each request, which the server does not keep, so a database that is stolen opens
// none of them.
type sealer struct{ aead cipher.AEAD }

func newSealer(secret, idempotencyKey string) (*sealer, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), []byte(idempotencyKey), "berth idempotency answer", 32)
	if err != nil {
		return nil, fmt.Errorf("api: sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("api: sealing key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("api: sealing key: %w", err)
	}
	return &sealer{aead: aead}, nil
}

func (s *sealer) seal(text []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(text)+s.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("api: seal: %w", err)
	}
	return s.aead.Seal(nonce, nonce, text, nil), nil
}

func (s *sealer) open(sealed []byte) ([]byte, error) {
	if len(sealed) < s.aead.NonceSize() {
		return nil, fmt.Errorf("api: a sealed answer of %d bytes", len(sealed))
	}
	nonce, rest := sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():]
	text, err := s.aead.Open(nil, nonce, rest, nil)
	if err != nil {
		return nil, fmt.Errorf("api: open a sealed answer: %w", err)
	}
	return text, nil
}
