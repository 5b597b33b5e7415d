package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// argonParams are the costs of argon2id.
type argonParams struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// defaultArgon is what new passwords cost: RFC 9106's choice of memory where it is constrained.
var defaultArgon = argonParams{memory: 64 << 10, time: 1, threads: 2}

// What a stored hash may ask for. A row that asks for more is not obeyed.
const (
	maxArgonMemory  = 256 << 10
	maxArgonTime    = 16
	maxArgonThreads = 16
	minSalt         = 8
	maxSalt         = 64
	minKey          = 16
	maxKey          = 64
)

// passwordHash is a salted hash of a password. Its text is a PHC string:
// $argon2id$v=19$m=65536,t=1,p=2$<salt>$<hash>.
type passwordHash struct {
	argonParams
	salt, key []byte
}

// compute hashes password as h says.
func (h passwordHash) compute(password string) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
}

// String is the PHC string.
func (h passwordHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

// parsePasswordHash is the inverse of String. It accepts nothing that String does not give.
func parsePasswordHash(text string) (passwordHash, error) {
	fields := strings.Split(text, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != "v="+strconv.Itoa(argon2.Version) {
		return passwordHash{}, errors.New("not an argon2id hash of a known version")
	}
	params, err := parseArgonParams(fields[3])
	if err != nil {
		return passwordHash{}, err
	}
	h := passwordHash{argonParams: params}
	if h.salt, err = decodeField(fields[4], minSalt, maxSalt); err != nil {
		return passwordHash{}, fmt.Errorf("salt: %w", err)
	}
	if h.key, err = decodeField(fields[5], minKey, maxKey); err != nil {
		return passwordHash{}, fmt.Errorf("hash: %w", err)
	}
	return h, nil
}

func parseArgonParams(text string) (argonParams, error) {
	fields := strings.Split(text, ",")
	if len(fields) != 3 {
		return argonParams{}, errors.New("costs are not m, t and p")
	}
	memory, err := parseCost(fields[0], "m=", 8, maxArgonMemory)
	if err != nil {
		return argonParams{}, err
	}
	time, err := parseCost(fields[1], "t=", 1, maxArgonTime)
	if err != nil {
		return argonParams{}, err
	}
	threads, err := parseCost(fields[2], "p=", 1, maxArgonThreads)
	if err != nil {
		return argonParams{}, err
	}
	if memory < 8*threads {
		return argonParams{}, errors.New("less than 8 KiB for each thread")
	}
	return argonParams{memory: memory, time: time, threads: uint8(threads)}, nil
}

func parseCost(field, name string, least, most uint64) (uint32, error) {
	digits, ok := strings.CutPrefix(field, name)
	if !ok {
		return 0, fmt.Errorf("no %s", name)
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s %w", name, err)
	}
	if n < least || n > most || digits != strconv.FormatUint(n, 10) {
		return 0, fmt.Errorf("%s%s is out of range", name, digits)
	}
	return uint32(n), nil
}

func decodeField(text string, least, most int) ([]byte, error) {
	if len(text) > base64.RawStdEncoding.EncodedLen(most) || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("too long or broken into lines")
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("not base64: %w", err)
	}
	if len(b) < least {
		return nil, errors.New("too short")
	}
	return b, nil
}
