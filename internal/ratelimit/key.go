package ratelimit

import (
	"context"
	"crypto/sha256"
	"net/netip"

	"github.com/google/uuid"
)

// Kind is what a Key names.
type Kind uint8

// The kinds of keys.
const (
	KindAddress Kind = iota // a client's address; without an ID: all clients whose address is not known
	KindUser
	KindProject // the robots of a project
	KindRunner
	KindAccount // what somebody tries to log in to
)

// Key names who has a bucket.
type Key struct {
	Kind Kind
	ID   [16]byte
}

// User is the key of a user, with whatever token or session.
func User(id uuid.UUID) Key { return Key{KindUser, id} }

// Project is the key of all robots of a project.
func Project(id uuid.UUID) Key { return Key{KindProject, id} }

// Runner is the key of a runner, by its token.
func Runner(tokenID uuid.UUID) Key { return Key{KindRunner, tokenID} }

// Account is the key of what somebody tries to log in to: an e-mail address, or a secret as a whole, since whoever knows
// less of it must not be able to shut its owner out. Of either only a digest is kept.
func Account(text string) Key {
	sum := sha256.Sum256([]byte(text))
	return Key{KindAccount, [16]byte(sum[:16])}
}

// ipv6Bits is the part of an IPv6 address that one subscriber has at least: the rest is theirs to choose.
const ipv6Bits = 64

// Address is the key of a client's address: an IPv4 address, also one that is mapped into IPv6, or the /64 of an IPv6
// address. All texts that are no address have one key, so that being unknown is no way round a limit.
func Address(text string) Key {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return Key{Kind: KindAddress}
	}
	addr = addr.Unmap().WithZone("")
	key := Key{KindAddress, addr.As16()} // of IPv4 the mapped form, which no IPv6 address has here
	if addr.Is6() {
		clear(key.ID[ipv6Bits/8:])
	}
	return key
}

// stranger tells whether anyone can make as many keys of the kind as they like.
func (k Key) stranger() bool { return k.Kind == KindAddress || k.Kind == KindAccount }

type addressKey struct{}

// WithAddress returns a context that carries the client's address, as far as the server believes it.
func WithAddress(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// AddressOf is the key of the address in a context. Without one it is that of all clients whose address is not known.
func AddressOf(ctx context.Context) Key { return Address(AddressText(ctx)) }

// AddressText is the address in a context as WithAddress was given it; "" if there is none.
func AddressText(ctx context.Context) string {
	text, _ := ctx.Value(addressKey{}).(string)
	return text
}

// NetworkOf is the address in a context as a text: the IPv4 address, or the /64 of an IPv6 address, or "unknown".
func NetworkOf(ctx context.Context) string {
	key := AddressOf(ctx)
	if key.ID == [16]byte{} {
		return "unknown"
	}
	if addr := netip.AddrFrom16(key.ID).Unmap(); addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(netip.AddrFrom16(key.ID), ipv6Bits).String()
}

type exemptKey struct{}

// Exempt returns a context under which nothing is refused: that of a request of an upload that has begun.
func Exempt(ctx context.Context) context.Context { return context.WithValue(ctx, exemptKey{}, true) }

// IsExempt tells whether ctx is one that [Exempt] gave.
func IsExempt(ctx context.Context) bool { return ctx.Value(exemptKey{}) != nil }
