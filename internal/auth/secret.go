package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// A secret is a prefix, 256 random bits in base64url, and a checksum of both: scanners recognise it, and one that was
// mistyped or cut is refused without a query. A secret that an operator chose has none of the prefixes.
const (
	personalPrefix = "berth_pat_"
	robotPrefix    = "berth_rob_"
	runnerPrefix   = "berth_run_"
	sessionPrefix  = "berth_ses_"
	invitePrefix   = "berth_inv_"
	ownPrefix      = "berth_" // what all of ours begin with, and no operator's may

	randomBytes    = 32
	randomLength   = 43 // in base64url
	checksumLength = 6  // a CRC-32 in base 62
	hintLength     = len(personalPrefix) + 4

	minChosenSecret = 20
	maxSecret       = 512
)

// secretHash is the SHA-256 of a secret or of a whole bearer token. A plain hash is enough for random bits.
type secretHash [sha256.Size]byte

func hashSecret(secret string) secretHash { return sha256.Sum256([]byte(secret)) }

// String is how the database stores a secret.
func (h secretHash) String() string { return hex.EncodeToString(h[:]) }

func parseSecretHash(text string) (secretHash, error) {
	var h secretHash
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(h) {
		return h, errors.New("not a SHA-256 in hex")
	}
	copy(h[:], b)
	return h, nil
}

func newSecret(prefix string) string {
	body := prefix + randomText(randomBytes)
	return body + checksum(body)
}

// randomText is n random bytes in base64url.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// CheckToken reports why text cannot be the secret of a registry token, nil if it can. Whether there is such a token is
// another question. The error does not show the text.
func CheckToken(text string) error { return checkSecret(text) }

// checkSecret reports why text cannot be the secret of a token, nil if it can.
func checkSecret(text string) error {
	if !strings.HasPrefix(text, ownPrefix) {
		return checkChosenSecret(text)
	}
	for _, prefix := range []string{personalPrefix, robotPrefix, runnerPrefix} {
		if body, ok := strings.CutPrefix(text, prefix); ok {
			return checkOwnSecret(prefix, body)
		}
	}
	return errors.New("unknown kind of secret")
}

// checkSessionSecret reports why text cannot be the secret of a session, nil if it can.
func checkSessionSecret(text string) error { return checkSecretOf(sessionPrefix, text) }

// checkSecretOf reports why text cannot be a secret that was made with the prefix.
func checkSecretOf(prefix, text string) error {
	body, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return errors.New("another kind of secret")
	}
	return checkOwnSecret(prefix, body)
}

func checkOwnSecret(prefix, body string) error {
	if len(body) != randomLength+checksumLength {
		return errors.New("wrong length")
	}
	random, sum := body[:randomLength], body[randomLength:]
	if _, err := base64.RawURLEncoding.Strict().DecodeString(random); err != nil || strings.ContainsAny(random, "\r\n") {
		return errors.New("not base64url")
	}
	if checksum(prefix+random) != sum {
		return errors.New("wrong checksum")
	}
	return nil
}

// checkChosenSecret asks for visible ASCII, which survives every client, header and shell history alike.
func checkChosenSecret(text string) error {
	if len(text) < minChosenSecret || len(text) > maxSecret {
		return fmt.Errorf("must be %d to %d characters long", minChosenSecret, maxSecret)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("must be visible ASCII characters without spaces")
	}
	return nil
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// checksum is the CRC-32 of text as six base 62 digits.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	digits := make([]byte, checksumLength)
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return string(digits)
}

// hint is what a list shows of a secret to recognise it by: nothing of one that was chosen, for that may be guessable.
func hint(secret string) string {
	if !strings.HasPrefix(secret, ownPrefix) {
		return ""
	}
	return secret[:hintLength]
}
