package auth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/berthregistry/berth/internal/database"
)

// purpose is what a key signs. A key of one purpose is never found under another.
type purpose string

const (
	purposeToken  purpose = "token"  // bearer tokens, Ed25519
	purposeUpload purpose = "upload" // the state in upload locations, HMAC-SHA-256
)

const (
	keyBytes = 32 // an Ed25519 seed, or an HMAC key
	kidBytes = 16

	// tokenOverlap and uploadOverlap are how long a key verifies when it signs no more, the life of a token apart.
	tokenOverlap  = time.Hour
	uploadOverlap = 7 * 24 * time.Hour
)

// keyName is how a key is looked up.
type keyName struct {
	purpose purpose
	kid     string
}

type signingKey struct {
	kid                       string
	generation                int64
	secret                    []byte
	signsUntil, verifiesUntil time.Time
}

func (k signingKey) private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.secret) }

func (k signingKey) public() ed25519.PublicKey {
	return k.private().Public().(ed25519.PublicKey) //nolint:forcetypeassert,errcheck // of Ed25519
}

const keyColumns = `SELECT kid, generation, secret, signs_until, verifies_until FROM signing_keys `

var (
	newestKey = database.SQL(keyColumns + `WHERE purpose = $1 ORDER BY generation DESC LIMIT 1`)
	keyByID   = database.SQL(keyColumns + `WHERE kid = $1 AND purpose = $2`)
	insertKey = database.SQL(`
		INSERT INTO signing_keys (kid, purpose, generation, algorithm, secret, created_at, signs_until, verifies_until)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (purpose, generation) DO NOTHING`)
	deleteOldKeys = database.SQL(`
		DELETE FROM signing_keys WHERE purpose = $1 AND verifies_until < $2
		AND generation < (SELECT max(generation) FROM signing_keys WHERE purpose = $1)`)
)

// UploadKey gives the newest HMAC key for the state in upload locations. Errors: the context's and the database's.
func (s *Service) UploadKey(ctx context.Context) (kid string, key []byte, err error) {
	k, err := s.signingKey(ctx, purposeUpload)
	return k.kid, bytes.Clone(k.secret), err
}

// UploadKeyByID gives the HMAC key that signed an upload's state. Errors: ErrUnknownKey, the context's and the
// database's.
func (s *Service) UploadKeyByID(ctx context.Context, kid string) ([]byte, error) {
	k, err := s.verifyingKey(ctx, keyName{purposeUpload, kid})
	return bytes.Clone(k.secret), err
}

// verifyingKey finds a key by its id. One that this replica has not seen yet is read from the database, so that what
// another replica signs with a new key is valid here at once.
func (s *Service) verifyingKey(ctx context.Context, name keyName) (signingKey, error) {
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(name.kid); err != nil || len(raw) != kidBytes {
		return signingKey{}, fmt.Errorf("auth: %w: malformed id", ErrUnknownKey)
	}
	k, err := s.keys.Get(ctx, name, func(ctx context.Context) (signingKey, error) {
		k, err := scanKey(s.db.QueryRow(ctx, keyByID, name.kid, string(name.purpose)))
		if errors.Is(err, database.ErrNoRows) {
			return signingKey{}, fmt.Errorf("auth: %w", ErrUnknownKey)
		}
		return k, err
	})
	if err != nil {
		return signingKey{}, err
	}
	if !s.now().Before(k.verifiesUntil) {
		return signingKey{}, fmt.Errorf("auth: %w: out of use", ErrUnknownKey)
	}
	return k, nil
}

// signingKey gives the newest key, and makes the next one when its time to sign is over.
func (s *Service) signingKey(ctx context.Context, p purpose) (signingKey, error) {
	current := func(ctx context.Context) (signingKey, error) { return s.currentKey(ctx, p) }
	k, err := s.signing.Get(ctx, p, current)
	if err == nil && !s.signs(k) { // its time ended while it was cached
		s.signing.Forget(p)
		k, err = s.signing.Get(ctx, p, current)
	}
	return k, err
}

func (s *Service) signs(k signingKey) bool { return s.now().Before(k.signsUntil) }

func (s *Service) currentKey(ctx context.Context, p purpose) (signingKey, error) {
	k, err := scanKey(s.db.QueryRow(ctx, newestKey, string(p)))
	if err != nil && !errors.Is(err, database.ErrNoRows) {
		return signingKey{}, err
	}
	if err == nil && s.signs(k) {
		return k, nil
	}
	return s.rotate(ctx, p, k.generation+1)
}

// rotate adds a generation of keys. Of the replicas that do so at once one succeeds, and all return its key.
func (s *Service) rotate(ctx context.Context, p purpose, generation int64) (signingKey, error) {
	now := s.now()
	signsUntil := now.Add(s.opts.KeyLifetime)
	algorithm, verifiesUntil := "EdDSA", signsUntil.Add(s.opts.TokenTTL+tokenOverlap)
	if p == purposeUpload {
		algorithm, verifiesUntil = "HS256", signsUntil.Add(uploadOverlap)
	}
	secret := make([]byte, keyBytes)
	_, _ = rand.Read(secret) // never fails: it ends the program instead

	var winner signingKey
	var b database.Batch
	b.Exec(insertKey, randomText(kidBytes), string(p), generation, algorithm, base64.StdEncoding.EncodeToString(secret),
		database.ToMicros(now), database.ToMicros(signsUntil), database.ToMicros(verifiesUntil))
	b.Exec(deleteOldKeys, string(p), database.ToMicros(now))
	b.Query(func(r database.Rows) (err error) {
		winner, err = scanKey(r)
		return err
	}, newestKey, string(p))
	if err := s.db.Run(ctx, &b); err != nil {
		return signingKey{}, fmt.Errorf("auth: rotate the %s key: %w", p, err)
	}
	if !s.signs(winner) {
		return signingKey{}, fmt.Errorf("auth: the newest %s key is out of use: the clocks of the replicas differ", p)
	}
	return winner, nil
}

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

func scanKey(row scanner) (signingKey, error) {
	var k signingKey
	var secret string
	var signsUntil, verifiesUntil int64
	if err := row.Scan(&k.kid, &k.generation, &secret, &signsUntil, &verifiesUntil); err != nil {
		return signingKey{}, fmt.Errorf("auth: read signing key: %w", err)
	}
	var err error
	if k.secret, err = base64.StdEncoding.DecodeString(secret); err != nil || len(k.secret) != keyBytes {
		return signingKey{}, fmt.Errorf("auth: signing key %s is malformed", k.kid)
	}
	k.signsUntil, k.verifiesUntil = database.FromMicros(signsUntil), database.FromMicros(verifiesUntil)
	return k, nil
}
