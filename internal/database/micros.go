package database

import "time"

// ToMicros is t as the schema stores it, in microseconds since 1970, UTC; less than a microsecond is dropped.
func ToMicros(t time.Time) int64 { return t.UnixMicro() }

// FromMicros is a stored instant in UTC.
func FromMicros(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
