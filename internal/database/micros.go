package database

import "time"

// Micros is an instant as the schema stores it: microseconds since 1970, UTC.
type Micros int64

// Time is the instant in UTC.
func (m Micros) Time() time.Time { return FromMicros(int64(m)) }

// ToMicros is t as the schema stores it; less than a microsecond is dropped.
func ToMicros(t time.Time) int64 { return t.UnixMicro() }

// FromMicros is a stored instant in UTC.
func FromMicros(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
