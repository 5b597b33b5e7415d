package uploads

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/digests"
)

// maxStateLength bounds the _state parameter, in bytes: a repository path of 255 bytes, a principal and the fixed
// fields fit several times over.
const maxStateLength = 2048

// errState says that a _state parameter is malformed, forged, of an unknown key or expired. Callers answer as if the
// session did not exist.
var errState = errors.New("invalid upload state")

// state is what the Location of an upload session carries. It is signed, so a session needs no row before its first
// byte, and it binds the URL to one repository, one principal and one epoch of the project. The whole value is one
// query parameter: clients may reorder the query and add to it.
type state struct {
	Session    uuid.UUID    `json:"s"`
	Project    uuid.UUID    `json:"p"`
	Path       string       `json:"r"`
	Principal  string       `json:"u"`
	Epoch      int64        `json:"e"`
	Algorithm  digests.Algo `json:"a"`
	Offset     int64        `json:"o"` // where a body without Content-Range begins, in bytes
	ValidUntil int64        `json:"x"` // Unix seconds
}

// KeySource hands out the HMAC keys that sign upload states; replicas share them.
type KeySource interface {
	// UploadKey returns the key that signs now, and its id.
	UploadKey(ctx context.Context) (kid string, key []byte, err error)
	// UploadKeyByID returns a key that may still verify, or auth.ErrUnknownKey.
	UploadKeyByID(ctx context.Context, kid string) ([]byte, error)
}

// encodeState signs s: base64url(JSON) "." kid "." base64url(HMAC-SHA256 over both).
func encodeState(ctx context.Context, keys KeySource, s state) (string, error) {
	kid, key, err := keys.UploadKey(ctx)
	if err != nil {
		return "", fmt.Errorf("upload signing key: %w", err)
	}
	payload, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode upload state: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(payload) + "." + kid
	return signed + "." + base64.RawURLEncoding.EncodeToString(stateMAC(key, signed)), nil
}

// decodeState verifies a _state parameter. It returns errState for anything but a genuine, unexpired state.
func decodeState(ctx context.Context, keys KeySource, raw string, now time.Time) (state, error) {
	if raw == "" || len(raw) > maxStateLength {
		return state{}, errState
	}
	last := strings.LastIndexByte(raw, '.')
	if last < 0 {
		return state{}, errState
	}
	signed := raw[:last]
	payload, kid, found := strings.Cut(signed, ".")
	if !found || kid == "" {
		return state{}, errState
	}
	mac, err := base64.RawURLEncoding.DecodeString(raw[last+1:])
	if err != nil {
		return state{}, errState
	}
	key, err := keys.UploadKeyByID(ctx, kid)
	if err != nil {
		if errors.Is(err, auth.ErrUnknownKey) {
			return state{}, errState
		}
		return state{}, fmt.Errorf("upload signing key: %w", err)
	}
	if !hmac.Equal(mac, stateMAC(key, signed)) {
		return state{}, errState
	}
	return parseState(payload, now)
}

func parseState(payload string, now time.Time) (state, error) {
	decoded, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return state{}, errState
	}
	var s state
	if err := json.Unmarshal(decoded, &s); err != nil {
		return state{}, errState
	}
	if s.Offset < 0 || now.Unix() > s.ValidUntil {
		return state{}, errState
	}
	return s, nil
}

func stateMAC(key []byte, signed string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("berth upload state v1\x00"))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}
