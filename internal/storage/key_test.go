package storage_test

import (
	"errors"
	"math"
	"path"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
)

func TestValidateKey(t *testing.T) {
	long := strings.Repeat("a", 255)
	tests := map[string]bool{
		"2026-01-02/0198c0de-0000-7000-8000-000000000000/r4nd0m": true,
		"a":                            true,
		"a/b_c=d~e.f":                  true,
		"...":                          true,
		long:                           true,
		long + "/" + long:              true,
		long + "a":                     false,
		long + "/" + long + "/" + long: false,
		"":                             false,
		"/":                            false,
		"/a":                           false,
		"a/":                           false,
		"a//b":                         false,
		".":                            false,
		"..":                           false,
		"a/../b":                       false,
		"a/./b":                        false,
		"../a":                         false,
		"a/..":                         false,
		`a\b`:                          false,
		"a\x00b":                       false,
		"a b":                          false,
		"a+b":                          false,
		"a%2fb":                        false,
		"a:b":                          false,
		"ä":                            false,
		"a\n":                          false,
	}
	for key, ok := range tests {
		err := storage.ValidateKey(key)
		if ok && err != nil {
			t.Errorf("ValidateKey(%q) = %v, want nil", key, err)
		}
		if !ok && !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("ValidateKey(%q) = %v, want ErrInvalid", key, err)
		}
	}
}

func FuzzValidateKey(f *testing.F) {
	f.Add("2026-01-02/session/object")
	f.Add("../../etc/passwd")
	f.Fuzz(func(t *testing.T, key string) {
		if storage.ValidateKey(key) != nil {
			return
		}
		if path.Clean(key) != key || path.IsAbs(key) || strings.HasPrefix(key, "../") || key == ".." || key == "." {
			t.Errorf("accepted unclean key %q", key)
		}
		if strings.ContainsAny(key, "\\\x00") {
			t.Errorf("accepted dangerous bytes in %q", key)
		}
	})
}

func TestValidatePrefix(t *testing.T) {
	tests := []struct{ in, want string }{
		{"2026-01-02/", "2026-01-02"},
		{"2026-01-02", "2026-01-02"},
		{"2026-01-02/s", "2026-01-02/s"},
		{"", ""}, {"/", ""}, {"a//", ""}, {"../", ""},
	}
	for _, tt := range tests {
		got, err := storage.ValidatePrefix(tt.in)
		if got != tt.want || (tt.want == "") != errors.Is(err, storage.ErrInvalid) {
			t.Errorf("ValidatePrefix(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestValidateRange(t *testing.T) {
	tests := []struct {
		offset, length int64
		ok             bool
	}{
		{0, 0, true}, {0, -1, true}, {5, 10, true}, {0, math.MaxInt64, true}, {math.MaxInt64, -1, true},
		{-1, 0, false}, {1, math.MaxInt64, false}, {math.MaxInt64, 1, false},
	}
	for _, tt := range tests {
		if err := storage.ValidateRange(tt.offset, tt.length); (err == nil) != tt.ok {
			t.Errorf("ValidateRange(%d, %d) = %v, want ok %t", tt.offset, tt.length, err, tt.ok)
		}
	}
}

func TestValidateParts(t *testing.T) {
	part := func(key string, offset, length int64) storage.Part {
		return storage.Part{Key: key, Offset: offset, Length: length}
	}
	tests := []struct {
		name  string
		dst   string
		parts []storage.Part
		want  int64
		ok    bool
	}{
		{"none", "d", nil, 0, true},
		{"two", "d", []storage.Part{part("a", 0, 3), part("b", 9, 4)}, 7, true},
		{"empty part", "d", []storage.Part{part("a", 0, 0)}, 0, true},
		{"bad destination", "../d", nil, 0, false},
		{"bad source", "d", []storage.Part{part("", 0, 1)}, 0, false},
		{"itself", "d", []storage.Part{part("d", 0, 1)}, 0, false},
		{"open end", "d", []storage.Part{part("a", 0, -1)}, 0, false},
		{"negative offset", "d", []storage.Part{part("a", -1, 1)}, 0, false},
		{"overflow", "d", []storage.Part{part("a", 0, math.MaxInt64), part("b", 0, 1)}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := storage.ValidateParts(tt.dst, tt.parts)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("ValidateParts = %d, %v; want %d, ok %t", got, err, tt.want, tt.ok)
			}
		})
	}
}
