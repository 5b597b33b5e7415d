package ratelimit

// Override is the limits of one key that differ from those of everybody, for the whole server. Nil ones do not; one that
// has no rate takes the limit away.
type Override struct {
	Token, Read, Write, API *Limit
}

// own are the limits of a key with an Override: those of the whole server, and the part of a replica.
type own struct {
	whole Limits
	part  table
}

// Override puts overrides in the place of all earlier ones, from the next decision on. A bucket keeps what it holds, as
// far as it is not more than its new burst: no override fills one.
func (l *Limiter) Override(overrides map[Key]Override) {
	if l == nil {
		return
	}
	all := make(map[Key]own, len(overrides))
	for key, o := range overrides {
		whole := l.wholeOf(key)
		for _, one := range []struct {
			to   *Limit
			from *Limit
		}{{&whole.Token, o.Token}, {&whole.Read, o.Read}, {&whole.Write, o.Write}, {&whole.API, o.API}} {
			if one.from != nil {
				*one.to = *one.from
			}
		}
		all[key] = own{whole: whole, part: whole.table(l.whole.Replicas)}
	}
	l.overrides.Store(&all)
}

// wholeOf are the limits of a key without an Override.
func (l *Limiter) wholeOf(key Key) Limits {
	if key.Kind == KindAddress {
		return l.whole.Limits.anonymous(l.whole.Anonymous)
	}
	return l.whole.Limits
}

// LimitsOf are the limits of a key for the whole server. A nil Limiter has none.
func (l *Limiter) LimitsOf(key Key) Limits {
	if l == nil {
		return Limits{}
	}
	if overrides := l.overrides.Load(); overrides != nil {
		if own, ok := (*overrides)[key]; ok {
			return own.whole
		}
	}
	return l.wholeOf(key)
}

// Left is how many requests of a class a key may make at once on this replica, and false where there is no limit.
func (l *Limiter) Left(class Class, key Key) (int, bool) {
	if l == nil {
		return 0, false
	}
	limit := l.limitOf(class, key)
	if limit.off() {
		return 0, false
	}
	id := slot{class, key}
	return l.shardOf(id).left(id, limit, l.now), true
}
