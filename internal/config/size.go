package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Binary multiples of a byte.
const (
	KiB ByteSize = 1 << 10
	MiB ByteSize = 1 << 20
	GiB ByteSize = 1 << 30
	TiB ByteSize = 1 << 40
)

// ByteSize is a number of bytes. Its text is a whole number with an optional binary unit: 512, 64KiB, 16MiB, 1GiB, 2TiB.
// Decimal and one-letter units are refused rather than guessed.
type ByteSize int64

var errByteSize = errors.New("is not a size: write a whole number of bytes, or one with KiB, MiB, GiB or TiB such as 16MiB")

var byteUnits = []struct {
	suffix string
	size   ByteSize
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}, {"", 1}}

// ParseByteSize reads the text form of a size.
func ParseByteSize(text string) (ByteSize, error) {
	for _, unit := range byteUnits {
		digits, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(digits, " "), 10, 63)
		switch {
		case errors.Is(err, strconv.ErrRange), err == nil && n > uint64(math.MaxInt64/unit.size):
			return 0, errors.New("is larger than any size can be")
		case err != nil:
			return 0, errByteSize
		}
		return ByteSize(n) * unit.size, nil
	}
	return 0, errByteSize
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *ByteSize) UnmarshalText(text []byte) error {
	size, err := ParseByteSize(string(text))
	if err != nil {
		return err
	}
	*b = size
	return nil
}

// String returns the shortest exact text form.
func (b ByteSize) String() string {
	for _, unit := range byteUnits {
		if unit.size > 1 && b != 0 && b%unit.size == 0 {
			return fmt.Sprintf("%d%s", int64(b/unit.size), unit.suffix)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
