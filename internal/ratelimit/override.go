package ratelimit

import "maps"

// Override is the limits of one key that differ from those of everybody, for the whole server. Nil ones do not; one that
// has no rate takes the limit away.
type Override struct {
	Token, Read, Write, API *Limit
}

// measures are the limits of all keys for as long as no override changes.
type measures struct {
	generation uint64 // a bucket that has seen it knows its limit
	everybody  table  // of a replica
	addresses  table  // of an address on a replica
	own        map[Key]own
}

// own are the limits of a key with an Override: those of the whole server, and the part of a replica.
type own struct {
	whole Limits
	part  table
}

// of is the limit of a slot.
func (m *measures) of(id slot) Limit {
	if own, ok := m.own[id.key]; ok {
		return own.part[id.class]
	}
	if id.key.Kind == KindAddress {
		return m.addresses[id.class]
	}
	return m.everybody[id.class]
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
	l.put(all)
}

// put makes limits of keys hold, unless they do already: each bucket has to look up its limit anew then.
func (l *Limiter) put(all map[Key]own) {
	for {
		old := l.measures.Load()
		if maps.Equal(old.own, all) {
			return
		}
		changed := *old
		changed.generation, changed.own = old.generation+1, all
		if l.measures.CompareAndSwap(old, &changed) {
			return
		}
	}
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
	if own, ok := l.measures.Load().own[key]; ok {
		return own.whole
	}
	return l.wholeOf(key)
}

// Left is how many requests of a class a key may make at once on this replica, and false where there is no limit.
func (l *Limiter) Left(class Class, key Key) (int, bool) {
	if l == nil {
		return 0, false
	}
	id := slot{class, key}
	limit := l.measures.Load().of(id)
	if limit.off() {
		return 0, false
	}
	shard, hash := l.find(id)
	return shard.left(id, hash, limit, l.now), true
}
