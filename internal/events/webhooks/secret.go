package webhooks

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	secretPrefix = "whsec_" // of the Standard Webhooks specification
	// secretBytes is how long secrets are that are made here; least and most are those of the specification.
	secretBytes      = 32
	minSecret        = 24
	maxSecret        = 64
	previousSecretIs = 24 * time.Hour // how long a former secret goes on signing
)

// newSecret makes a secret, without its prefix.
func newSecret() string {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails: it ends the program instead
	return base64.StdEncoding.EncodeToString(raw)
}

// secretOf is what is stored of a secret that somebody gives; an empty one is made. Errors: *InputError.
func secretOf(given string) (string, error) {
	if given == "" {
		return newSecret(), nil
	}
	text, prefixed := strings.CutPrefix(given, secretPrefix)
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if !prefixed || err != nil || len(raw) < minSecret || len(raw) > maxSecret {
		return "", &InputError{
			Field:  "secret",
			Reason: fmt.Sprintf("it must be %s and then %d to %d bytes in base64", secretPrefix, minSecret, maxSecret),
		}
	}
	return text, nil
}

// signatures is the header webhook-signature: one of each secret.
func signatures(id string, at time.Time, body []byte, secrets ...string) (string, error) {
	all := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		key, err := standard.NewWebhook(secret)
		if err != nil {
			return "", fmt.Errorf("webhooks: a secret that was stored wrongly: %w", err)
		}
		signature, err := key.Sign(id, at, body)
		if err != nil {
			return "", fmt.Errorf("webhooks: sign: %w", err)
		}
		all = append(all, signature)
	}
	return strings.Join(all, " "), nil
}
