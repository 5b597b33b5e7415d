// Package ratelimit says how often: one token bucket for each caller and class of requests, and one for each account and
// address that fails to log in.
//
// Buckets live in the memory of one replica and are bounded in number. A bucket is dropped only when it is full again,
// for then a new one is the same; where none is, callers that are not known yet share one. So no flood of new callers
// resets a bucket or gets round a limit.
package ratelimit

import "fmt"

// Class is a kind of requests that is counted on its own.
type Class uint8

// The classes.
const (
	Token        Class = iota // requests to the token endpoint
	Read                      // what looks at the registry
	Write                     // what changes it; uploads that have begun are in no class
	API                       // requests to the product API
	LoginAccount              // failed log-ins, by what was logged in to
	LoginAddress              // failed log-ins, by the client's address
	classes      = iota
)

// String is the class as logs and metrics name it.
func (c Class) String() string {
	names := [classes]string{"token", "read", "write", "api", "login_account", "login_address"}
	if int(c) >= len(names) {
		return fmt.Sprintf("class(%d)", c)
	}
	return names[c]
}

// Limit is the measure of a bucket.
type Limit struct {
	// PerMinute is how many requests come back a minute. 0: there is no limit.
	PerMinute int
	// Burst is how many can be made at once.
	Burst int
}

// off tells whether there is no limit.
func (l Limit) off() bool { return l.PerMinute <= 0 }

// shared is the part of one of several replicas.
func (l Limit) shared(replicas int) Limit {
	if l.off() {
		return Limit{}
	}
	return Limit{PerMinute: max(l.PerMinute/replicas, 1), Burst: max(l.Burst/replicas, 1)}
}

// Limits are the measures of all classes.
type Limits struct {
	Token, Read, Write, API Limit
	// Login is how often log-ins to one account may fail. One address may fail AddressFactor times as often, so that
	// one client with an old secret does not shut out all others behind its address.
	Login Limit
}

// AddressFactor is how much more often an address may fail to log in than an account.
const AddressFactor = 5

// Scaled is all limits times a factor, each at least 1. Classes without a limit stay so.
func (l Limits) Scaled(factor float64) Limits {
	scale := func(one Limit) Limit {
		if one.off() {
			return Limit{}
		}
		return Limit{PerMinute: scaled(one.PerMinute, factor), Burst: scaled(one.Burst, factor)}
	}
	return Limits{
		Token: scale(l.Token), Read: scale(l.Read), Write: scale(l.Write), API: scale(l.API), Login: scale(l.Login),
	}
}

// anonymous is the part of the limits that an address has. That of failed log-ins stays.
func (l Limits) anonymous(part float64) Limits {
	small := l.Scaled(part)
	small.Login = l.Login
	return small
}

// most bounds what a factor makes of a number.
const most = 1 << 30

func scaled(n int, factor float64) int { return int(min(max(float64(n)*factor, 1), most)) }

// table is the limits by class.
type table [classes]Limit

func (l Limits) table(replicas int) table {
	t := table{Token: l.Token, Read: l.Read, Write: l.Write, API: l.API, LoginAccount: l.Login, LoginAddress: l.Login}
	t[LoginAddress].PerMinute *= AddressFactor
	t[LoginAddress].Burst *= AddressFactor
	for class := range t {
		t[class] = t[class].shared(replicas)
	}
	return t
}
