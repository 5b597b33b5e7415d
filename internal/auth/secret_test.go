package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func TestSecretsAreRecognised(t *testing.T) {
	for _, prefix := range []string{personalPrefix, robotPrefix, runnerPrefix} {
		secret := newSecret(prefix)
		if len(secret) != len(prefix)+49 || !strings.HasPrefix(secret, prefix) {
			t.Errorf("%s has an unexpected form", secret)
		}
		if err := checkSecret(secret); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
		if secret == newSecret(prefix) {
			t.Error("two secrets are the same")
		}
	}
}

func TestAnySingleTypoIsSeen(t *testing.T) {
	secret := newSecret(robotPrefix)
	for i := range secret {
		for _, c := range []byte("0aZ-_.") {
			if secret[i] == c {
				continue
			}
			typo := secret[:i] + string(c) + secret[i+1:]
			// A typo in "berth_" makes it a secret that somebody may have chosen.
			if strings.HasPrefix(typo, ownPrefix) && checkSecret(typo) == nil {
				t.Errorf("%s passes for %s", typo, secret)
			}
		}
	}
}

func TestMalformedSecrets(t *testing.T) {
	good := newSecret(personalPrefix)
	other := newSecret(runnerPrefix)
	for name, secret := range map[string]string{
		"empty":                 "",
		"short":                 strings.Repeat("x", 19),
		"long":                  strings.Repeat("x", 513),
		"space":                 strings.Repeat("x", 20) + " ",
		"new line":              good + "\n",
		"control":               strings.Repeat("x", 20) + "\x00",
		"not ASCII":             strings.Repeat("é", 20),
		"cut":                   good[:len(good)-1],
		"extended":              good + "0",
		"another kind":          runnerPrefix + strings.TrimPrefix(good, personalPrefix),
		"unknown kind":          "berth_xyz_" + strings.TrimPrefix(good, personalPrefix),
		"prefix only":           personalPrefix,
		"checksum of another":   good[:len(good)-6] + other[len(other)-6:],
		"not base64url":         personalPrefix + strings.Repeat("+", 43) + checksum(personalPrefix+strings.Repeat("+", 43)),
		"line break in base64":  personalPrefix + strings.Repeat("A", 42) + "\n" + checksum(personalPrefix+strings.Repeat("A", 42)+"\n"),
		"bits beyond the bytes": personalPrefix + strings.Repeat("A", 42) + "B" + checksum(personalPrefix+strings.Repeat("A", 42)+"B"),
	} {
		t.Run(name, func(t *testing.T) {
			if checkSecret(secret) == nil {
				t.Errorf("%q is accepted", secret)
			}
		})
	}
}

func TestAChosenSecretIsAccepted(t *testing.T) {
	for _, secret := range []string{strings.Repeat("x", 20), "operator's:choice/of=secret!", strings.Repeat("~", 512)} {
		if err := checkSecret(secret); err != nil {
			t.Errorf("%q: %v", secret, err)
		}
	}
}

func TestTheHintTellsLittle(t *testing.T) {
	secret := newSecret(personalPrefix)
	if got := hint(secret); got != secret[:14] {
		t.Errorf("hint %q", got)
	}
	if got := hint("chosen-by-an-operator"); got != "" {
		t.Errorf("hint %q of a secret that may be guessable", got)
	}
}

func TestSecretHashesAreSHA256InHex(t *testing.T) {
	sum := sha256.Sum256([]byte("abc"))
	h := hashSecret("abc")
	if h.String() != hex.EncodeToString(sum[:]) {
		t.Error(h)
	}
	if back, err := parseSecretHash(h.String()); err != nil || back != h {
		t.Errorf("%v, %v", back, err)
	}
	for _, text := range []string{"", "zz", h.String()[2:], h.String() + "00"} {
		if _, err := parseSecretHash(text); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}

func FuzzCheckSecret(f *testing.F) {
	for _, seed := range []string{newSecret(personalPrefix), newSecret(robotPrefix), newSecret(runnerPrefix), "berth_", "", "chosen-by-an-operator"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, secret string) {
		if checkSecret(secret) != nil {
			return
		}
		if len(secret) < minChosenSecret || len(secret) > maxSecret || strings.ContainsAny(secret, " \t\r\n\x00") {
			t.Errorf("%q is accepted", secret)
		}
		if body, ok := strings.CutPrefix(secret, ownPrefix); ok {
			at := len(secret) - checksumLength
			if len(body) != len("pat_")+randomLength+checksumLength || checksum(secret[:at]) != secret[at:] {
				t.Errorf("%q is accepted", secret)
			}
		}
	})
}
